"""REINFORCE++: the return of each token, whitened over all tokens of the batch, and clipped steps.

Source: Hu et al. 2025, arXiv:2501.03262. Its KL penalty is the learner's: `kl = {coef = 0.01}` (k1 in the reward), for
the variant with a baseline `kl = {coef = ..., estimator = "k2", placement = "loss"}`. Time runs over the policy's own
tokens, across turns, without discount: what comes after a tool's answer counts before it too.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from llmgym.errors import ConfigError
from llmgym.learning import ActionBatch, BaseAgent, ModelOutputs, Need, RolloutSpec
from llmgym.learning.advantages import discounted_returns, group_advantages
from llmgym.learning.losses import clipped_policy_loss, is_clipped, require_clip_range
from llmgym.learning.masking import masked_whiten, spread
from llmgym.sampling import SamplingParams
from llmgym.settings import one_config

_WHITEN_EPS = 1e-8


@dataclass(frozen=True, kw_only=True)
class ReinforcePPConfig:
    """Settings of the REINFORCE++ agent."""

    group_size: int = 1
    """Samples for each task."""
    group_baseline: bool = False
    """Subtract the mean of the group from each trajectory's reward; else only that of the batch's tokens is."""
    clip_low: float = 0.2
    """Lower trust-region half-width on the probability ratio."""
    clip_high: float = 0.2
    """Upper half-width; larger than `clip_low` gives asymmetric clipping."""
    dual_clip: float = math.inf
    """Bound on the ratio for negative advantages (arXiv:1912.09729); infinity for none."""
    epochs: int = 1
    """Passes over a batch."""
    minibatches: int = 1
    """Optimizer steps in each pass."""
    temperature: float = 1.0
    """Of sampling, and of the policy that learns."""
    top_p: float = 1.0
    """Sample from the smallest set of likeliest tokens that holds this much probability; 1: from all."""
    top_k: int = 0
    """Sample from so many of the likeliest tokens; 0: from all."""

    def __post_init__(self) -> None:
        require_clip_range(self.clip_low, self.clip_high, self.dual_clip)
        if self.group_baseline and self.group_size < 2:
            raise ConfigError(
                f"group_size is {self.group_size}, but a group baseline needs at least 2 samples for each task. "
                "Set group_size=2 or more, or group_baseline=false."
            )
        if self.temperature <= 0:
            raise ConfigError(f"temperature is {self.temperature}, but greedy samples show no alternative.")


class ReinforcePP(BaseAgent):
    """REINFORCE with the returns of tokens, whitened over the whole batch, and clipped steps.

    Args:
        config: all settings; or give them by name, e.g. `ReinforcePP(epochs=2)`.

    Raises:
        ConfigError: a setting is misspelt or out of range.
    """

    config_class: type[ReinforcePPConfig] = ReinforcePPConfig

    def __init__(self, config: ReinforcePPConfig | None = None, **settings: Any) -> None:
        self.config = one_config(self.config_class, config, settings, where="agent")
        self.rollout = RolloutSpec(
            group_size=self.config.group_size,
            sampling=SamplingParams(
                temperature=self.config.temperature, top_p=self.config.top_p, top_k=self.config.top_k
            ),
            epochs=self.config.epochs,
            minibatches=self.config.minibatches,
        )
        self.needs = frozenset({Need.OLD_LOGPROBS})

    def advantages(self, batch: ActionBatch) -> ActionBatch:
        if not self.config.group_baseline:
            returns_BA = discounted_returns(batch.rewards_BA, batch.mask_BA, gamma=1.0)
            return batch.replace(advantages_BA=masked_whiten(returns_BA, batch.mask_BA, eps=_WHITEN_EPS))
        advantage_B = group_advantages(batch.reward_B, batch.group_B, scale_by_std=False)
        centred_BA = spread(advantage_B, batch.mask_BA)
        return batch.replace(advantages_BA=masked_whiten(centred_BA, batch.mask_BA, eps=_WHITEN_EPS, shift=False))

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


@dataclass(frozen=True, kw_only=True)
class ReinforcePPBaselineConfig(ReinforcePPConfig):
    """Settings of the REINFORCE++-baseline agent: those of REINFORCE++, with other defaults."""

    group_size: int = 8
    """Samples for each task."""
    group_baseline: bool = True
    """Subtract the mean of the group from each trajectory's reward; else only that of the batch's tokens is."""


class ReinforcePPBaseline(ReinforcePP):
    """REINFORCE++ with the group's mean as baseline, scaled by the deviation of the whole batch.

    The paper takes the batch's mean off a second time. Here it is not, or groups that say nothing would move.
    """

    config_class = ReinforcePPBaselineConfig
