"""SFT: maximum likelihood of demonstrations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from llmgym.learning import ActionBatch, Aggregation, BaseAgent, DataKind, ModelOutputs
from llmgym.learning.losses import negative_log_likelihood
from llmgym.settings import one_config


@dataclass(frozen=True, kw_only=True)
class SFTConfig:
    """Settings of the SFT agent."""

    aggregation: Aggregation = Aggregation.TOKEN_MEAN
    """How token losses become one number."""


class SFT(BaseAgent):
    """Supervised fine-tuning: the policy's own tokens of demonstrations become likelier.

    Args:
        config: all settings; or give them by name.

    Raises:
        ConfigError: a setting is misspelt.
    """

    data = DataKind.DEMONSTRATIONS
    rollout = None

    def __init__(self, config: SFTConfig | None = None, **settings: Any) -> None:
        self.config = one_config(SFTConfig, config, settings, where="agent")
        self.aggregation = self.config.aggregation

    def loss(self, outputs: ModelOutputs, batch: ActionBatch) -> Mapping[str, Tensor]:
        return {"nll": negative_log_likelihood(outputs.logprobs_BA, batch.mask_BA)}
