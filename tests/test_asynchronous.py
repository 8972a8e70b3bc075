"""Asynchronous training with a sampler that waits to be told: the age of samples, and that nothing hangs or is lost."""

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import llmgym
from llmgym.episode import Segment, StopReason, Trajectory
from llmgym.errors import PromptTooLong, SamplerError
from llmgym.learning import BaseAgent, RolloutSpec
from llmgym.rollout import EpisodePlan, TaskMixture, has_too_long_prompt
from llmgym.settings import from_mapping
from llmgym.training import RunConfig
from llmgym.training.asynchronous import Asynchronous
from llmgym.training.batch_source import Collection, OneStepOff
from llmgym.training.staleness import describe_staleness, oldest


class Broken(SamplerError):
    """Of a test."""


def trajectory(versions: Sequence[int], plan: EpisodePlan | None = None) -> Trajectory:
    ids = np.arange(len(versions) + 1, dtype=np.int32)
    segment = Segment(ids, ids > 0, weight_version=np.array([-1, *versions], np.int32))
    return Trajectory(
        segments=(segment,),
        turns=(),
        reward=1.0,
        terminated=True,
        truncated=False,
        stop_reason=StopReason.ANSWERED,
        task_key=plan.task.key if plan is not None else "",
        group_id=plan.group_id if plan is not None else 0,
        metadata={"env": ""},
    )


def test_the_age_of_a_group_is_that_of_its_oldest_token() -> None:
    group = [trajectory([3, 3, 5]), trajectory([4])]

    assert oldest(group, 6) == 3
    assert describe_staleness(group, 6) == {"staleness_mean": (3 + 3 + 1 + 2) / 4, "staleness_max": 3}
    assert (oldest([trajectory([])], 6), describe_staleness([], 6)) == (0, {})


class FakeSampler:
    """Counts what is done to it."""

    def __init__(self) -> None:
        self.version, self.done = 0, list[str]()

    async def pause(self) -> None:
        self.done.append("pause")

    async def resume(self) -> None:
        self.done.append("resume")

    async def update_weights(self, source: Any, *, version: int) -> None:
        self.done.append(f"weights {version}")
        self.version = version


class FakeCollector:
    """A group ends when `ends` says so; it holds a token of its first weights and one of its last."""

    def __init__(self, sampler: FakeSampler, ends: Callable[[int], asyncio.Event | None]) -> None:
        self.sampler, self.ends = sampler, ends
        self.begun: list[int] = []
        self.num_cancelled = 0
        self.has_begun = True

    async def play(self, plans: Sequence[EpisodePlan], sampling: Any, *, on_episode: Any) -> list[Trajectory]:
        number, first = plans[0].group_id, self.sampler.version
        self.begun.append(number)
        try:
            event = self.ends(number)
            await (event.wait() if event is not None else asyncio.sleep(0))
        except asyncio.CancelledError:
            self.num_cancelled += 1
            raise
        return [trajectory([first, self.sampler.version], plan) for plan in plans]


class Plain(BaseAgent):
    def __init__(self, *, keep: Callable[[int], bool] = lambda number: True, rounds: int = 0) -> None:
        self.keep, self.rollout = keep, RolloutSpec(group_size=2, resample_rounds=rounds)

    def select(self, groups: Any) -> Any:
        return [group for group in groups if self.keep(group[0].group_id)]

    def loss(self, outputs: Any, batch: Any) -> Any:
        return {"policy": -outputs.logprobs_BA}


def source_of(
    ends: Callable[[int], asyncio.Event | None] = lambda number: None,
    *,
    agent: Any = None,
    kind: Any = Asynchronous,
    steps: int = 10,
    concurrency: int = 40,
    **training: Any,
) -> tuple[Any, FakeCollector]:
    """A source of batches of two groups, and what it collects with."""
    sampler = FakeSampler()
    collector = FakeCollector(sampler, ends)
    tasks = llmgym.FiniteTasks([llmgym.Task(key=f"{n}", prompt=f"{n}") for n in range(1000)])
    values = {"env": {"id": "x"}, "steps": steps, "rollout": {"tasks_per_step": 2, "concurrency": concurrency}}
    config = from_mapping(RunConfig, {**values, "training": {"mode": "asynchronous", **training}})
    parts: Any = SimpleNamespace(
        sampler=sampler, collector=collector, mixture=TaskMixture({"": tasks}, {"": 1}, seed=0)
    )
    collection = Collection(config, parts, agent or Plain(), lambda step: lambda each: None, lambda: False)
    return kind(collection), collector


