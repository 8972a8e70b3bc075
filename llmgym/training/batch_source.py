"""Where the batch of a training step comes from, and what goes on while it is learned from."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch

from ..episode import Trajectory
from ..learning import Agent
from ..sampling import WeightSource
from ..threads import in_thread
from .batch import Batch, collect_batch
from .config import RunConfig
from .parts import RunParts

T = TypeVar("T")
OnEpisode = Callable[[int], Callable[[Trajectory], None]]
"""From a step to who hears of its episodes."""

_ROLLOUTS = 1
"""Of the streams that a run's seed is split into."""
_LOOK_AGAIN_S = 0.2
"""Whether the run is asked to stop, while a batch is collected that would then be for nothing."""


class BatchSource(Protocol):
    """The order of a step: `batch`, `learn`, `hand_over`; evaluations and checkpoints come after that."""

    async def batch(self, step: int) -> Batch:
        """What step `step` learns from."""

    async def learn(self, step: int, update: Callable[[], T]) -> T:
        """The update, and whatever goes on beside it."""

    async def hand_over(self, source: WeightSource, *, version: int) -> Mapping[str, float]:
        """Give the sampler the new weights; metrics of how."""

    def task_state(self) -> dict[str, Any]:
        """Which tasks come next; those that nothing was learned from yet come again."""

    def load_task_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a `task_state`."""

    async def close(self) -> None:
        """Give up what is under way."""


@dataclass(frozen=True, eq=False)
class Collection:
    """What batches are collected with."""

    config: RunConfig
    parts: RunParts
    agent: Agent
    on_episode: OnEpisode
    is_stopping: Callable[[], bool]
    """Whether the run ends after the step under way."""

    @property
    def num_groups(self) -> int:
        """Of a batch."""
        return self.config.rollout.tasks_per_step

    async def collect(self, step: int) -> Batch:
        """A whole batch, with the weights that the sampler has."""
        assert self.agent.rollout is not None
        return await collect_batch(
            self.parts.collector,
            self.parts.mixture,
            self.agent,
            self.agent.rollout,
            num_groups=self.num_groups,
            seed=(self.config.seed, _ROLLOUTS, step),
            on_episode=self.on_episode(step),
        )

    def task_state(self) -> dict[str, Any]:
        """Of the tasks that come next."""
        mixture = self.parts.mixture
        return {"mixture": mixture.state_dict(), "weights": dict(mixture.weights)}

    def load_task_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a `task_state`."""
        self.parts.mixture.load_state_dict(state["mixture"])
        self.parts.mixture.weights = state["weights"]


class Synchronous:
    """Collect, then learn, while the sampler sleeps: on a GPU that both use, its memory is the learner's then."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    async def batch(self, step: int) -> Batch:
        """Collected now."""
        return await self._collection.collect(step)

    async def learn(self, step: int, update: Callable[[], T]) -> T:  # noqa: ARG002
        """Nothing goes on beside it."""
        await self._collection.parts.sampler.sleep()
        return update()

    async def hand_over(self, source: WeightSource, *, version: int) -> Mapping[str, float]:
        """The weights first: only with them does a sampler need its memory for keys and values, too."""
        parts = self._collection.parts
        if not parts.shares_model:
            torch.cuda.empty_cache()  # what torch keeps of the update for later is what a sampler that wakes may need
        await parts.sampler.update_weights(source, version=version)
        await parts.sampler.wake()
        return {}

    def task_state(self) -> dict[str, Any]:
        """All that was sampled was learned from."""
        return self._collection.task_state()

    def load_task_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a `task_state`."""
        self._collection.load_task_state(state)

    async def close(self) -> None:
        """Nothing is under way."""


class OneStepOff:
    """The next batch is collected while this one is learned from.

    The sampler has a model of its own, so a batch is of one weight version throughout: the last but one.
    """

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._ahead: asyncio.Task[Batch] | None = None
        self._tasks_before: dict[str, Any] = {}

    async def batch(self, step: int) -> Batch:
        """What was collected ahead; of the first step of a run, or of one that goes on, collected now."""
        ahead, self._ahead = self._ahead, None
        return await ahead if ahead is not None else await self._collection.collect(step)

    async def learn(self, step: int, update: Callable[[], T]) -> T:
        """In a thread, while the next batch is collected."""
        if step < self._collection.config.steps and not self._collection.is_stopping():
            self._tasks_before = self._collection.task_state()
            self._ahead = asyncio.get_running_loop().create_task(self._collection.collect(step + 1))
        return await in_thread(update)

    async def hand_over(self, source: WeightSource, *, version: int) -> Mapping[str, float]:
        """Once the batch ahead is whole, or given up."""
        ahead = self._ahead
        while ahead is not None and not ahead.done():
            if self._collection.is_stopping():
                ahead.cancel()
            await asyncio.wait([ahead], timeout=_LOOK_AGAIN_S)
        if ahead is not None and not ahead.cancelled():
            ahead.result()  # raises what it failed with
        await self._collection.parts.sampler.update_weights(source, version=version)
        return {}

    def task_state(self) -> dict[str, Any]:
        """The batch ahead is collected again."""
        return self._tasks_before if self._ahead is not None else self._collection.task_state()

    def load_task_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a `task_state`."""
        self._collection.load_task_state(state)

    async def close(self) -> None:
        """Give up the batch ahead."""
        if self._ahead is not None:
            await cancelled([self._ahead])


async def cancelled(tasks: list[asyncio.Task[Any]]) -> None:
    """Cancel what is not done, and wait until all are; what they failed with is heard, and not raised."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()
