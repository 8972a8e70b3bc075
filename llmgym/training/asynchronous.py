"""Fully asynchronous training: groups are collected all the time, within a bound on their age."""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ..episode import Task, Trajectory
from ..errors import PromptTooLong
from ..rollout import plan_groups
from ..sampling import WeightSource
from ..threads import in_thread
from .batch import Batch
from .batch_source import Collection, cancelled
from .staleness import oldest

T = TypeVar("T")

_GROUPS = 3
"""Of the streams that a run's seed is split into."""


@dataclass(frozen=True)
class Draw:
    """A task that was handed out, so that it can be handed out again."""

    number: int
    """Of its group, counted from 0 over the whole run."""
    env: str
    position: int
    """That the environment's cursor had."""


class Asynchronous:
    """Groups are begun as soon as there is room; of those that have ended, the first begun is learned from first.

    In the order in which they end, long episodes would be learned from late, or dropped, and where length goes with
    failure that is a choice by reward.

    A group is *outstanding* from its beginning until the weights have learned from it, or it was dropped. At most
    (max_staleness + 1) * tasks_per_step are. Each update settles tasks_per_step of them, so a group is learned from
    after at most max_staleness updates, unless later ones overtake it.
    """

    def __init__(self, collection: Collection) -> None:
        self._collection, self._config = collection, collection.config.training
        assert collection.agent.rollout is not None
        self._rollout = collection.agent.rollout
        self._running: dict[asyncio.Task[list[Trajectory]], Draw] = {}
        self._ended: dict[int, tuple[Draw, list[Trajectory]]] = {}
        """By number."""
        self._taken: list[Draw] = []
        """Of the batch that is learned from."""
        self._again: deque[Draw] = deque()
        """Of a run that goes on: what it had begun, and not learned from."""
        self._num_begun, self._version = 0, 0
        self._num_too_long = 0
        self._is_draining = False
        self._failure: BaseException | None = None
        self._news = asyncio.Event()

    async def batch(self, step: int) -> Batch:
        """Groups that ended; more of them for those that are too old, or that the agent does not select."""
        batch, num_groups = Batch(), self._collection.num_groups
        self._version = step - 1
        for round_index in range(1 + self._rollout.resample_rounds):
            taken = [await self._next_fresh(batch) for _ in range(num_groups - len(batch.groups))]
            groups = [[each for each in trajectories if each.is_valid] for _, trajectories in taken]
            valid = [group for group in groups if group]
            selected = self._collection.agent.select(valid)
            batch.drawn += [trajectory for _, trajectories in taken for trajectory in trajectories]
            batch.groups += selected
            batch.num_rounds = round_index
            batch.num_dropped_groups += max(0, len(valid) - len(selected))
            # What is not learned from makes room at once: those that replace it must be able to begin.
            learned = {trajectory.group_id for group in batch.groups for trajectory in group}
            self._taken = [draw for draw in self._taken if draw.number in learned]
            if len(batch.groups) >= num_groups:
                break
        return batch

    async def learn(self, step: int, update: Callable[[], T]) -> T:  # noqa: ARG002
        """In a thread, while groups are collected."""
        self._begin_groups()
        return await in_thread(update)

    async def hand_over(self, source: WeightSource, *, version: int) -> Mapping[str, float]:
        """In the middle of episodes, or once those under way have ended."""
        sampler = self._collection.parts.sampler
        if not self._config.in_flight_updates:
            self._is_draining = True
            while self._running and self._failure is None:
                await asyncio.wait(list(self._running), return_when=asyncio.FIRST_COMPLETED)
            self._is_draining = False
        self._raise_failure()
        is_in_flight = bool(self._running)
        await sampler.pause()
        try:
            await sampler.update_weights(source, version=version)
        finally:
            await sampler.resume()
        self._version, self._taken = version, []
        self._begin_groups()
        return {"num_in_flight_updates": float(is_in_flight)}

    def task_state(self) -> dict[str, Any]:
        """What is outstanding is collected again."""
        draws = [*self._taken, *(draw for draw, _ in self._ended.values()), *self._running.values(), *self._again]
        again = [[draw.number, draw.env, draw.position] for draw in sorted(draws, key=lambda draw: draw.number)]
        return {**self._collection.task_state(), "again": again, "num_begun": self._num_begun}

    def load_task_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a `task_state`."""
        self._collection.load_task_state(state)
        self._again = deque(Draw(*draw) for draw in state["again"])
        self._num_begun = state["num_begun"]

    async def close(self) -> None:
        """Give up the groups under way."""
        self._is_draining = True
        await cancelled(list(self._running))

    # -- groups ------------------------------------------------------------------------------------------------------

    @property
    def _has_room(self) -> bool:
        """Whether another group may begin."""
        config, num_groups = self._collection.config, self._collection.num_groups
        num_running_groups = max(1, config.rollout.concurrency // self._rollout.group_size)
        num_outstanding = len(self._taken) + len(self._ended) + len(self._running)
        # Towards the end of the run no more are begun than it still learns from.
        num_batches = min(self._config.max_staleness + 1, config.steps - self._version)
        return (
            not self._is_draining
            and self._failure is None
            and len(self._running) < num_running_groups
            and num_outstanding < num_batches * num_groups
        )

    def _begin_groups(self) -> None:
        while self._has_room:
            draw, task = self._draw()
            running = asyncio.get_running_loop().create_task(self._run_group(draw, task))
            self._running[running] = draw
            running.add_done_callback(self._end_group)

    def _draw(self) -> tuple[Draw, Task]:
        mixture = self._collection.parts.mixture
        if self._again:
            draw = self._again.popleft()
            return draw, mixture.cursor(draw.env).at(draw.position)
        env, task = mixture.next()
        self._num_begun += 1
        return Draw(self._num_begun - 1, env, mixture.cursor(env).position - 1), task

    async def _run_group(self, draw: Draw, task: Task) -> list[Trajectory]:
        plans = plan_groups(
            [task],
            group_size=self._rollout.group_size,
            seed=(self._collection.config.seed, _GROUPS),
            envs=[draw.env],
            first_group=draw.number,
        )
        on_episode = self._collection.on_episode(self._version + 1)
        collector = self._collection.parts.collector
        return await collector.play(plans, self._rollout.sampling, on_episode=on_episode)

    def _end_group(self, running: asyncio.Task[list[Trajectory]]) -> None:
        draw = self._running.pop(running)
        if running.cancelled():
            return
        failure = running.exception()
        if failure is None:
            self._ended[draw.number] = draw, running.result()
            if not self._collection.parts.collector.has_begun:
                self._num_too_long += 1
                # One group alone does not tell that all prompts are too long.
                if self._num_too_long >= self._collection.num_groups:
                    failure = PromptTooLong(running.result()[0].metadata["problem"])
        self._failure = self._failure or failure
        self._news.set()
        self._begin_groups()

    async def _next_fresh(self, batch: Batch) -> tuple[Draw, list[Trajectory]]:
        """The first begun of the groups that ended and may be learned from."""
        while True:
            self._raise_failure()
            self._begin_groups()
            while self._ended:
                draw, trajectories = self._ended.pop(min(self._ended))
                is_stale = oldest(trajectories, self._version) > self._config.max_staleness
                if not is_stale or self._config.stale == "correct":
                    self._taken.append(draw)
                    return draw, trajectories
                batch.drawn += trajectories
                batch.num_dropped_stale += len(trajectories)
                self._begin_groups()
            assert self._running, "with nothing under way, nothing would ever come"
            self._news.clear()
            await self._news.wait()

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
