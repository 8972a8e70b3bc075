"""GRPO: rewards relative to the group's mean, clipped policy gradient.

Source: Shao et al. 2024, arXiv:2402.03300. The defaults depart from the paper in two ways that later work found
better: the loss is a mean over tokens, not over trajectories (arXiv:2503.14476), and there is no KL penalty. That of
the paper is the learner's option `kl = {coef = 0.04, estimator = "k3", placement = "loss"}`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from llmgym.errors import ConfigError
from llmgym.learning import ActionBatch, Aggregation, BaseAgent, ModelOutputs, Need, RolloutSpec
from llmgym.learning.advantages import group_advantages
from llmgym.learning.losses import clipped_policy_loss, is_clipped, require_clip_range
from llmgym.learning.masking import spread
from llmgym.sampling import SamplingParams
from llmgym.settings import one_config


@dataclass(frozen=True, kw_only=True)
class GRPOConfig:
    """Settings of the GRPO agent."""

    group_size: int = 8
    """Samples for each task; at least 2."""
    clip_low: float = 0.2
    """Lower trust-region half-width on the probability ratio."""
    clip_high: float = 0.2
    """Upper half-width; larger than `clip_low` gives asymmetric clipping."""
    scale_by_std: bool = True
    """Divide advantages by the standard deviation of the group's rewards."""
    aggregation: Aggregation = Aggregation.TOKEN_MEAN
    """How token losses become one number."""
    epochs: int = 1
    """Passes over a batch."""
    minibatches: int = 1
    """Optimizer steps in each pass."""
    resample_rounds: int = 0
    """Further collections that may be made to replace groups that `select` drops."""
    temperature: float = 1.0
    """Of sampling, and of the policy that learns."""

    def __post_init__(self) -> None:
        if self.group_size < 2:
            raise ConfigError(
                f"group_size is {self.group_size}, but a group baseline needs at least 2 samples for each task. "
                "Set group_size=2 or more."
            )
        require_clip_range(self.clip_low, self.clip_high)
        if self.temperature <= 0:
            raise ConfigError(f"temperature is {self.temperature}, but a group of greedy samples is one sample.")


class GRPO(BaseAgent):
    """Group Relative Policy Optimization.

    Args:
        config: all settings; or give them by name, e.g. `GRPO(group_size=4)`.

    Raises:
        ConfigError: a setting is misspelt or out of range.
    """

    config_class: type[GRPOConfig] = GRPOConfig

    def __init__(self, config: GRPOConfig | None = None, **settings: Any) -> None:
        self.config = one_config(self.config_class, config, settings, where="agent")
        self.aggregation = self.config.aggregation
        self.rollout = RolloutSpec(
            group_size=self.config.group_size,
            sampling=SamplingParams(temperature=self.config.temperature),
            epochs=self.config.epochs,
            minibatches=self.config.minibatches,
            resample_rounds=self.config.resample_rounds,
        )
        self.needs = frozenset({Need.OLD_LOGPROBS})

    def advantages(self, batch: ActionBatch) -> ActionBatch:
        advantage_B = group_advantages(batch.reward_B, batch.group_B, scale_by_std=self.config.scale_by_std)
        return batch.replace(advantages_BA=spread(advantage_B, batch.mask_BA))

    def loss(self, outputs: ModelOutputs, batch: ActionBatch) -> Mapping[str, Tensor]:
        policy_BA = clipped_policy_loss(
            outputs.logprobs_BA,
            batch.old_logprobs_BA,
            batch.required("advantages_BA"),
            batch.mask_BA,
            clip_low=self.config.clip_low,
            clip_high=self.config.clip_high,
            dual_clip=None,
        )
        return {"policy": policy_BA}

    def diagnostics(self, outputs: ModelOutputs, batch: ActionBatch) -> Mapping[str, Tensor]:
        clipped_BA = is_clipped(
            outputs.logprobs_BA,
            batch.old_logprobs_BA,
            batch.required("advantages_BA"),
            batch.mask_BA,
            clip_low=self.config.clip_low,
            clip_high=self.config.clip_high,
        )
        return {"clip_share": clipped_BA.float()}
