"""How good a policy is on tasks it has not learned from."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..episode import Task, TaskSource, Trajectory
from ..errors import ConfigError
from ..progress import RunProgress
from ..rollout import Collector, OnEpisode, Tally, plan_groups
from ..sampling import Sampler, SamplingParams
from .folder import EvaluationFolder
from .policies import Player, TextPolicy, opened
from .result import Evaluation

NUM_GENERATED_TASKS = 200
"""Tasks of an evaluation that names no number, where they are generated without end."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """What is measured, beside the policy."""

    env: str
    """Id of the environment."""
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Further keywords for `gym.make`."""
    split: str = "test"
    """Of the tasks."""
    num_tasks: int | None = None
    """The first so many distinct tasks; None: all of a finite split, or 200 that are generated."""
    num_samples: int = 1
    """Episodes of each task."""
    sampling: SamplingParams = field(default_factory=SamplingParams)
    """How a model's tokens are drawn; a function decides for itself."""
    seed: int = 0
    """Of everything random."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}, but it must be at least 0.")


def evaluate(
    policy: str | Path | Sampler | TextPolicy,
    env: str,
    *,
    num_tasks: int | None = None,
    num_samples: int = 1,
    split: str = "test",
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int = 0,
    seed: int = 0,
    tokenizer: Any = None,
    env_kwargs: Mapping[str, Any] | None = None,
    concurrency: int = 64,
    sampler: str | Mapping[str, Any] = "torch",
    output: str | Path | None = None,
    progress: RunProgress | None = None,
) -> Evaluation:
    """A policy's rewards on the first tasks of a split.

        result = llmgym.evaluate("runs/a/model", "llmgym/GSM8K-v0", num_samples=8, output="evals/a")
        print(result.success, result.pass_at_k[8], result.majority)

    Every episode has seeds of its own, from `seed` and its places among tasks and samples. An evaluation that was
    interrupted therefore goes on in its folder and comes to what it would have come to, but for the rounding of
    floats in batches of another size; episodes that were not valid are tried again.

    Args:
        policy: a model folder or id, the address of an endpoint, a sampler, or any function from messages to text.
        env: id of the environment.
        num_tasks: the first so many distinct tasks; None: all of a finite split, or 200 that are generated.
        num_samples: episodes for each task.
        split: of the tasks.
        temperature: 0 is greedy; a function decides for itself.
        top_p: smallest set of likeliest tokens that holds this much probability; 1 keeps all.
        top_k: so many of the likeliest tokens; 0 keeps all.
        seed: of everything random.
        tokenizer: that of a sampler's model; a model folder brings its own. Without one, an endpoint is asked in chat
            messages.
        env_kwargs: further keywords for `gym.make`.
        concurrency: episodes under way at once; a function that is not asynchronous plays one after the other.
        sampler: of a model folder, as in a run file: its name, or a mapping of `name` and its settings.
        output: folder for settings, episodes and figures; new, or of the same evaluation to go on with.
        progress: shows how it goes, such as `llmgym.progress.RunProgress()`; None: nothing is shown.

    Raises:
        ConfigError: `policy` is none of these, a sampler came without its tokenizer, a number is out of range, or
            `output` is of an evaluation with other settings.
        OutputFolderError: `output` holds something else.
        InfrastructureError: no episode was valid.
    """
    settings = EvaluationSettings(
        env=env,
        env_kwargs=env_kwargs or {},
        split=split,
        num_tasks=num_tasks,
        num_samples=num_samples,
        sampling=SamplingParams(temperature=temperature, top_p=top_p, top_k=top_k),
        seed=seed,
    )
    with opened(
        policy, env, tokenizer=tokenizer, env_kwargs=env_kwargs, concurrency=concurrency, sampler=sampler
    ) as player:
        return measure(player, settings, output=output, progress=progress)


def measure(
    player: Player,
    settings: EvaluationSettings,
    *,
    output: str | Path | None = None,
    progress: RunProgress | None = None,
    name: str = "evaluation",
) -> Evaluation:
    """As `evaluate`, of a policy that is open already; `name` is that of the progress."""
    tasks = _first_tasks(player.env.message_env.tasks(settings.split), settings.num_tasks)
    plans = plan_groups(tasks, group_size=settings.num_samples, seed=(settings.seed,))
    full_reward = player.env.message_env.reward_range[1]
    folder = EvaluationFolder(output, _config(player, settings, len(tasks), full_reward)) if output else None
    # A task's episode that was tried again comes after the one that was not valid, and takes its place.
    stored = {_place(trajectory): trajectory for trajectory in (folder.episodes() if folder else ())}
    valid = {place for place, trajectory in stored.items() if trajectory.is_valid}
    missing = [plan for plan in plans if (plan.group_id, plan.sample_index) not in valid]
    shown = progress or RunProgress(quiet=True)
    if len(missing) < len(plans):
        shown.line(f"{name}: {len(plans) - len(missing)} of {len(plans)} episodes were stored already")
    if missing:
        successes, tally = 0, Tally()
        with folder.appending() if folder else nullcontext() as log, shown.phase(name, len(missing)) as phase:

            def on_episode(trajectory: Trajectory) -> None:
                nonlocal successes
                stored[_place(trajectory)] = trajectory
                if log is not None:
                    log.append(trajectory)
                successes += trajectory.is_valid and trajectory.reward >= full_reward
                tally.add(trajectory)
                phase.advance(f"{successes} with full reward, {tally}")

            player.play(missing, settings.sampling, on_episode)
    result = Evaluation(tuple(stored[plan.group_id, plan.sample_index] for plan in plans), full_reward)
    if folder is not None:
        folder.write_figures(result.figures())
    return result


def _place(trajectory: Trajectory) -> tuple[int, int]:
    return trajectory.group_id, trajectory.sample_index


def _first_tasks(source: TaskSource, num_tasks: int | None) -> list[Task]:
    if num_tasks is not None:
        return source.first(num_tasks)
    if source.size is None:
        return source.first(NUM_GENERATED_TASKS)
    distinct: dict[str, Task] = {}
    for index in range(source.size):
        task = source[index]
        distinct.setdefault(task.prompt, task)
    return list(distinct.values())


def _config(player: Player, settings: EvaluationSettings, num_tasks: int, full_reward: float) -> dict[str, Any]:
    sampling = settings.sampling
    return {
        "env": settings.env,
        "env_kwargs": dict(settings.env_kwargs),
        "policy": dict(player.identity),
        "split": settings.split,
        "num_tasks": num_tasks,
        "num_samples": settings.num_samples,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "seed": settings.seed,
        "full_reward": full_reward,
    }


async def evaluate_sampler(
    collector: Collector,
    tasks: Sequence[Task],
    *,
    num_samples: int = 1,
    sampling: SamplingParams,
    seed: int,
    on_episode: OnEpisode | None = None,
) -> Evaluation:
    """The collector's sampler on `tasks`, `num_samples` episodes each."""
    plans = plan_groups(tasks, group_size=num_samples, seed=(seed,))
    trajectories = await collector.run(plans, sampling, on_episode=on_episode)
    return Evaluation(tuple(trajectories), collector.example_env.message_env.reward_range[1])