async def turn(source: Any, step: int) -> Any:
    """A whole step."""
    batch = await source.batch(step)
    await source.learn(step, dict)
    await source.hand_over(None, version=step)
    return batch


def group_ids(batch: Any) -> list[int]:
    return sorted({each.group_id for group in batch.groups for each in group})


@pytest.mark.parametrize(("stale", "learned", "num_dropped"), [("drop", False, 2), ("correct", True, 0)])
def test_a_group_that_took_too_long_is_dropped_whole_or_learned_from(
    stale: str, learned: bool, num_dropped: int
) -> None:
    async def play() -> list[Any]:
        late = asyncio.Event()
        source, _ = source_of(lambda number: late if number == 1 else None, max_staleness=1, stale=stale)
        batches = [await turn(source, step) for step in (1, 2, 3)]
        late.set()
        return [*batches, *[await turn(source, step) for step in (4, 5)]]

    batches = asyncio.run(asyncio.wait_for(play(), 10))

    assert (1 in [number for batch in batches for number in group_ids(batch)]) is learned
    assert sum(batch.num_dropped_stale for batch in batches) == num_dropped
    assert all(len(batch.groups) == 2 and all(len(group) == 2 for group in batch.groups) for batch in batches)


def test_of_the_groups_that_ended_the_first_begun_is_learned_from_first() -> None:
    async def play() -> list[Any]:
        late = asyncio.Event()
        source, _ = source_of(lambda number: late if number == 0 else None, max_staleness=3)
        first = await turn(source, 1)
        late.set()
        for _ in range(20):
            await asyncio.sleep(0)
        return [first, await turn(source, 2)]

    batches = asyncio.run(asyncio.wait_for(play(), 10))

    assert [group_ids(batch) for batch in batches] == [[1, 2], [0, 3]]


@pytest.mark.parametrize("max_staleness", [0, 1, 3])
def test_no_more_groups_are_begun_than_the_bound_allows_however_long_the_learner_takes(max_staleness: int) -> None:
    async def play() -> tuple[int, list[Any]]:
        source, collector = source_of(max_staleness=max_staleness)
        await source.batch(1)
        for _ in range(50):
            await asyncio.sleep(0)
        num_begun = len(collector.begun)
        await source.hand_over(None, version=1)
        return num_begun, [await turn(source, step) for step in (2, 3, 4, 5, 6)]

    num_begun, batches = asyncio.run(asyncio.wait_for(play(), 10))

    assert num_begun == 2 * (max_staleness + 1)
    for version, batch in enumerate(batches, start=1):
        assert oldest(batch.drawn, version) <= max_staleness


def test_weights_change_in_the_middle_of_episodes_between_pause_and_resume() -> None:
    async def play() -> Any:
        late = asyncio.Event()
        source, collector = source_of(lambda number: late if number == 2 else None, max_staleness=2)
        await source.batch(1)
        in_flight = await source.hand_over(None, version=1)
        late.set()
        batch = await source.batch(2)
        return in_flight, collector.sampler.done, batch

    in_flight, done, batch = asyncio.run(asyncio.wait_for(play(), 10))

    assert in_flight == {"num_in_flight_updates": 1.0}
    assert done == ["pause", "weights 1", "resume"]
    versions = {tuple(t.segments[0].weight_version[1:]) for t in batch.drawn if t.group_id == 2}  # type: ignore[index]
    assert versions <= {(0, 1)}


def test_without_updates_in_flight_the_weights_wait_for_the_episodes_and_the_episodes_for_the_weights() -> None:
    async def play() -> Any:
        late = asyncio.Event()
        source, _ = source_of(
            lambda number: late if number == 3 else None, concurrency=4, max_staleness=5, in_flight_updates=False
        )
        await source.batch(1)
        num_before = source.task_state()["num_begun"]
        handing = asyncio.create_task(source.hand_over(None, version=1))
        for _ in range(20):
            await asyncio.sleep(0)
        num_meanwhile, was_done = source.task_state()["num_begun"] - num_before, handing.done()
        late.set()
        return was_done, num_meanwhile, await handing

    was_done, num_meanwhile, metrics = asyncio.run(asyncio.wait_for(play(), 10))

    assert (was_done, num_meanwhile) == (False, 0)
    assert metrics == {"num_in_flight_updates": 0.0}


def test_groups_that_the_agent_does_not_select_make_room_for_others() -> None:
    async def play() -> Any:
        source, _ = source_of(agent=Plain(keep=lambda number: number % 5 == 0, rounds=9), max_staleness=0)
        return [await turn(source, step) for step in (1, 2, 3)]

    batches = asyncio.run(asyncio.wait_for(play(), 10))

    assert [group_ids(batch) for batch in batches] == [[0, 5], [10, 15], [20, 25]]
    assert batches[0].num_dropped_groups == 4


