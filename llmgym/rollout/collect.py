"""Environments times a sampler gives trajectories."""

import asyncio
import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from ..episode import EnvResponse, Episode, StopReason, TaskSource, TokenEnv, Trajectory
from ..episode.token_env import noise_rng
from ..episode.waiting import run_to_end
from ..errors import ConfigError, EnvironmentFailure, InfrastructureError, LLMGymError, PromptTooLong, SamplerError
from ..progress import RunProgress
from ..registry import closest
from ..sampling import FinishReason, Sampler, SamplingParams, Session, TextSession
from ..threads import DaemonThreads, TookTooLong, in_time
from .env_pool import EnvPool
from .plan import EpisodePlan, plan_groups
from .tally import Tally
from .written_turn import write_turn

OnEpisode = Callable[[Trajectory], None]
"""Hears of each episode as it ends."""

_MAX_THREADS = 32


class Collector:
    """Runs episodes of one or several environments at one sampler.

    Args:
        env: id of the environment, or a pool for each of several.
        sampler: produces the tokens.
        tokenizer: as `gym.make` takes it; it must be that of the sampler's model. Pools have theirs.
        env_kwargs: further keywords for `gym.make`. Pools have theirs.
        concurrency: episodes under way at once.
        deterministic: the environment's `reset` and synchronous `step`s run between the sampler's, so that the same
            seeds give the same batches and tokens. False: they run in threads beside it, which is faster where they
            are slow.
        retries: of an episode whose environment or verifier failed for reasons of its own.

    Raises:
        ConfigError: a number is out of range, or two pools have one name.
    """

    def __init__(
        self,
        env: str | Sequence[EnvPool],
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
        self.pools = [EnvPool(env, tokenizer=tokenizer, env_kwargs=env_kwargs)] if isinstance(env, str) else list(env)
        """The environments, by kind."""
        self._pool_of = {pool.name: pool for pool in self.pools}
        if not self.pools or len(self._pool_of) < len(self.pools):
            names = ", ".join(pool.name for pool in self.pools)
            raise ConfigError(f"Each environment needs a name of its own, but there are: {names or 'none'}.")
        self.sampler, self.retries = sampler, retries
        self._concurrency, self._deterministic = concurrency, deterministic
        self.has_begun = False
        """Whether any episode did: where none does, limits are wrong."""
        self._threads = DaemonThreads(min(_MAX_THREADS, concurrency))
        self.env_seconds = 0.0
        """Time that environments took so far, to begin and to answer; of several at once, the sum."""

    @property
    def example_env(self) -> TokenEnv:
        """One of the environments, to ask for its tokenizer, limits or reference turns."""
        return self.pools[0].example

    def tasks(self, split: str) -> TaskSource:
        """The tasks of a split; with several environments, those of the first."""
        return self.pools[0].tasks(split)

    def pool(self, name: str) -> EnvPool:
        """The environments of a name; "" is the first.

        Raises:
            ConfigError: there are none.
        """
        if name and name not in self._pool_of:
            raise ConfigError(f"There is no environment {name!r} here. {closest(name, self._pool_of)}")
        return self._pool_of[name] if name else self.pools[0]

    @property
    def counts(self) -> Mapping[str, int]:
        """What was lost and made good so far, here and in the sampler, by metric."""
        num_replaced = sum(pool.num_replaced for pool in self.pools)
        return {"num_replaced_envs": num_replaced, **getattr(self.sampler, "counts", {})}

    async def run(
        self, plans: Sequence[EpisodePlan], sampling: SamplingParams, *, on_episode: OnEpisode | None = None
    ) -> list[Trajectory]:
        """Run all planned episodes; the answers are in the order of the plans.

        An episode that fails for our reasons is tried again, then returned with `is_valid=False`. So is, at once, one
        whose prompt leaves no room for an answer; its stop reason is CONTEXT_FULL. What went wrong is told in
        `metadata["problem"]`.

        Raises:
            SamplerError: the sampler failed; without tokens there is nothing to record.
            ConfigError: `sampling` says where turns end, which is up to the environment.
            PromptTooLong: none of the prompts so far left room for an answer, so the limits are wrong.
        """
        trajectories = await self.play(plans, sampling, on_episode=on_episode)
        if trajectories and not self.has_begun:
            raise PromptTooLong(trajectories[0].metadata["problem"])
        return trajectories

    async def play(
        self, plans: Sequence[EpisodePlan], sampling: SamplingParams, *, on_episode: OnEpisode | None = None
    ) -> list[Trajectory]:
        """As `run`, however many prompts are too long."""
        _require_no_endings(sampling)
        slots = asyncio.Semaphore(self._concurrency)

        async def run_one(plan: EpisodePlan) -> Trajectory:
            async with slots:
                trajectory = await self.episode(plan, sampling)
            if on_episode is not None:
                on_episode(trajectory)
            return trajectory

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(run_one(plan)) for plan in plans]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures  # one failure ends the batch, so it speaks for all
        trajectories = [task.result() for task in tasks]
        self.has_begun |= not all(map(has_too_long_prompt, trajectories))
        return trajectories

    def close(self) -> None:
        """Close all environments."""
        self._threads.close()
        for pool in self.pools:
            pool.close()

    async def episode(self, plan: EpisodePlan, sampling: SamplingParams) -> Trajectory:
        """Run one planned episode; see `run`."""
        pool = self.pool(plan.env)
        with pool.lent() as env:
            num_attempts, error = await self._attempts(pool, env, plan, sampling)
            metadata = {"attempts": num_attempts, "problem": error and str(error), "env": plan.env}
            trajectory = env.episode.trajectory(
                metadata={name: value for name, value in metadata.items() if value},
                env_id=pool.env_id,
                seed=plan.seed,
                group_id=plan.group_id,
                sample_index=plan.sample_index,
                sampling=sampling,
            )
        is_too_long = isinstance(error, PromptTooLong)
        return replace(trajectory, stop_reason=StopReason.CONTEXT_FULL) if is_too_long else trajectory

    async def _attempts(
        self, pool: EnvPool, env: TokenEnv, plan: EpisodePlan, sampling: SamplingParams
    ) -> tuple[int, LLMGymError | None]:
        """Play the planned episode, again where our machinery failed; how often, and what ended the last attempt."""
        episode, error = env.episode, None
        for attempt in range(1, 2 + self.retries):
            try:
                started = time.perf_counter()
                await self._begin(episode, plan)
                self.env_seconds += time.perf_counter() - started
                async with self.sampler.session(seed=plan.sampling_seed) as session:
                    while not episode.is_over:
                        await self._turn(env, session, sampling)
                pool.tell(env, has_failed=False)
                return attempt, None
            except SamplerError:
                raise
            except PromptTooLong as too_long:  # the task's fault: another attempt would not change it
                episode.fail()
                return attempt, too_long
            except InfrastructureError as failure:
                pool.tell(env, has_failed=True)
                error = failure
        return attempt, error

    async def _begin(self, episode: Episode, plan: EpisodePlan) -> None:
        rng = noise_rng(plan.seed)
        if self._deterministic:
            episode.begin(plan.task, rng)
            return
        # Not all of `begin` goes into a thread: the tokenizer, which all episodes share, takes one call at a time.
        call = self._threads.submit(partial(episode.env.reset, plan.task, rng))
        with suppress(Exception):  # whatever it is, `begin` hears of it too, and names whose fault it is
            await asyncio.wrap_future(call.result)
        episode.begin(plan.task, rng, reset=call.result.result)

    async def _turn(self, env: TokenEnv, session: Session | TextSession, sampling: SamplingParams) -> None:
        """Sample until the turn is closed or cut, and have the environment answer."""
        episode = env.episode
        params = replace(
            sampling,
            max_new_tokens=episode.room,
            stop_token_ids=tuple(sorted(episode.end_ids)),
            stop_strings=episode.settings.stop_strings if getattr(self.sampler, "sees_text", False) else (),
        )
        if isinstance(session, TextSession):
            is_closed = await write_turn(env, session, params)
        else:
            is_closed = await self._sampled_turn(episode, session, params)
        if is_closed:
            started = time.perf_counter()
            with episode.guarding():
                response = await self._answer(episode)
            if response is None:
                episode.give_up()
            else:
                episode.apply(response)
            self.env_seconds += time.perf_counter() - started

    async def _sampled_turn(self, episode: Episode, session: Session, params: SamplingParams) -> bool:
        """Sample tokens once; True where they close the turn."""
        completion = await session.sample(episode.ids, params)
        if completion.finish_reason is FinishReason.ABORT:
            raise SamplerError("The sampler gave the turn up: it was closed or interrupted.")
        ids, kept = completion.token_ids, completion.kept_tokens
        # A sampler without text runs past a stop string, and one with text past what began in the prefill; what it
        # sampled behind it is not part of the episode.
        closes_at = episode.closing_index(ids)
        num_ids = len(ids) if closes_at is None else closes_at + 1
        return episode.feed(
            ids[:num_ids],
            logprobs=completion.logprobs[:num_ids],
            versions=completion.weight_version[:num_ids],
            kept_tokens=kept if kept is None or num_ids == len(ids) else type(kept).from_rows(kept.rows()[:num_ids]),
        )

    async def _answer(self, episode: Episode) -> EnvResponse | None:
        """The environment's; None where it did not come before the episode's time limit."""
        try:
            if self._deterministic:
                response = episode.ask()
            else:
                response = await in_time(self._threads.run(episode.ask), episode.seconds_left)
            return await in_time(response, episode.seconds_left) if inspect.isawaitable(response) else response
        except TookTooLong:
            return None
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled the episode: the environment lost something of its own.
            raise EnvironmentFailure("The environment's answer was cancelled from within.") from error


