"""RLOO: each trajectory against the mean of the others in its group, a whole trajectory as one action.

Source: Ahmadian et al. 2024, arXiv:2402.14740. There is no ratio and no clipping, as each batch makes one step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from llmgym.errors import ConfigError
from llmgym.learning import ActionBatch, Aggregation, BaseAgent, ModelOutputs, RolloutSpec, Unit
from llmgym.learning.advantages import leave_one_out_advantages
from llmgym.learning.losses import policy_gradient_loss
from llmgym.learning.masking import spread
from llmgym.sampling import SamplingParams
from llmgym.settings import one_config


@dataclass(frozen=True, kw_only=True)
class RLOOConfig:
    """Settings of the RLOO agent."""

    group_size: int = 8
    """Samples for each task; at least 2."""
    temperature: float = 1.0
    """Of sampling, and of the policy that learns."""
    top_p: float = 1.0
    """Sample from the smallest set of likeliest tokens that holds this much probability; 1: from all."""
    top_k: int = 0
    """Sample from so many of the likeliest tokens; 0: from all."""

    def __post_init__(self) -> None:
        if self.group_size < 2:
            raise ConfigError(
                f"group_size is {self.group_size}, but leaving one out needs at least 2 samples for each task. "
                "Set group_size=2 or more, or use 'reinforce', whose baseline is the batch."
            )
        if self.temperature <= 0:
            raise ConfigError(f"temperature is {self.temperature}, but a group of greedy samples is one sample.")


class RLOO(BaseAgent):
    """REINFORCE leave-one-out.

    Args:
        config: all settings; or give them by name, e.g. `RLOO(group_size=4)`.

    Raises:
        ConfigError: a setting is misspelt or out of range.
    """

    unit = Unit.TRAJECTORY
    aggregation = Aggregation.TRAJECTORY_MEAN

    def __init__(self, config: RLOOConfig | None = None, **settings: Any) -> None:
        self.config = one_config(RLOOConfig, config, settings, where="agent")
        self.rollout = RolloutSpec(
            group_size=self.config.group_size,
            sampling=SamplingParams(
                temperature=self.config.temperature, top_p=self.config.top_p, top_k=self.config.top_k
            ),
        )

    def advantages(self, batch: ActionBatch) -> ActionBatch:
        advantage_B = leave_one_out_advantages(batch.reward_B, batch.group_B)
        return batch.replace(advantages_BA=spread(advantage_B, batch.mask_BA))

    def loss(self, outputs: ModelOutputs, batch: ActionBatch) -> Mapping[str, Tensor]:
        advantages_BA = batch.required("advantages_BA")
        return {"policy": policy_gradient_loss(outputs.logprobs_BA, advantages_BA, batch.mask_BA).sum(dim=1)}
