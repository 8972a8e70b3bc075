"""What runs in an environment worker: episodes of a collector's plans, at samplers in other processes."""

import asyncio
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import gymnasium as gym

from ..episode import Trajectory
from ..sampling import Sampler, SamplingParams
from ..sampling.ray_cluster import ActorLost, Member, RayActor
from ..sampling.remote_session import RemoteHost, RemoteSampler
from ..sampling.session_wire import Wire
from .collect import Collector
from .plan import EpisodePlan


@dataclass(frozen=True, kw_only=True)
class WorkerSpec:
    """What a worker makes its collector of."""

    client: str
    """Name that the samplers know it by."""
    sees_text: bool
    """Whether the samplers do."""
    env_specs: Mapping[str, Any]
    """Of Gymnasium's registry, by id: environments that the learner's process registered itself, perhaps."""
    pools: bytes
    """Pickled, as they can be made only once their environments are registered."""
    collector_kwargs: Mapping[str, Any]
    """Of `Collector`."""


class EnvWorker(RayActor):
    """Plays the episodes that it is told to, one beside the other."""

    def __init__(self, search_path: Sequence[str] = ()) -> None:
        super().__init__(search_path)
        self._is_ready = asyncio.Event()
        self._playing: dict[int, asyncio.Task[Any]] = {}
        self._sampler: RemoteSampler
        self._collector: Collector
        self._slots: asyncio.Semaphore
        self._told: Mapping[str, float] = {}
        self._wires: dict[str, asyncio.Future[RemoteHost]] = {}

    async def start(self, spec: WorkerSpec) -> None:
        """Make environments.

        Raises:
            LLMGymError: that cannot be done here.
        """
        for env_id, env_spec in spec.env_specs.items():
            gym.registry.setdefault(env_id, env_spec)
        self._sampler = RemoteSampler(spec.client, sees_text=spec.sees_text)
        self._collector = Collector(pickle.loads(spec.pools), cast(Sampler, self._sampler), **spec.collector_kwargs)
        self._slots = asyncio.Semaphore(spec.collector_kwargs["concurrency"])
        self._is_ready.set()

    async def play(
        self, ticket: int, plan: EpisodePlan, sampling: SamplingParams, host: Member
    ) -> tuple[Trajectory | ActorLost, dict[str, float]]:
        """One episode.

        Args:
            ticket: number to cancel it by.
            plan: what to play.
            sampling: how tokens are drawn.
            host: the sampler that it stays at.

        Returns:
            The trajectory, or how the sampler was lost; and what came to the collector's `env_seconds` and
            `counts` since the last answer.
        """
        await self._is_ready.wait()
        answer: Trajectory | ActorLost
        task = self._playing[ticket] = asyncio.ensure_future(self._episode(plan, sampling, host))
        try:
            answer = await task
        except ActorLost as loss:
            answer = loss
        finally:
            del self._playing[ticket]
        before, self._told = self._told, {"env_seconds": self._collector.env_seconds, **self._collector.counts}
        return answer, {name: value - before.get(name, 0) for name, value in self._told.items()}

    async def _episode(self, plan: EpisodePlan, sampling: SamplingParams, host: Member) -> Trajectory:
        if host.name not in self._wires:
            self._wires[host.name] = asyncio.ensure_future(Wire.to(host))
        self._sampler.host.set(await asyncio.shield(self._wires[host.name]))  # of this task alone
        async with self._slots:
            return await self._collector.episode(plan, sampling)

    async def cancel(self, ticket: int) -> None:
        """Stop playing an episode that nobody waits for any more."""
        if ticket in self._playing:
            self._playing[ticket].cancel()

    async def close(self) -> None:
        """Close all environments."""
        for task in self._playing.values():
            task.cancel()
        if self._is_ready.is_set():
            self._collector.close()
