"""CISPO: GRPO's advantages on a policy gradient that is weighted by the clipped ratio and never cut off.

Source: MiniMax 2025, arXiv:2506.13585, whose section 3.1 has 16 optimizer steps on a batch, no lower bound, no KL
penalty, and the dynamic sampling and length penalty of DAPO (arXiv:2503.14476). It leaves the upper bound open; that of
5 is from Khatri et al. 2025, arXiv:2510.13786.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from llmgym.errors import ConfigError
from llmgym.learning import ActionBatch, ModelOutputs
from llmgym.learning.losses import is_weight_cut, weighted_policy_gradient_loss

from .group_agent import GroupAgent, GroupConfig


@dataclass(frozen=True, kw_only=True)
class CISPOConfig(GroupConfig):
    """Settings of the CISPO agent."""

    group_size: int = 16
    """Samples for each task; at least 2."""
    drop_equal_groups: bool = True
    """Dynamic sampling: learn only from groups whose rewards differ."""
    resample_rounds: int = 9
    """Further collections that may be made to replace the dropped groups; as many as in the recipe of DAPO."""
    overlong_buffer: float = 0.2
    """The last part of the token limit, as a share of it, in which each token costs reward; 0: none."""
    minibatches: int = 16
    """Optimizer steps in each pass, each at the whole learning rate, with no trust region to stop them: the more there
    are, the lower it should be. With one, the ratio is 1, and this is REINFORCE with a group baseline."""
    max_ratio: float = 5.0
    """Largest weight of a token."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_ratio < 1:
            raise ConfigError(f"max_ratio is {self.max_ratio}, but the ratio begins at 1. Use 1 or more.")


class CISPO(GroupAgent):
    """Clipped Importance-Sampling-weight Policy Optimization."""

    config_class: type[CISPOConfig] = CISPOConfig
    config: CISPOConfig

    def loss(self, outputs: ModelOutputs, batch: ActionBatch) -> Mapping[str, Tensor]:
        policy_BA = weighted_policy_gradient_loss(
            outputs.logprobs_BA,
            batch.old_logprobs_BA,
            batch.required("advantages_BA"),
            batch.mask_BA,
            max_ratio=self.config.max_ratio,
        )
        return {"policy": policy_BA}

    def diagnostics(self, outputs: ModelOutputs, batch: ActionBatch) -> Mapping[str, Tensor]:
        cut_BA = is_weight_cut(
            outputs.logprobs_BA, batch.old_logprobs_BA, batch.mask_BA, max_ratio=self.config.max_ratio
        )
        return {"clip_share": cut_BA.float()}