def test_what_is_outstanding_at_a_checkpoint_is_collected_again() -> None:
    async def play() -> Any:
        source, _ = source_of(max_staleness=3)
        learned = [await turn(source, step) for step in (1, 2)]
        state = source.task_state()
        await source.close()
        again, collector = source_of(max_staleness=3)
        again.load_task_state(state)
        collector.sampler.version = 2
        return [*learned, *[await turn(again, step) for step in (3, 4, 5)]]

    batches = asyncio.run(asyncio.wait_for(play(), 10))

    assert [number for batch in batches for number in group_ids(batch)] == list(range(10))
    keys = {each.group_id: each.task_key for batch in batches for each in batch.drawn}
    whole = {each.group_id: each.task_key for batch in asyncio.run(_whole()) for each in batch.drawn}
    assert keys == {number: whole[number] for number in keys}


async def _whole() -> list[Any]:
    source, _ = source_of(max_staleness=3)
    return await _turns(source, range(1, 6))


def long_prompts(plans: Sequence[EpisodePlan]) -> list[Trajectory]:
    metadata = {"env": "", "problem": "500 tokens"}
    return [
        dataclasses.replace(
            trajectory([], plan), is_valid=False, stop_reason=StopReason.CONTEXT_FULL, metadata=metadata
        )
        for plan in plans
    ]


def test_a_first_group_whose_prompts_are_all_too_long_is_drawn_and_counted() -> None:
    async def play() -> Any:
        source, collector = source_of(concurrency=2, max_staleness=0)
        original, collector.has_begun = collector.play, False

        async def first_is_too_long(plans: Sequence[EpisodePlan], *args: Any, **kwargs: Any) -> list[Trajectory]:
            played = await original(plans, *args, **kwargs)
            if plans[0].group_id == 0:
                return long_prompts(plans)
            collector.has_begun = True
            return played

        collector.play = first_is_too_long  # type: ignore[method-assign]
        return await source.batch(1)

    batch = asyncio.run(asyncio.wait_for(play(), 10))

    assert [has_too_long_prompt(each) for each in batch.drawn] == [True, True, False, False]


def test_a_batch_of_groups_whose_prompts_are_all_too_long_ends_the_run() -> None:
    async def play() -> None:
        source, collector = source_of()
        collector.has_begun = False

        async def too_long(plans: Sequence[EpisodePlan], *args: Any, **kwargs: Any) -> list[Trajectory]:
            return long_prompts(plans)

        collector.play = too_long  # type: ignore[method-assign]
        await _turns(source, [1, 2])

    with pytest.raises(PromptTooLong, match="500 tokens"):
        asyncio.run(asyncio.wait_for(play(), 10))


@pytest.mark.parametrize("kind", [Asynchronous, OneStepOff])
def test_what_the_collection_fails_with_is_raised_and_the_rest_is_cancelled(kind: Any) -> None:
    def ends(number: int) -> asyncio.Event | None:
        if number == 4:
            raise Broken("the sampler")
        return asyncio.Event() if number > 4 else None

    async def play() -> tuple[int, int]:
        source, collector = source_of(ends, kind=kind, max_staleness=3)
        collector.run = _of_many(collector.play)  # type: ignore[attr-defined]
        with pytest.raises(Broken, match="the sampler"):
            await _turns(source, range(1, 9))
        await source.close()
        return collector.num_cancelled, len([task for task in asyncio.all_tasks() if not task.done()])

    num_cancelled, num_left = asyncio.run(asyncio.wait_for(play(), 10))

    assert num_left == 2  # this one, and who waits for it
    assert num_cancelled > 0 or kind is OneStepOff


async def _turns(source: Any, steps: Sequence[int]) -> list[Any]:
    return [await turn(source, step) for step in steps]


def _of_many(run: Any) -> Any:
    """A collector's `run` for plans of several groups; the groups of all batches are counted through."""
    count = iter(range(1000))

    async def run_all(plans: Sequence[EpisodePlan], sampling: Any, *, on_episode: Any) -> list[Trajectory]:
        found = []
        for start in range(0, len(plans), 2):
            number = next(count)
            numbered = [dataclasses.replace(plan, group_id=number) for plan in plans[start : start + 2]]
            found += await run(numbered, sampling, on_episode=on_episode)
        return found

    return run_all
