"""The metrics of one update."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from .action_batch import ActionBatch
from .advantages import is_zero_variance_group
from .masking import masked_mean, masked_sum


@dataclass
class UpdateReport:
    """What the optimizer steps of one update add up to."""

    agreement: dict[str, float] = field(default_factory=dict)
    step_sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    token_sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    num_tokens: int = 0
    num_steps: int = 0
    num_taken: int = 0
    num_non_finite: int = 0

    def add_losses(self, losses: Mapping[str, Tensor]) -> None:
        for name, loss in losses.items():
            self.step_sums[name] += float(loss)

    def add_token_sums(self, tables: Mapping[str, Tensor], mask_BA: Tensor) -> None:
        for name, table_BA in tables.items():
            self.token_sums[name] += float(masked_sum(table_BA, mask_BA))

    def add_step(self, numbers: Mapping[str, float]) -> None:
        self.num_steps += 1
        for name, number in numbers.items():
            self.step_sums[name] += number

    def means(self) -> dict[str, float]:
        """Losses by step, diagnostics by token."""
        return {
            **{name: value / self.num_steps for name, value in self.step_sums.items()},
            **{name: value / self.num_tokens for name, value in self.token_sums.items()},
            "num_optimizer_steps": float(self.num_taken),
            "num_steps_without_gradient": float(self.num_steps - self.num_taken - self.num_non_finite),
            "num_non_finite_steps": float(self.num_non_finite),
        }


def describe_batch(batch: ActionBatch, *, is_online: bool) -> dict[str, float]:
    """Metrics of the data alone. The entropy is estimated from sampling log-probabilities, for nothing."""
    metrics = {"num_action_tokens": float(batch.num_tokens)}
    if is_online and len(batch.reward_B):
        is_degenerate_P = is_zero_variance_group(batch.reward_B, batch.group_B)
        metrics["zero_variance_share"] = float(is_degenerate_P.double().mean())
    if batch.sampling_logprobs_BA is not None:
        metrics["entropy"] = float(masked_mean(-batch.sampling_logprobs_BA, batch.mask_BA))
    return metrics
