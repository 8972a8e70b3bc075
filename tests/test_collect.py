"""Collecting: groups, seeds, order, retries, and what happens beside a slow or failing episode."""

import asyncio
import re
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import llmgym
from llmgym.episode import EnvResponse, StopReason
from llmgym.episode.register import make_token_env
from llmgym.episode.trajectory_json import trajectory_from_json, trajectory_to_json
from llmgym.errors import ConfigError, PromptTooLong, SamplerError
from llmgym.progress import RunProgress
from llmgym.rollout import Collector, EnvPool, Tally, TaskCursor, collect, groups_of, plan_groups
from llmgym.rollout.tally import counted
from llmgym.sampling import SamplingParams, ScriptedSampler
from llmgym.scoring import Score

BYTES = llmgym.ByteTokenizer()


def says(text: str) -> ScriptedSampler:
    ids = [*BYTES.encode(text), BYTES.eos_id]
    return ScriptedSampler(lambda prompt, params, rng: ids)


class NumberEnv(llmgym.MessageEnv):
    """Pays for the number that the episode's own randomness chose, and misbehaves as told."""

    lock = threading.Lock()
    faults: dict[str, int] = {}  # noqa: RUF012  shared on purpose: how often a task still fails
    threads: set[str] = set()  # noqa: RUF012

    def __init__(self, *, is_slow: bool = False) -> None:
        self.is_slow = is_slow

    def tasks(self, split: str) -> llmgym.TaskSource:
        return llmgym.FiniteTasks([llmgym.Task(key=f"{split}{n}", prompt=f"task {n}") for n in range(6)])

    def reset(self, task: llmgym.Task, rng: np.random.Generator) -> llmgym.InitialMessages:
        self.task, self.number = task, int(rng.integers(1000))
        return llmgym.InitialMessages((llmgym.Message("user", task.prompt),))

    async def step(self, message: llmgym.AssistantMessage) -> EnvResponse:
        if self.is_slow:
            await asyncio.sleep(0.05 if self.task.key == "train0" else 0)
        with self.lock:
            if self.faults.get(self.task.key, 0) > 0:
                self.faults[self.task.key] -= 1
                raise OSError("the service is gone")
        return EnvResponse(score=Score(reward=float(self.number), extracted=message.content), terminated=True)


class BlockingEnv(NumberEnv):
    together: threading.Barrier | None = None

    def reset(self, task: llmgym.Task, rng: np.random.Generator) -> llmgym.InitialMessages:
        self.threads.add(threading.current_thread().name)
        return super().reset(task, rng)

    def step(self, message: llmgym.AssistantMessage) -> EnvResponse:  # type: ignore[override]
        self.threads.add(threading.current_thread().name)
        if self.together is not None:
            self.together.wait(60)
        return EnvResponse(score=Score(reward=1.0), terminated=True)


llmgym.register_env("test-collect/Number-v0", NumberEnv)
llmgym.register_env("test-collect/Blocking-v0", BlockingEnv)


@pytest.fixture(autouse=True)
def _no_faults() -> None:
    NumberEnv.faults.clear()
    NumberEnv.threads.clear()


def test_a_group_shares_task_and_noise_and_groups_do_not() -> None:
    trajectories = collect("test-collect/Number-v0", says("x"), num_tasks=4, group_size=3, seed=1)

    groups = list(groups_of(trajectories))
    assert [t.group_id for t in trajectories] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [t.sample_index for t in trajectories] == [0, 1, 2] * 4
    assert [len({(t.task_key, t.reward) for t in group}) for group in groups] == [1, 1, 1, 1]
    assert len({group[0].reward for group in groups}) > 1


def test_seeds_of_plans_differ_for_every_run_step_group_and_sample() -> None:
    tasks = [llmgym.Task(key=str(n), prompt=str(n)) for n in range(5)]
    plans = [
        plan for run in range(3) for step in range(4) for plan in plan_groups(tasks, group_size=2, seed=(run, step))
    ]

    assert len({plan.sampling_seed for plan in plans}) == len(plans) == 120
    assert len({plan.seed for plan in plans}) == 60


