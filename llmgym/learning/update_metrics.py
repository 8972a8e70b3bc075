"""The metrics of one update.

    zero_variance_share          of groups of several trajectories, those that all earned the same
    advantage_std                sample standard deviation over action tokens
    shaped_reward                mean reward after penalties, where there are any
    ratio_mean, ratio_max        of policy / policy before the update
    old_kl                       KL(policy before the update || policy), by k3
    kl                           to the reference, by the estimator of the penalty
    entropy                      of the distributions, else estimated from the sampler's log-probabilities
    clip_share                   of tokens that a clip took the gradient from, or whose weight it cut
    grad_norm, critic_grad_norm  before clipping
    explained_variance           of the returns by the critic, before it learned from them

Ratio, KL and shares are means over the action tokens of all steps, each measured before its step: with a single step,
the ratio is 1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor

from .action_batch import ActionBatch
from .advantages import rewards_differ
from .agent import Group
from .losses import log_ratio
from .masking import masked_mean, masked_sum

Passes: TypeAlias = tuple[Mapping[str, float], Mapping[str, float], Mapping[str, float], int]
"""What some passes came to: their sums, their sums over tokens, their maxima, and the number of tokens."""


@dataclass
class UpdateReport:
    """What the optimizer steps of one update add up to."""

    agreement: dict[str, float] = field(default_factory=dict)
    pass_sums: dict[str, Any] = field(default_factory=lambda: defaultdict(float))
    """This, `token_sums` and `maxima` are tensors until they are read, for which a GPU has to be waited for."""
    step_sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    token_sums: dict[str, Any] = field(default_factory=lambda: defaultdict(float))
    maxima: dict[str, Any] = field(default_factory=dict)
    num_tokens: int = 0
    num_steps: int = 0
    num_taken: int = 0
    num_non_finite: int = 0

    def add_losses(self, losses: Mapping[str, Tensor]) -> None:
        for name, loss in losses.items():
            self.pass_sums[name] += loss.detach().double()

    def add_token_sums(self, tables: Mapping[str, Tensor], mask_BA: Tensor) -> None:
        for name, table_BA in tables.items():
            self.token_sums[name] += masked_sum(table_BA, mask_BA)

    def add_policy_change(self, logprobs_BA: Tensor, old_logprobs_BA: Tensor | None, mask_BA: Tensor) -> None:
        """How far the policy of this step is from the one before the update: probability ratio and KL(old || new)."""
        log_ratio_BA = log_ratio(logprobs_BA, old_logprobs_BA, mask_BA).double()
        ratio_BA = log_ratio_BA.exp()
        self.add_token_sums({"ratio_mean": ratio_BA, "old_kl": torch.expm1(log_ratio_BA) - log_ratio_BA}, mask_BA)
        if mask_BA.numel():
            largest = torch.where(mask_BA, ratio_BA, 0.0).amax()
            self.maxima["ratio_max"] = torch.fmax(self.maxima.get("ratio_max", torch.zeros_like(largest)), largest)

    def add_step(self, numbers: Mapping[str, float]) -> None:
        self.num_steps += 1
        for name, number in numbers.items():
            self.step_sums[name] += number

    @property
    def passes(self) -> Passes:
        """What its passes came to."""
        return _numbers(self.pass_sums), _numbers(self.token_sums), _numbers(self.maxima), self.num_tokens

    def take_passes(self, parts: Sequence[Passes]) -> None:
        """In place of its own passes, those of several reports."""
        self.pass_sums, self.token_sums, self.maxima = defaultdict(float), defaultdict(float), {}
        for pass_sums, token_sums, maxima, _ in parts:
            for total, sums in ((self.pass_sums, pass_sums), (self.token_sums, token_sums)):
                for name, value in sums.items():
                    total[name] += value
            for name, value in maxima.items():
                self.maxima[name] = max(self.maxima.get(name, value), value)
        self.num_tokens = sum(num_tokens for *_, num_tokens in parts)

    def means(self) -> dict[str, float]:
        """Losses by step, diagnostics by token; the largest of what has a maximum."""
        pass_sums, token_sums, maxima, num_tokens = self.passes
        return {
            **maxima,
            **{name: value / self.num_steps for name, value in (*pass_sums.items(), *self.step_sums.items())},
            **{name: value / num_tokens for name, value in token_sums.items()},
            "num_optimizer_steps": float(self.num_taken),
            "num_steps_without_gradient": float(self.num_steps - self.num_taken - self.num_non_finite),
            "num_non_finite_steps": float(self.num_non_finite),
        }


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Numbers, and tensors of one number, as numbers; fetched at once."""
    tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
    fetched = torch.stack([*tensors.values()]).tolist() if tensors else []
    return {**values, **dict(zip(tensors, fetched, strict=True))}


def describe_groups(groups: Sequence[Group]) -> dict[str, float]:
    """How many groups of several valid trajectories earned all the same, so that there is nothing to compare in them.

    Returns:
        num_zero_variance_groups and zero_variance_share; empty where no group has more than one.
    """
    rewards = [[trajectory.reward for trajectory in group if trajectory.is_valid] for group in groups]
    rewards = [group for group in rewards if len(group) > 1]
    if not rewards:
        return {}
    num_equal = float(sum(not rewards_differ(group) for group in rewards))
    return {"num_zero_variance_groups": num_equal, "zero_variance_share": num_equal / len(rewards)}


def describe_advantages(batch: ActionBatch, reward_B: Tensor) -> dict[str, float]:
    """Metrics of what an agent made of the rewards.

    Args:
        batch: with what the agent's `advantages` set.
        reward_B: the rewards that the environments paid, shape (B,).

    Returns:
        advantage_std: sample standard deviation over action tokens. shaped_reward: mean reward after penalties, where
        there are any; what was paid stays what it was.
    """
    metrics = {}
    if batch.advantages_BA is not None and batch.num_tokens > 1:
        metrics["advantage_std"] = float(batch.advantages_BA[batch.mask_BA].double().std())
    if not torch.equal(batch.reward_B, reward_B):
        metrics["shaped_reward"] = float(batch.reward_B.mean())
    return metrics


def describe_batch(batch: ActionBatch) -> dict[str, float]:
    """Metrics of the data alone. The entropy is estimated from sampling log-probabilities, for nothing."""
    metrics = {"num_action_tokens": float(batch.num_tokens)}
    if batch.sampling_logprobs_BA is not None:
        metrics["entropy"] = float(masked_mean(-batch.sampling_logprobs_BA, batch.mask_BA))
    return metrics
