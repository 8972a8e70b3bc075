"""Relatives of GRPO that differ from it in settings, or in which groups they learn from."""

from collections.abc import Sequence
from dataclasses import dataclass

from llmgym.learning import Aggregation, Group

from .grpo import GRPO, GRPOConfig


@dataclass(frozen=True, kw_only=True)
class DrGRPOConfig(GRPOConfig):
    """Settings of the Dr. GRPO agent: those of GRPO, with other defaults."""

    scale_by_std: bool = False
    """Divide advantages by the standard deviation of the group's rewards."""
    aggregation: Aggregation = Aggregation.CONSTANT
    """How token losses become one number. The constant is `learner.max_actions`; a run sets it to the token limit."""


class DrGRPO(GRPO):
    """GRPO without its two divisions, by the group's standard deviation and by each trajectory's length.

    Source: Liu et al. 2025, arXiv:2503.20783.
    """

    config_class = DrGRPOConfig


@dataclass(frozen=True, kw_only=True)
class DAPOConfig(GRPOConfig):
    """Settings of the DAPO agent: those of GRPO, with other defaults."""

    group_size: int = 16
    """Samples for each task; at least 2."""
    clip_high: float = 0.28
    """Upper half-width; larger than `clip_low`, so that what is unlikely can become likelier."""
    resample_rounds: int = 4
    """Further collections that may be made to replace dropped groups; the paper goes on until the batch is full."""


class DAPO(GRPO):
    """GRPO with a higher upper clip, the mean over tokens, and without groups that say nothing, which are replaced.

    One part of the paper is left out: no reward is taken off answers that are too long.

    Source: Yu et al. 2025, arXiv:2503.14476.
    """

    config_class = DAPOConfig

    def select(self, groups: Sequence[Group]) -> Sequence[Group]:
        """The groups whose rewards differ."""
        return [group for group in groups if len({trajectory.reward for trajectory in group}) > 1]
