"""Samplers and environments as Ray actors, beside one learner."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

import gymnasium as gym

from ..episode import Trajectory
from ..errors import InfrastructureError
from ..sampling import SamplingParams
from ..sampling.ray_cluster import ActorLost, Member
from ..sampling.ray_fleet import Fleet
from ..sampling.ray_samplers import RaySamplers
from .collect import Collector, OnEpisode
from .env_pool import EnvPool
from .env_worker import EnvWorker, WorkerSpec
from .plan import EpisodePlan

_SHARE_AHEAD = 8
"""A worker holds one plan, and one more for so many episodes that it has under way, to go on with at once when one of
them ends. More would wait there while another worker has nothing to do."""


class ReplayingCollector(Collector):
    """A collector that plays again what was under way at a sampler that was lost, with the same seeds.

    Args:
        pools: the environments.
        sampler: what has the actors.
        kwargs: keywords of `Collector`.
    """

    def __init__(self, pools: Sequence[EnvPool], sampler: RaySamplers, **kwargs: Any) -> None:
        super().__init__(pools, sampler, **kwargs)
        self._actors = sampler
        self.num_replayed = 0
        """Episodes that were played again since an actor was lost."""

    @property
    def counts(self) -> Mapping[str, int]:
        """As `Collector.counts`."""
        return {**super().counts, "num_replayed_episodes": self.num_replayed}

    async def play(
        self, plans: Sequence[EpisodePlan], sampling: SamplingParams, *, on_episode: OnEpisode | None = None
    ) -> list[Trajectory]:
        """As `Collector.play`.

        Raises:
            InfrastructureError: an episode was lost too often, or actors cannot be replaced.
        """
        trajectories = await super().play(plans, sampling, on_episode=on_episode)
        await self._actors.measure()
        return trajectories

    async def episode(self, plan: EpisodePlan, sampling: SamplingParams) -> Trajectory:
        """Play one, again where an actor was lost."""
        loss: ActorLost | None = None
        for _ in range(1 + self._actors.config.max_losses):
            answer = await self._attempt(plan, sampling)
            if isinstance(answer, Trajectory):
                return answer
            loss = answer
            self.num_replayed += 1
        raise InfrastructureError(
            f"The episode of task {plan.task.key!r} was lost {1 + self._actors.config.max_losses} times, each time "
            "with the process that played or sampled it, so it was given up. Perhaps it is what kills them. "
            f"{loss} sampler.max_losses says how often to try."
        ) from loss

    async def _attempt(self, plan: EpisodePlan, sampling: SamplingParams) -> Trajectory | ActorLost:
        """Play an episode; or how an actor was lost, which is replaced."""
        try:
            return await super().episode(plan, sampling)
        except ActorLost as loss:
            return loss


class RayCollector(ReplayingCollector):
    """A collector whose episodes run in environment workers, each at one of the samplers.

    The worker that has the fewest episodes under way gets the next one, whenever there is room for another, so that a
    long one keeps nobody waiting. A worker or a sampler that is lost is replaced, and the episodes that were under way
    there are played again, with the same seeds, somewhere else: each plan is answered once.

    Args:
        pools: the environments; each worker makes its own.
        sampler: what has the actors.
        concurrency: episodes under way at once, in all workers together.
        deterministic: see `Collector`; within each worker.
        retries: see `Collector`.
    """

    def __init__(
        self,
        pools: Sequence[EnvPool],
        sampler: "RaySampler",
        *,
        concurrency: int = 64,
        deterministic: bool = True,
        retries: int = 1,
    ) -> None:
        config = sampler.config
        share = -(-concurrency // config.num_env_workers)
        num_ahead = 1 + share // _SHARE_AHEAD
        super().__init__(
            pools,
            sampler,
            concurrency=(share + num_ahead) * config.num_env_workers,
            deterministic=deterministic,
            retries=retries,
        )
        self._kwargs = {"concurrency": share, "deterministic": deterministic, "retries": retries}
        self._pickled = sampler.cluster.by_value(list(self.pools))
        self._env_specs = {pool.env_id: gym.registry[pool.env_id] for pool in self.pools if pool.env_id in gym.registry}
        bundles = range(config.num_samplers, config.num_samplers + config.num_env_workers)
        self._workers = Fleet(sampler.cluster, EnvWorker, "environment worker", bundles, self._start_args, self._forget)
        self._workers.wait()
        self._tickets = count()
        self._homes: dict[int, Member] = {}
        self._worker_counts = Counter[str]()

    @property
    def num_lost(self) -> int:
        """Environment workers that were lost and replaced."""
        return self._workers.num_lost

    @property
    def counts(self) -> Mapping[str, int]:
        """As `Collector.counts`, with those of the workers."""
        counts = Counter(super().counts)
        counts.update(self._worker_counts)
        return {**counts, "num_lost_workers": self.num_lost}

    async def play(
        self, plans: Sequence[EpisodePlan], sampling: SamplingParams, *, on_episode: OnEpisode | None = None
    ) -> list[Trajectory]:
        """As `ReplayingCollector.play`."""
        try:
            return await super().play(plans, sampling, on_episode=on_episode)
        finally:
            for plan in plans:  # other groups may be under way
                self._homes.pop(plan.group_id, None)

    async def _attempt(self, plan: EpisodePlan, sampling: SamplingParams) -> Trajectory | ActorLost:
        host = self._homes[plan.group_id] = await self._actors.choose(self._homes.get(plan.group_id))
        worker = min(await self._workers.running(), key=self._workers.load)
        with self._actors.fleet.busy(host), self._workers.busy(worker):
            return await self._attempt_at(worker, host, plan, sampling)

    async def _attempt_at(
        self, worker: Member, host: Member, plan: EpisodePlan, sampling: SamplingParams
    ) -> Trajectory | ActorLost:
        ticket = next(self._tickets)
        try:
            answer: Trajectory | ActorLost
            answer, news = await worker.call("play", ticket, plan, sampling, host)
        except ActorLost as loss:
            self._workers.replace(worker, loss)
            return loss
        except asyncio.CancelledError:
            worker.cast("cancel", ticket)
            raise
        if isinstance(answer, ActorLost):
            self._actors.fleet.replace(host, answer)
        self.env_seconds += news.pop("env_seconds")
        self._worker_counts.update(news)
        return answer

    def close(self) -> None:
        """Close all environments, and end the workers."""
        super().close()
        self._workers.close()

    def _start_args(self, name: str) -> Sequence[Any]:
        spec = WorkerSpec(
            client=name,
            sees_text=self._actors.sees_text,
            env_specs=self._env_specs,
            pools=self._pickled,
            collector_kwargs=self._kwargs,
        )
        return (spec,)

    def _forget(self, name: str) -> None:
        """Have samplers end what a lost worker asked for."""
        for host in self._actors.fleet.members:
            host.cast("end_client", name)


class RaySampler(RaySamplers):
    """The registered `ray`: samplers as actors, and environments as actors where it makes the collector."""

    def make_collector(self, pools: Sequence[EnvPool], **kwargs: Any) -> Collector:
        """What runs episodes at this sampler.

        Args:
            pools: the environments.
            kwargs: keywords of `Collector`.
        """
        make = RayCollector if self.config.num_env_workers else ReplayingCollector
        try:
            return make(pools, self, **kwargs)
        except BaseException:  # nobody else would end what was started
            self.shut_down()
            raise
