"""PPO: a critic for baseline, generalized advantages, clipped steps.

Source: Schulman et al. 2017, arXiv:1707.06347, as it is done for language models: Ouyang et al. 2022,
arXiv:2203.02155; Huang et al. 2024, arXiv:2403.17031. Time runs over the policy's own tokens, across turns: what tools
and environments say takes none, so there is no value and no decay on it. The critic is the learner's
(`llmgym.learning.CriticConfig`: a head on the policy or a model of its own, learning rate, warm-up); after an outside
time limit its value of the state that was left stands for the rewards that were cut off, after every other end there
is nothing to expect.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from llmgym.errors import ConfigError
from llmgym.learning import ActionBatch, Aggregation, BaseAgent, ModelOutputs, Need, RolloutSpec
from llmgym.learning.advantages import gae_advantages
from llmgym.learning.losses import (
    clipped_policy_loss,
    clipped_value_loss,
    is_clipped,
    is_value_clipped,
    require_clip_range,
)
from llmgym.learning.masking import masked_whiten
from llmgym.sampling import SamplingParams
from llmgym.settings import one_config

_WHITEN_EPS = 1e-8


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """Settings of the PPO agent."""

    group_size: int = 1
    """Samples for each task; the critic needs no group to compare with."""
    gamma: float = 1.0
    """Discount per token."""
    lam: float = 1.0
    """Bias against variance of the advantages: 1 waits for the rewards, 0 believes the next value. verl and OpenRLHF
    begin at 1, arXiv:2203.02155 and NeMo RL at 0.95."""
    clip_low: float = 0.2
    """Lower trust-region half-width on the probability ratio (arXiv:1707.06347)."""
    clip_high: float = 0.2
    """Upper half-width; larger than `clip_low` gives asymmetric clipping."""
    dual_clip: float = math.inf
    """Bound on the ratio for negative advantages (arXiv:1912.09729; verl 3, NeMo RL 10); infinity for none."""
    value_clip: float = 0.5
    """How far a value may move in one update before its loss turns pessimistic, in the unit of the returns (verl,
    OpenRLHF and AReaL 0.5); infinity for the plain squared error."""
    vf_coef: float = 0.1
    """Weight of the value loss (arXiv:2403.17031). Where the critic trains itself alone it hardly matters, as AdamW
    does not see the scale of a loss; `learner.critic.learning_rate` does."""
    entropy_coef: float = 0.0
    """Weight of the entropy bonus."""
    aggregation: Aggregation = Aggregation.TOKEN_MEAN
    """How token losses become one number."""
    epochs: int = 1
    """Passes over a batch."""
    minibatches: int = 4
    """Optimizer steps in each pass."""
    temperature: float = 1.0
    """Of sampling, and of the policy that learns."""
    top_p: float = 1.0
    """Sample from the smallest set of likeliest tokens that holds this much probability; 1: from all."""
    top_k: int = 0
    """Sample from so many of the likeliest tokens; 0: from all."""

    def __post_init__(self) -> None:
        for name in ("gamma", "lam"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, but it must be from 0 to 1.")
        require_clip_range(self.clip_low, self.clip_high, self.dual_clip)
        if self.value_clip <= 0:
            raise ConfigError(f"value_clip is {self.value_clip}, but it must be above 0; inf switches it off.")
        for name in ("vf_coef", "entropy_coef"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}, but a weight must be at least 0.")
        if self.temperature <= 0:
            raise ConfigError(f"temperature is {self.temperature}, but greedy samples show no alternative.")


class PPO(BaseAgent):
    """Proximal Policy Optimization.

    Args:
        config: all settings; or give them by name, e.g. `PPO(lam=0.95)`.

    Raises:
        ConfigError: a setting is misspelt or out of range.
    """

    def __init__(self, config: PPOConfig | None = None, **settings: Any) -> None:
        self.config = one_config(PPOConfig, config, settings, where="agent")
        self.aggregation = self.config.aggregation
        self.rollout = RolloutSpec(
            group_size=self.config.group_size,
            sampling=SamplingParams(
                temperature=self.config.temperature, top_p=self.config.top_p, top_k=self.config.top_k
            ),
            epochs=self.config.epochs,
            minibatches=self.config.minibatches,
        )
        exact_entropy = {Need.ENTROPY} if self.config.entropy_coef > 0 else set()
        self.needs = frozenset({Need.OLD_LOGPROBS, Need.VALUES} | exact_entropy)

    def advantages(self, batch: ActionBatch) -> ActionBatch:
        values_BA = batch.required("values_BA")
        advantages_BA = gae_advantages(
            batch.rewards_BA,
            values_BA,
            batch.bootstrap_value_B,
            batch.mask_BA,
            gamma=self.config.gamma,
            lam=self.config.lam,
        )
        # The critic learns returns in the unit of rewards; only the policy sees advantages whitened over the batch.
        returns_BA = torch.where(batch.mask_BA, advantages_BA + values_BA, 0.0)
        whitened_BA = masked_whiten(advantages_BA, batch.mask_BA, eps=_WHITEN_EPS)
        return batch.replace(advantages_BA=whitened_BA, returns_BA=returns_BA)

    def loss(self, outputs: ModelOutputs, batch: ActionBatch) -> Mapping[str, Tensor]:
        assert outputs.values_BA is not None
        advantages_BA = batch.required("advantages_BA")
        policy_BA = clipped_policy_loss(
            outputs.logprobs_BA, batch.old_logprobs_BA, advantages_BA, batch.mask_BA, **self._clips
        )
        value_BA = clipped_value_loss(
            outputs.values_BA,
            batch.required("values_BA"),
            batch.required("returns_BA"),
            batch.mask_BA,
            clip=self.config.value_clip,
        )
        components = {"policy": policy_BA, "value": self.config.vf_coef * value_BA}
        if outputs.entropy_BA is not None:
            components["entropy"] = torch.where(batch.mask_BA, -self.config.entropy_coef * outputs.entropy_BA, 0.0)
        return components

    def diagnostics(self, outputs: ModelOutputs, batch: ActionBatch) -> Mapping[str, Tensor]:
        assert outputs.values_BA is not None
        advantages_BA = batch.required("advantages_BA")
        clipped_BA = is_clipped(outputs.logprobs_BA, batch.old_logprobs_BA, advantages_BA, batch.mask_BA, **self._clips)
        value_clipped_BA = is_value_clipped(
            outputs.values_BA, batch.required("values_BA"), batch.mask_BA, clip=self.config.value_clip
        )
        return {
            "clip_share": clipped_BA.float(),
            "value_clip_share": value_clipped_BA.float(),
            "value": outputs.values_BA,
        }

    @property
    def _clips(self) -> dict[str, float]:
        config = self.config
        return {"clip_low": config.clip_low, "clip_high": config.clip_high, "dual_clip": config.dual_clip}
