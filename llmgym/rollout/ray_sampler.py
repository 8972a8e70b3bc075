"""Samplers and environments as Ray actors, beside one learner."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import count
from typing import Any

import gymnasium as gym

from ..episode import Trajectory
from ..errors import InfrastructureError
from ..sampling import SamplingParams
from ..sampling.ray_cluster import ActorLost, Member
from ..sampling.ray_fleet import Fleet
from ..sampling.ray_samplers import RaySamplers
from .collect import Collector, EpisodePlan
from .env_pool import EnvPool
from .env_worker import EnvWorker, WorkerSpec

_SHARE_AHEAD = 8
"""A worker holds one plan, and one more for so many episodes that it has under way, to go on with at once when one of
them ends. More would wait there while another worker has nothing to do."""


class RayCollector(Collector):
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
        self._actors, config = sampler, sampler.config
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
        self.num_replayed = 0
        """Episodes that were played again since an actor was lost."""

    @property
    def num_lost(self) -> int:
        """Environment workers that were lost and replaced."""
        return self._workers.num_lost

    async def run(
        self,
        plans: Sequence[EpisodePlan],
        sampling: SamplingParams,
        *,
        on_episode: Callable[[Trajectory], None] | None = None,
    ) -> list[Trajectory]:
        """As `Collector.run`.

        Raises:
            InfrastructureError: an episode was lost too often, or actors cannot be replaced.
        """
        try:
            trajectories = await super().run(plans, sampling, on_episode=on_episode)
        finally:
            self._homes.clear()
        await self._actors.measure()
        return trajectories

    async def episode(self, plan: EpisodePlan, sampling: SamplingParams) -> Trajectory:
        """Play one, again where an actor was lost."""
        for _ in range(1 + self._actors.config.max_losses):
            host = self._homes[plan.group_id] = await self._actors.choose(self._homes.get(plan.group_id))
            worker = min(await self._workers.running(), key=self._workers.load)
            with ExitStack() as stack:
                stack.enter_context(self._actors.fleet.busy(host))
                stack.enter_context(self._workers.busy(worker))
                trajectory = await self._play(worker, host, plan, sampling)
            if trajectory is not None:
                return trajectory
            self.num_replayed += 1
        raise InfrastructureError(
            f"The episode of task {plan.task.key!r} was lost {1 + self._actors.config.max_losses} times, each time "
            "with the process that played or sampled it, so it was given up. Perhaps it is what kills them, or memory "
            "runs out: look into the logs of Ray's session. sampler.max_losses says how often to try."
        )

    async def _play(
        self, worker: Member, host: Member, plan: EpisodePlan, sampling: SamplingParams
    ) -> Trajectory | None:
        """Play an episode at a worker and a sampler; None where one of them was lost, which is replaced."""
        ticket = next(self._tickets)
        try:
            trajectory: Trajectory | None
            trajectory, env_seconds = await worker.call("play", ticket, plan, sampling, host)
        except ActorLost:
            self._workers.replace(worker)
            return None
        except asyncio.CancelledError:
            worker.cast("cancel", ticket)
            raise
        if trajectory is None:
            self._actors.fleet.replace(host)
        self.env_seconds += env_seconds
        return trajectory

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
        make = RayCollector if self.config.num_env_workers else Collector
        try:
            return make(pools, self, **kwargs)
        except BaseException:  # nobody else would end what was started
            self.shut_down()
            raise
