"""Relatives of GRPO that differ from it in settings alone."""

from dataclasses import dataclass

from llmgym.learning import Aggregation

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
    drop_equal_groups: bool = True
    """Dynamic sampling: learn only from groups whose rewards differ."""
    resample_rounds: int = 9
    """Further collections that may be made to replace the dropped groups. The paper names no end; its released recipe
    stops at ten collections."""
    overlong_buffer: float = 0.2
    """The last part of the token limit, as a share of it, in which each token costs reward: 4096 of 20480 tokens."""
    minibatches: int = 16
    """Optimizer steps in each pass, each at the whole learning rate: the more there are, the lower it should be."""


class DAPO(GRPO):
    """GRPO with a higher upper clip, the mean over tokens, a soft punishment of length, and only of groups that differ.

    Groups whose samples all earn the same are dropped and replaced by sampling more. There is no KL penalty. The
    paper's overlong filtering, its alternative to the punishment, is `mask_truncated`.

    Source: Yu et al. 2025, arXiv:2503.14476; its section 4.1 has the settings.
    """

    config_class = DAPOConfig
