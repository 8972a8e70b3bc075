"""GSPO: GRPO with one probability ratio for a whole trajectory, the geometric mean of its tokens'.

Source: Zheng et al. 2025, arXiv:2507.18071, whose section 5.1 has the half-widths and the number of minibatches. There
is no KL penalty. The half-widths belong to a mean over hundreds of tokens; the shorter the answers, the more it varies.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from llmgym.learning import ActionBatch, Aggregation, ModelOutputs, Unit
from llmgym.learning.losses import clipped_sequence_loss, is_sequence_clipped, require_clip_range
from llmgym.learning.masking import masked_mean

from .group_agent import GroupAgent, GroupConfig


@dataclass(frozen=True, kw_only=True)
class GSPOConfig(GroupConfig):
    """Settings of the GSPO agent."""

    aggregation: Aggregation = Aggregation.TRAJECTORY_MEAN
    """How losses become one number; a trajectory's loss counts as that of each of its tokens."""
    minibatches: int = 4
    """Optimizer steps in each pass; with one, the ratio is 1 and nothing is ever clipped."""
    clip_low: float = 3e-4
    """Lower trust-region half-width on each trajectory's ratio. At 0.2, right for tokens, nothing is ever clipped."""
    clip_high: float = 4e-4
    """Upper half-width."""
    dual_clip: float = math.inf
    """Bound on the ratio for negative advantages; infinity for none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_clip_range(self.clip_low, self.clip_high, self.dual_clip)


class GSPO(GroupAgent):
    """Group Sequence Policy Optimization."""

    unit = Unit.TRAJECTORY
    config_class: type[GSPOConfig] = GSPOConfig
    config: GSPOConfig

    def loss(self, outputs: ModelOutputs, batch: ActionBatch) -> Mapping[str, Tensor]:
        advantage_B = self._advantage_B(batch)
        policy_B = clipped_sequence_loss(
            outputs.logprobs_BA, batch.old_logprobs_BA, advantage_B, batch.mask_BA, **self._clips
        )
        return {"policy": policy_B}

    def diagnostics(self, outputs: ModelOutputs, batch: ActionBatch) -> Mapping[str, Tensor]:
        advantage_B = self._advantage_B(batch)
        clipped_BA = is_sequence_clipped(
            outputs.logprobs_BA, batch.old_logprobs_BA, advantage_B, batch.mask_BA, **self._clips
        )
        return {"clip_share": clipped_BA.float()}

    @staticmethod
    def _advantage_B(batch: ActionBatch) -> Tensor:
        """The advantage that all tokens of a trajectory share."""
        advantages_BA = batch.required("advantages_BA")
        return masked_mean(advantages_BA, batch.mask_BA, dim=1).to(advantages_BA.dtype)

    @property
    def _clips(self) -> dict[str, float]:
        config = self.config
        return {"clip_low": config.clip_low, "clip_high": config.clip_high, "dual_clip": config.dual_clip}
