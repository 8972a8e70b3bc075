"""Which episodes to run, each with its seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..episode import Task
from ..errors import ConfigError


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
    env: str = ""
    """Name of the environment that the task is of; "" where the collector has only one."""


def plan_groups(
    tasks: Sequence[Task],
    *,
    group_size: int,
    seed: tuple[int, ...],
    envs: Sequence[str] | None = None,
    first_group: int = 0,
) -> list[EpisodePlan]:
    """`group_size` episodes for each task, group after group; all seeds derive from `seed`, group and sample.

    Args:
        tasks: one for each group.
        group_size: episodes for each task.
        seed: of everything random.
        envs: for each task the name of its environment, where the collector has several.
        first_group: number of the first group; with a number of its own no group repeats another's seeds.

    Raises:
        ConfigError: `group_size` is below 1.
    """
    if group_size < 1:
        raise ConfigError(f"{group_size} episodes were asked for each task. Ask for at least 1.")
    names = envs if envs is not None else [""] * len(tasks)
    return [
        EpisodePlan(
            task=task,
            seed=_derived_seed(*seed, group),
            sampling_seed=_derived_seed(*seed, group, sample),
            group_id=group,
            sample_index=sample,
            env=env,
        )
        for group, (task, env) in enumerate(zip(tasks, names, strict=True), start=first_group)
        for sample in range(group_size)
    ]


def _derived_seed(*parts: int) -> int:
    """A 63-bit seed from whole numbers; the count of parts matters too."""
    return int(np.random.SeedSequence((len(parts), *parts)).generate_state(1, np.uint64)[0] >> 1)