def has_too_long_prompt(trajectory: Trajectory) -> bool:
    """True for an episode that could not begin, as its prompt left no room for an answer."""
    return trajectory.stop_reason is StopReason.CONTEXT_FULL and not trajectory.is_valid


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
    env: str | Sequence[str],
    sampler: Sampler,
    *,
    num_tasks: int,
    group_size: int = 1,
    split: str = "train",
    sampling: SamplingParams | None = None,
    seed: int = 0,
    tokenizer: Any = "bytes",
    env_kwargs: Mapping[str, Any] | None = None,
    progress: RunProgress | None = None,
    **collector_kwargs: Any,
) -> list[Trajectory]:
    """Trajectories of the first tasks of a split, `group_size` for each, group after group.

    Args:
        env: id of the environment, or of several: then of each the first tasks, one environment after the other.
        sampler: produces the tokens.
        num_tasks: number of groups of an environment.
        group_size: trajectories for each task.
        split: of the tasks.
        sampling: how tokens are drawn.
        seed: of everything random.
        tokenizer: as `gym.make` takes it; it must be that of the sampler's model.
        env_kwargs: further keywords for `gym.make`, of each environment alike.
        progress: shows how it goes, such as `llmgym.progress.RunProgress()`; None: nothing is shown.
        collector_kwargs: keywords of `Collector`, such as concurrency.
    """
    ids = [env] if isinstance(env, str) else list(env)
    pools = [EnvPool(each, tokenizer=tokenizer, env_kwargs=env_kwargs) for each in ids]
    collector = make_collector(pools, sampler, **collector_kwargs)
    try:
        chosen = [(task, pool.name) for pool in pools for task in pool.tasks(split).first(num_tasks)]
        tasks, names = [task for task, _ in chosen], [name for _, name in chosen]
        plans = plan_groups(tasks, group_size=group_size, seed=(seed,), envs=names if len(pools) > 1 else None)
        with (progress or RunProgress(quiet=True)).phase("episodes", len(plans)) as phase:
            tally = Tally()

            def on_episode(trajectory: Trajectory) -> None:
                tally.add(trajectory)
                phase.advance(str(tally))

            return run_to_end(collector.run(plans, sampling or SamplingParams(), on_episode=on_episode))
    finally:
        collector.close()


def make_collector(pools: Sequence[EnvPool], sampler: Sampler, **kwargs: Any) -> Collector:
    """A `Collector`, or what the sampler has in its place: one that runs environments in other processes.

    Args:
        pools: the environments.
        sampler: produces the tokens.
        kwargs: keywords of `Collector`, such as concurrency.
    """
    make: Callable[..., Collector] = getattr(sampler, "make_collector", partial(Collector, sampler=sampler))
    return make(pools, **kwargs)


def groups_of(trajectories: Sequence[Trajectory]) -> Iterator[list[Trajectory]]:
    """Trajectories by group id, in the order in which the ids appear."""
    groups: dict[int, list[Trajectory]] = {}
    for trajectory in trajectories:
        groups.setdefault(trajectory.group_id, []).append(trajectory)
    yield from groups.values()
