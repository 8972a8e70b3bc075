"""The batch of one training step: groups that the agent selected, and replacements of those that it dropped."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..episode import Trajectory
from ..learning import Agent, RolloutSpec
from ..learning.agent import Group
from ..rollout import Collector, OnEpisode, TaskMixture, groups_of, plan_groups


@dataclass(eq=False)
class Batch:
    """What a step collected."""

    drawn: list[Trajectory] = field(default_factory=list)
    """All that was sampled, in order; it all counts as samples."""
    groups: list[Group] = field(default_factory=list)
    """What the agent learns from; after a further round, at most as many as were asked for."""
    num_rounds: int = 0
    """Collections beyond the first."""
    num_dropped_groups: int = 0
    """Groups with a valid trajectory that the agent did not select."""
    num_dropped_stale: int = 0
    """Trajectories that were too old to learn from, with their groups."""

    @property
    def num_drawn_groups(self) -> int:
        """Groups that were sampled."""
        return len({trajectory.group_id for trajectory in self.drawn})


async def collect_batch(
    collector: Collector,
    mixture: TaskMixture,
    agent: Agent,
    rollout: RolloutSpec,
    *,
    num_groups: int,
    seed: tuple[int, ...],
    on_episode: OnEpisode | None = None,
) -> Batch:
    """Collect groups until the agent has selected `num_groups`, or `rollout.resample_rounds` further rounds were made.

    Seeds derive from `seed` and the number of the group, which goes on from round to round.
    """
    batch = Batch()
    for round_index in range(1 + rollout.resample_rounds):
        first_group = batch.num_drawn_groups
        num_new = num_to_draw(num_groups - len(batch.groups), len(batch.groups), first_group, most=num_groups)
        chosen = [mixture.next() for _ in range(num_new)]
        plans = plan_groups(
            [task for _, task in chosen],
            group_size=rollout.group_size,
            seed=seed,
            envs=[name for name, _ in chosen],
            first_group=first_group,
        )
        trajectories = await collector.run(plans, rollout.sampling, on_episode=on_episode)
        valid = list(groups_of([trajectory for trajectory in trajectories if trajectory.is_valid]))
        selected: Sequence[Group] = agent.select(valid)
        batch.drawn += trajectories
        batch.groups += selected
        batch.num_rounds = round_index
        batch.num_dropped_groups += max(0, len(valid) - len(selected))
        if len(batch.groups) >= num_groups:
            break
    if batch.num_rounds:  # a round may have brought more than were missing
        batch.groups = batch.groups[:num_groups]
    return batch


def num_to_draw(num_missing: int, num_kept: int, num_drawn: int, *, most: int) -> int:
    """How many groups to draw so that about `num_missing` are kept, if as large a share is kept as before.

    At least as many as are missing, and at most `most`: one round never costs more than the first.
    """
    expected = num_missing * num_drawn / num_kept if num_kept else most
    return min(most, max(num_missing, math.ceil(expected)))
