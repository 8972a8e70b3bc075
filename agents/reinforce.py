"""REINFORCE: each trajectory against the mean of the whole batch.

Source: Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement learning".
All tokens of a trajectory share its reward; 'reinforce++' has returns of tokens, whitened over tokens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from llmgym.errors import ConfigError
from llmgym.learning import ActionBatch, BaseAgent, ModelOutputs, RolloutSpec
from llmgym.learning.advantages import group_advantages
from llmgym.learning.losses import policy_gradient_loss
from llmgym.learning.masking import spread
from llmgym.sampling import SamplingParams
from llmgym.settings import one_config


@dataclass(frozen=True, kw_only=True)
class ReinforceConfig:
    """Settings of the REINFORCE agent."""

    group_size: int = 1
    """Samples for each task; the baseline is that of the batch all the same."""
    scale_by_std: bool = True
    """Divide advantages by the standard deviation of the batch's rewards."""
    temperature: float = 1.0
    """Of sampling, and of the policy that learns."""
    top_p: float = 1.0
    """Sample from the smallest set of likeliest tokens that holds this much probability; 1: from all."""
    top_k: int = 0
    """Sample from so many of the likeliest tokens; 0: from all."""

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ConfigError(f"temperature is {self.temperature}, but greedy samples show no alternative.")


class Reinforce(BaseAgent):
    """REINFORCE with the batch's mean as baseline.

    Args:
        config: all settings; or give them by name, e.g. `Reinforce(scale_by_std=False)`.

    Raises:
        ConfigError: a setting is misspelt or out of range.
    """

    def __init__(self, config: ReinforceConfig | None = None, **settings: Any) -> None:
        self.config = one_config(ReinforceConfig, config, settings, where="agent")
        self.rollout = RolloutSpec(
            group_size=self.config.group_size,
            sampling=SamplingParams(
                temperature=self.config.temperature, top_p=self.config.top_p, top_k=self.config.top_k
            ),
        )

    def advantages(self, batch: ActionBatch) -> ActionBatch:
        whole_batch_B = torch.zeros_like(batch.group_B)
        advantage_B = group_advantages(batch.reward_B, whole_batch_B, scale_by_std=self.config.scale_by_std)
        return batch.replace(advantages_BA=spread(advantage_B, batch.mask_BA))

    def loss(self, outputs: ModelOutputs, batch: ActionBatch) -> Mapping[str, Tensor]:
        return {"policy": policy_gradient_loss(outputs.logprobs_BA, batch.required("advantages_BA"), batch.mask_BA)}