@pytest.mark.parametrize("concurrency", [1, 2, 64])
def test_answers_come_in_the_order_of_the_plans_whatever_is_slow(concurrency: int) -> None:
    kwargs: dict[str, Any] = {"env_kwargs": {"is_slow": True}, "concurrency": concurrency}
    trajectories = collect("test-collect/Number-v0", says("x"), num_tasks=6, group_size=2, seed=3, **kwargs)
    reference = collect("test-collect/Number-v0", says("x"), num_tasks=6, group_size=2, seed=3)

    assert [(t.task_key, t.reward) for t in trajectories] == [(t.task_key, t.reward) for t in reference]


def test_an_episode_that_fails_once_is_tried_again_with_the_same_seeds() -> None:
    untroubled = collect("test-collect/Number-v0", says("x"), num_tasks=3, seed=2)
    NumberEnv.faults["train1"] = 1

    trajectories = collect("test-collect/Number-v0", says("x"), num_tasks=3, seed=2)

    assert [t.metadata["attempts"] for t in trajectories] == [1, 2, 1]
    assert [t.reward for t in trajectories] == [t.reward for t in untroubled]
    assert all(t.is_valid for t in trajectories)


def test_an_episode_that_keeps_failing_is_recorded_as_invalid_and_spoils_no_other() -> None:
    NumberEnv.faults["train1"] = 99

    trajectories = collect("test-collect/Number-v0", says("x"), num_tasks=3, seed=2)

    assert [t.is_valid for t in trajectories] == [True, False, True]
    assert (trajectories[1].stop_reason, trajectories[1].reward) == (StopReason.ENV_ERROR, 0.0)


def test_a_failing_sampler_is_an_error_and_not_a_reward() -> None:
    def fails(prompt: Any, params: Any, rng: Any) -> list[int]:
        raise SamplerError("no tokens today")

    with pytest.raises(SamplerError, match="no tokens today"):
        collect("test-collect/Number-v0", ScriptedSampler(fails), num_tasks=2)


def test_resets_and_synchronous_steps_run_in_threads_unless_determinism_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    collect("test-collect/Blocking-v0", says("x"), num_tasks=4, deterministic=True)
    assert NumberEnv.threads == {"MainThread"}

    NumberEnv.threads.clear()
    monkeypatch.setattr(BlockingEnv, "together", threading.Barrier(4))
    collect("test-collect/Blocking-v0", says("x"), num_tasks=4, deterministic=False)
    assert len(NumberEnv.threads) >= 4
    assert "MainThread" not in NumberEnv.threads


def test_what_is_sampled_behind_a_stop_string_is_no_part_of_the_episode() -> None:
    kwargs = {"env_kwargs": {"stop_strings": ("END",)}}

    (trajectory,) = collect("test-collect/Number-v0", says("one END two"), num_tasks=1, **kwargs)  # type: ignore[arg-type]

    assert trajectory.turns[0].message.content == "one END"
    assert BYTES.decode(trajectory.segments[0].token_ids[trajectory.segments[0].action_mask]) == "one END"


def test_a_turn_goes_on_where_the_sampler_stopped_early() -> None:
    ids = [*BYTES.encode("abcdefgh"), BYTES.eos_id]

    def three_at_a_time(prompt: Any, params: SamplingParams, rng: Any) -> list[int]:
        done = len(prompt) - first_prompt
        return ids[done : done + 3]

    first_prompt = len(llmgym.messages.chat_for(BYTES).render([llmgym.Message("user", "task 0")]))
    (trajectory,) = collect("test-collect/Number-v0", ScriptedSampler(three_at_a_time), num_tasks=1)

    assert [turn.message.content for turn in trajectory.turns] == ["abcdefgh"]


def test_a_cursor_hands_out_every_task_once_an_epoch_in_a_new_order() -> None:
    source = NumberEnv().tasks("train")
    cursor = TaskCursor(source, seed=5)

    epochs = [[cursor.next().key for _ in range(6)] for _ in range(3)]

    assert all(sorted(epoch) == [f"train{n}" for n in range(6)] for epoch in epochs)
    assert epochs[0] != epochs[1]
    resumed = TaskCursor(source, seed=5)
    resumed.position = 6
    assert [resumed.next().key for _ in range(6)] == epochs[1]


