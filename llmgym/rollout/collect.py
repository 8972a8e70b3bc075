"""Environments times a sampler gives trajectories."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..episode import EnvResponse, Task, TaskSource, TokenEnv, Trajectory
from ..episode.register import make_token_env
from ..episode.token_env import noise_rng
from ..episode.waiting import run_to_end
from ..errors import ConfigError, EnvironmentFailure, InfrastructureError, SamplerError
from ..sampling import FinishReason, Sampler, SamplingParams, Session


@dataclass(frozen=True, kw_only=True)
class EpisodePlan:
    """One episode to run."""

    task: Task
    seed: int
    """Of the environment's own randomness; the trajectories of a group share it."""
    sampling_seed: int
    """Of the policy's tokens."""
    group_id: int = 0
    sample_index: int = 0


def plan_groups(tasks: Sequence[Task], *, group_size: int, seed: tuple[int, ...]) -> list[EpisodePlan]:
    """`group_size` episodes for each task, group after group; all seeds derive from `seed`, group and sample.

    Raises:
        ConfigError: `group_size` is below 1.
    """
    if group_size < 1:
        raise ConfigError(f"{group_size} episodes were asked for each task. Ask for at least 1.")
    return [
        EpisodePlan(
            task=task,
            seed=_derived_seed(*seed, group),
            sampling_seed=_derived_seed(*seed, group, sample),
            group_id=group,
            sample_index=sample,
        )
        for group, task in enumerate(tasks)
        for sample in range(group_size)
    ]


def _derived_seed(*parts: int) -> int:
    """A 63-bit seed from whole numbers; the count of parts matters too."""
    return int(np.random.SeedSequence((len(parts), *parts)).generate_state(1, np.uint64)[0] >> 1)


class Collector:
    """Runs episodes of one environment at one sampler.

    Args:
        env: id of the environment.
        sampler: produces the tokens.
        tokenizer: as `gym.make` takes it; it must be that of the sampler's model.
        env_kwargs: further keywords for `gym.make`.
        concurrency: episodes under way at once.
        deterministic: the environment's synchronous steps run between the sampler's, so that the same seeds give
            the same batches and tokens. False: they run in threads beside it, which is faster where they are slow.
        retries: of an episode whose environment or verifier failed for reasons of its own.
    """

    def __init__(
        self,
        env: str,
        sampler: Sampler,
        *,
        tokenizer: Any = "bytes",
        env_kwargs: Mapping[str, Any] | None = None,
        concurrency: int = 64,
        deterministic: bool = True,
        retries: int = 1,
    ) -> None:
        if concurrency < 1:
            raise ConfigError(f"concurrency is {concurrency}, but at least 1 episode must be under way.")
        self.env_id, self.sampler, self.retries = env, sampler, retries
        self._env_kwargs = {**(env_kwargs or {}), "tokenizer": tokenizer, "view": "turn", "observation": "last"}
        self._concurrency, self._deterministic = concurrency, deterministic
        self.env_seconds = 0.0
        """Time that environments took so far, to begin and to answer; of several at once, the sum."""
        self._envs: list[TokenEnv] = []
        self._idle = [self._make_env()]

    @property
    def example_env(self) -> TokenEnv:
        """One of the environments, to ask for its tokenizer, limits or reference turns."""
        return self._envs[0]

    def tasks(self, split: str) -> TaskSource:
        """The tasks of a split."""
        return self.example_env.message_env.tasks(split)

    async def run(
        self,
        plans: Sequence[EpisodePlan],
        sampling: SamplingParams,
        *,
        on_episode: Callable[[Trajectory], None] | None = None,
    ) -> list[Trajectory]:
        """Run all planned episodes; the answers are in the order of the plans.

        An episode that fails for our reasons is tried again, then returned with `is_valid=False`.

        Raises:
            SamplerError: the sampler failed; without tokens there is nothing to record.
            ConfigError: `sampling` says where turns end, which is up to the environment.
        """
        _require_no_endings(sampling)
        slots = asyncio.Semaphore(self._concurrency)
        with ThreadPoolExecutor(max_workers=min(32, self._concurrency)) as threads:

            async def run_one(plan: EpisodePlan) -> Trajectory:
                async with slots:
                    trajectory = await self._episode(plan, sampling, threads)
                if on_episode is not None:
                    on_episode(trajectory)
                return trajectory

            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(run_one(plan)) for plan in plans]
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from failures  # one failure ends the batch, so it speaks for all
        return [task.result() for task in tasks]

    def close(self) -> None:
        """Close all environments."""
        for env in self._envs:
            env.close()

    async def _episode(self, plan: EpisodePlan, sampling: SamplingParams, threads: ThreadPoolExecutor) -> Trajectory:
        env = self._idle.pop() if self._idle else self._make_env()
        episode = env.episode
        try:
            for attempt in range(1 + self.retries):
                try:
                    started = time.perf_counter()
                    episode.begin(plan.task, noise_rng(plan.seed))
                    self.env_seconds += time.perf_counter() - started
                    async with self.sampler.session(seed=plan.sampling_seed) as session:
                        while not episode.is_over:
                            await self._turn(env, session, sampling, threads)
                    break
                except SamplerError:
                    raise
                except InfrastructureError:
                    if attempt == self.retries:
                        break
            return episode.trajectory(
                metadata={"attempts": attempt + 1},
                env_id=self.env_id,
                seed=plan.seed,
                group_id=plan.group_id,
                sample_index=plan.sample_index,
                sampling=sampling,
            )
        finally:
            self._idle.append(env)

    async def _turn(
        self, env: TokenEnv, session: Session, sampling: SamplingParams, threads: ThreadPoolExecutor
    ) -> None:
        """Sample until the turn is closed or cut, and have the environment answer."""
        episode = env.episode
        params = replace(sampling, max_new_tokens=episode.room, stop_token_ids=(env.tokenizer.eos_id,))
        completion = await session.sample(episode.ids, params)
        if completion.finish_reason is FinishReason.ABORT:
            raise SamplerError("The sampler gave the turn up: it was closed or interrupted.")
        ids, kept = completion.token_ids, completion.kept_tokens
        # A sampler without text runs past a stop string; what it sampled behind it is not part of the episode.
        closes_at = episode.closing_index(ids)
        num_ids = len(ids) if closes_at is None else closes_at + 1
        is_closed = episode.feed(
            ids[:num_ids],
            logprobs=completion.logprobs[:num_ids],
            versions=completion.weight_version[:num_ids],
            kept_tokens=kept if kept is None or num_ids == len(ids) else type(kept).from_rows(kept.rows()[:num_ids]),
        )
        if is_closed:
            started = time.perf_counter()
            with episode.guarding():
                response = await self._answer(episode.ask, threads)
            episode.apply(response)
            self.env_seconds += time.perf_counter() - started

    async def _answer(
        self, ask: Callable[[], EnvResponse | Awaitable[EnvResponse]], threads: ThreadPoolExecutor
    ) -> EnvResponse:
        if self._deterministic:
            response = ask()
        else:
            response = await asyncio.get_running_loop().run_in_executor(threads, ask)
        if not inspect.isawaitable(response):
            return response
        try:
            return await response
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled the episode: the environment lost something of its own.
            raise EnvironmentFailure("The environment's answer was cancelled from within.") from error

    def _make_env(self) -> TokenEnv:
        env = make_token_env(self.env_id, disable_env_checker=True, **self._env_kwargs)
        self._env_kwargs["tokenizer"] = env.tokenizer  # loaded once
        self._envs.append(env)
        return env


