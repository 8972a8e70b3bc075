"""GRPO: rewards relative to the group's mean, clipped policy gradient.

Source: Shao et al. 2024, arXiv:2402.03300. The defaults depart from the paper in two ways that later work found
better: the loss is a mean over tokens, not over trajectories (arXiv:2503.14476), and there is no KL penalty. That of
the paper is the learner's option `kl = {coef = 0.04, estimator = "k3", placement = "loss"}`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from llmgym.learning import ActionBatch, ModelOutputs
from llmgym.learning.losses import clipped_policy_loss, is_clipped, require_clip_range

from .group_agent import GroupAgent, GroupConfig


@dataclass(frozen=True, kw_only=True)
class GRPOConfig(GroupConfig):
    """Settings of the GRPO agent."""

    clip_low: float = 0.2
    """Lower trust-region half-width on each token's probability ratio."""
    clip_high: float = 0.2
    """Upper half-width; larger than `clip_low` gives asymmetric clipping."""
    dual_clip: float = math.inf
    """Bound on the ratio for negative advantages (arXiv:1912.09729; verl 3); infinity for none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_clip_range(self.clip_low, self.clip_high, self.dual_clip)


class GRPO(GroupAgent):
    """Group Relative Policy Optimization."""

    config_class: type[GRPOConfig] = GRPOConfig
    config: GRPOConfig

    def loss(self, outputs: ModelOutputs, batch: ActionBatch) -> Mapping[str, Tensor]:
        advantages_BA = batch.required("advantages_BA")
        policy_BA = clipped_policy_loss(
            outputs.logprobs_BA, batch.old_logprobs_BA, advantages_BA, batch.mask_BA, **self._clips
        )
        return {"policy": policy_BA}

    def diagnostics(self, outputs: ModelOutputs, batch: ActionBatch) -> Mapping[str, Tensor]:
        advantages_BA = batch.required("advantages_BA")
        clipped_BA = is_clipped(outputs.logprobs_BA, batch.old_logprobs_BA, advantages_BA, batch.mask_BA, **self._clips)
        return {"clip_share": clipped_BA.float()}

    @property
    def _clips(self) -> dict[str, float]:
        config = self.config
        return {"clip_low": config.clip_low, "clip_high": config.clip_high, "dual_clip": config.dual_clip}