def test_one_collector_serves_many_runs() -> None:
    collector = Collector("test-collect/Number-v0", says("x"))
    plans = plan_groups([collector.tasks("train")[2]], group_size=4, seed=(0,))

    first, second = (asyncio.run(collector.run(plans, SamplingParams())) for _ in range(2))

    assert [t.reward for t in first] == [t.reward for t in second]


class SelfCancellingEnv(NumberEnv):
    async def step(self, message: llmgym.AssistantMessage) -> EnvResponse:
        await asyncio.wait_for(asyncio.sleep(0), timeout=1)
        raise asyncio.CancelledError  # as a client does that lost its connection


llmgym.register_env("test-collect/SelfCancelling-v0", SelfCancellingEnv)


def test_an_environment_that_cancels_itself_spoils_its_own_episode_and_not_the_batch() -> None:
    trajectories = collect("test-collect/SelfCancelling-v0", says("x"), num_tasks=2)

    assert [(t.is_valid, t.stop_reason) for t in trajectories] == [(False, StopReason.ENV_ERROR)] * 2


@pytest.mark.parametrize("changes", [{"max_new_tokens": 5}, {"stop_token_ids": (3,)}, {"stop_strings": ("END",)}])
def test_sampling_settings_that_the_environment_decides_are_refused_and_not_ignored(changes: Any) -> None:
    (name,) = changes

    with pytest.raises(ConfigError, match=rf"sampling\.{name} is .* env_kwargs"):
        collect("test-collect/Number-v0", says("x"), num_tasks=1, sampling=SamplingParams(**changes))


def test_collecting_works_where_a_loop_is_running_as_in_a_notebook() -> None:
    async def cell() -> list[llmgym.Trajectory]:
        return collect("test-collect/Number-v0", says("x"), num_tasks=3, seed=2)

    in_notebook = asyncio.run(cell())

    assert [t.reward for t in in_notebook] == [
        t.reward for t in collect("test-collect/Number-v0", says("x"), num_tasks=3, seed=2)
    ]


class UnevenEnv(NumberEnv):
    """Prompts of very different lengths."""

    def tasks(self, split: str) -> llmgym.TaskSource:
        return llmgym.FiniteTasks([llmgym.Task(key=f"{n}", prompt="x" * n) for n in (5, 500, 6)])


llmgym.register_env("test-collect/Uneven-v0", UnevenEnv, limits={"turn_tokens": 20, "context_tokens": 100})


def test_a_prompt_that_leaves_no_room_is_recorded_as_invalid_and_ends_nothing_else() -> None:
    trajectories = collect("test-collect/Uneven-v0", says("x"), num_tasks=3)

    assert [(t.is_valid, t.stop_reason) for t in trajectories] == [
        (True, StopReason.ANSWERED), (False, StopReason.CONTEXT_FULL), (True, StopReason.ANSWERED),
    ]  # fmt: skip
    assert "task '500'" in trajectories[1].metadata["problem"]
    assert "the context holds 100" in trajectories[1].metadata["problem"]
    assert trajectories[1].metadata["attempts"] == 1


def test_where_no_prompt_leaves_room_the_limits_are_wrong_and_that_is_an_error() -> None:
    with pytest.raises(PromptTooLong, match=r"context holds 4 .* Raise Limits"):
        collect("test-collect/Uneven-v0", says("x"), num_tasks=3, env_kwargs={"limits": {"context_tokens": 4}})


def test_what_made_an_episode_invalid_is_told() -> None:
    NumberEnv.faults["train1"] = 99

    problems = [t.metadata.get("problem", "") for t in collect("test-collect/Number-v0", says("x"), num_tasks=2)]

    assert problems[0] == ""
    assert "the service is gone" in problems[1]


def test_several_environments_are_collected_from_one_after_the_other() -> None:
    ids = ["test-collect/Number-v0", "test-collect/Blocking-v0"]

    trajectories = collect(ids, says("x"), num_tasks=2, group_size=2)

    assert [(t.env_id, t.group_id) for t in trajectories] == [
        (ids[0], 0), (ids[0], 0), (ids[0], 1), (ids[0], 1), (ids[1], 2), (ids[1], 2), (ids[1], 3), (ids[1], 3),
    ]  # fmt: skip
    assert [t.metadata["env"] for t in trajectories] == [t.env_id for t in trajectories]