def _require_no_endings(sampling: SamplingParams) -> None:
    for name, instead in (
        ("max_new_tokens", 'limits={"turn_tokens": ...}'),
        ("stop_token_ids", "stop_strings=[...]"),
        ("stop_strings", "stop_strings=[...]"),
    ):
        value = getattr(sampling, name)
        if value != getattr(SamplingParams(), name):
            raise ConfigError(
                f"sampling.{name} is {value!r}, but here the environment says where a turn ends, in every view alike. "
                f"Give it {instead} in env_kwargs."
            )


def collect(
    env: str,
    sampler: Sampler,
    *,
    num_tasks: int,
    group_size: int = 1,
    split: str = "train",
    sampling: SamplingParams | None = None,
    seed: int = 0,
    **collector_kwargs: Any,
) -> list[Trajectory]:
    """Trajectories of the first tasks of a split, `group_size` for each, group after group.

    Args:
        env: id of the environment.
        sampler: produces the tokens.
        num_tasks: number of groups.
        group_size: trajectories for each task.
        split: of the tasks.
        sampling: how tokens are drawn.
        seed: of everything random.
        collector_kwargs: keywords of `Collector`, such as tokenizer and env_kwargs.
    """
    collector = Collector(env, sampler, **collector_kwargs)
    try:
        tasks = collector.tasks(split).first(num_tasks)
        plans = plan_groups(tasks, group_size=group_size, seed=(seed,))
        return run_to_end(collector.run(plans, sampling or SamplingParams()))
    finally:
        collector.close()


def groups_of(trajectories: Sequence[Trajectory]) -> Iterator[list[Trajectory]]:
    """Trajectories by group id, in the order in which the ids appear."""
    groups: dict[int, list[Trajectory]] = {}
    for trajectory in trajectories:
        groups.setdefault(trajectory.group_id, []).append(trajectory)
    yield from groups.values()