def test_environments_of_one_id_are_told_apart_by_name() -> None:
    slow, fast = (EnvPool("test-collect/Number-v0", name=name) for name in ("slow", "fast"))
    tasks = [pool.tasks("train")[0] for pool in (slow, fast)]

    plans = plan_groups(tasks, group_size=1, seed=(0,), envs=["slow", "fast"])
    trajectories = asyncio.run(Collector([slow, fast], says("x")).run(plans, SamplingParams()))

    assert [t.metadata["env"] for t in trajectories] == ["slow", "fast"]
    with pytest.raises(ConfigError, match="a name of its own, but there are: slow, slow"):
        Collector([slow, slow], says("x"))


class BadStartEnv(NumberEnv):
    def reset(self, task: llmgym.Task, rng: np.random.Generator) -> llmgym.InitialMessages:
        if task.key == "train1":
            raise OSError("no room left")
        return super().reset(task, rng)


llmgym.register_env("test-collect/BadStart-v0", BadStartEnv)


@pytest.mark.parametrize("deterministic", [True, False])
def test_an_environment_that_cannot_begin_spoils_its_own_episode_and_no_other(deterministic: bool) -> None:
    trajectories = collect("test-collect/BadStart-v0", says("x"), num_tasks=3, deterministic=deterministic)

    assert [(t.is_valid, t.metadata["attempts"]) for t in trajectories] == [(True, 1), (False, 2), (True, 1)]
    assert "while it began task 'train1'" in trajectories[1].metadata["problem"]


def test_only_the_environment_and_not_the_shared_tokenizer_is_used_in_threads() -> None:
    users = set()

    class WatchedTokenizer(llmgym.ByteTokenizer):
        def encode(self, text: str) -> list[int]:
            users.add(threading.current_thread().name)
            return super().encode(text)

    collect("test-collect/Blocking-v0", says("x"), num_tasks=4, deterministic=False, tokenizer=WatchedTokenizer())

    assert users == {"MainThread"}


def test_calls_that_failed_are_counted_with_their_turn_also_in_what_is_stored() -> None:
    env = make_token_env("llmgym/Calculator-v0", view="text")
    env.reset(seed=0)

    for text in ("<call>1/0</call>", "<call>", "<call>2*3</call>"):
        env.step(text)

    stored = trajectory_from_json(trajectory_to_json(env.trajectory()))
    assert [turn.num_tool_errors for turn in stored.turns] == [1, 1, 0]


def test_progress_tells_episodes_turns_speed_time_of_tools_and_what_failed(tmp_path: Path) -> None:
    NumberEnv.faults["train1"] = 99

    with (tmp_path / "progress").open("w+") as file:
        console = Console(file=file, force_terminal=False)
        collect("test-collect/Number-v0", says("xyz"), num_tasks=3, progress=RunProgress(console=console))
        file.seek(0)
        text = file.read()

    assert re.fullmatch(
        r"episodes 3/3  3 turns, [\d,]+ tokens/s, tools and verifiers \d+\.\d s, 1 invalid, 1 retried\n", text
    )


def test_the_speed_of_a_tally_is_that_of_all_episodes_together() -> None:
    now = iter([10.0, 12.0])
    tally = Tally(clock=lambda: next(now))
    for trajectory in collect("test-collect/Number-v0", says("x" * 99), num_tasks=4):
        tally.add(trajectory)

    assert (tally.num_episodes, tally.num_turns, tally.num_tokens) == (4, 4, 400)
    assert str(tally).startswith("4 turns, 200 tokens/s")
    assert counted(1, "turn") == "1 turn"


def test_progress_of_a_long_step_shows_before_the_step_is_done(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("llmgym.progress._SECONDS_BETWEEN_LINES", 0.0)
    with (tmp_path / "progress").open("w+") as file:
        progress = RunProgress(console=Console(file=file, force_terminal=False))
        with progress.phase("training", 2) as phase:
            phase.show("step 1: 5 episodes")
            phase.advance("reward 1")
        file.seek(0)
        lines = file.read().splitlines()

    assert lines == ["training 0/2  step 1: 5 episodes", "training 1/2  reward 1"]
