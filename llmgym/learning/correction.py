"""Correction for a sampler that is not quite the learner's policy: an option of the learner, for every online agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import ConfigError
from .action_batch import ActionBatch
from .masking import masked_mean, masked_sum, spread

_MAX_LOG_WEIGHT = 80.0
"""Where exponentials still fit into float32; such a weight is cut or useless anyway."""


@dataclass(frozen=True, kw_only=True)
class CorrectionConfig:
    """Importance weights learner / sampler on the policy's loss.

    A run that is given none has one by its mode, see `llmgym.training.mode.default_correction`; one that is given
    replaces it whole, so what is left out here is as below in every mode.

    The weights are numbers, without gradient. What they reject stays in the denominators of the loss: were it not
    counted, the rest would weigh more the more is rejected.
    """

    enabled: bool = True
    """False: no weights, whatever sampled the tokens."""
    level: Literal["token", "sequence", "geometric"] = "token"
    """What a weight belongs to: each token; a trajectory, as the product over its tokens, which nearly vanishes or
    explodes for long ones; or a trajectory, as their geometric mean."""
    action: Literal["truncate", "mask", "clip"] = "truncate"
    """What becomes of weights out of bounds. truncate: they are set to the bound. mask: to 0. clip: to 0 where the
    advantage pushes them farther out, so that an update does not repeat what others made of older tokens; else to the
    upper bound, and what is below the lower one stays."""
    low: float = 0.0
    """Lower bound, from 0 to 1."""
    high: float = 2.0
    """Upper bound, at least 1. Used elsewhere: token 2, sequence 2 to 5, geometric 1.01 (with `low` 0.99); to clip
    tokens, 1.2 (with `low` 0.8)."""

    def __post_init__(self) -> None:
        if not 0 <= self.low <= 1 <= self.high:
            raise ConfigError(
                f"learner.correction has low {self.low} and high {self.high}, but a sampler that agrees has weight 1. "
                "Use low from 0 to 1 and high of at least 1."
            )


def raw_weights(old_logprobs_BA: Tensor, sampling_logprobs_BA: Tensor, mask_BA: Tensor, *, level: str) -> Tensor:
    """Importance weights of the learner's policy against the sampler's, before any bound.

        w_t = exp(l_t - s_t)                           level "token"
        w_t = exp(sum over the trajectory of l - s)    level "sequence"
        w_t = exp(mean over the trajectory of l - s)   level "geometric"

    Args:
        old_logprobs_BA: of the learner's weights before the update, shape (B, A).
        sampling_logprobs_BA: of the sampler, shape (B, A).
        mask_BA: True where the token is real, shape (B, A).
        level: see above.

    Returns:
        float32 weights, shape (B, A), at most exp(80); zero on padding.

    Source:
        Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training" (token);
        Zheng et al. 2025, arXiv:2507.18071 (geometric).
    """
    log_BA = torch.where(mask_BA, old_logprobs_BA - sampling_logprobs_BA, 0.0).double()
    if level != "token":
        reduce = masked_sum if level == "sequence" else masked_mean
        log_BA = spread(reduce(log_BA, mask_BA, dim=1), mask_BA, dtype=torch.float64)
    return torch.where(mask_BA, log_BA.clamp(max=_MAX_LOG_WEIGHT).exp(), 0.0).float()


def bounded_weights(
    weights_BA: Tensor, mask_BA: Tensor, *, action: str, low: float, high: float, advantages_BA: Tensor | None = None
) -> Tensor:
    """Weights within their bounds, shape (B, A); zero on padding.

        min(max(w, low), high)                                          action "truncate"
        w where low <= w <= high, else 0                                action "mask"
        0 where w > high and A > 0, or w < low and A < 0, else min(w, high)    action "clip"

    Args:
        weights_BA: from `raw_weights`, shape (B, A).
        mask_BA: True where the token is real, shape (B, A).
        action: see above.
        low: lower bound.
        high: upper bound.
        advantages_BA: which way the loss pushes each token, shape (B, A); where None, "clip" is "mask".

    Source:
        Schulman et al. 2017, arXiv:1707.06347, eq. 7 (clip: the gradient of its surrogate, against the sampler's policy
        and with weights of at most `high`).
    """
    if action == "truncate":
        return torch.where(mask_BA, weights_BA.clamp(low, high), 0.0)
    is_kept_BA = mask_BA & ~_is_out(weights_BA, low, high, advantages_BA if action == "clip" else None)
    return torch.where(is_kept_BA, weights_BA.clamp(max=high), 0.0)


def require_sampling_logprobs(batch: ActionBatch) -> Tensor:
    """The sampler's log-probabilities of a batch that is to be corrected.

    Raises:
        ConfigError: there are none.
    """
    if batch.sampling_logprobs_BA is None:
        raise ConfigError(
            "learner.correction compares with the sampler's log-probabilities, but some trajectories have none. Use a "
            "sampler that gives them, or leave learner.correction out."
        )
    return batch.sampling_logprobs_BA


def corrected_loss(policy: Tensor, logprobs_BA: Tensor, batch: ActionBatch, config: CorrectionConfig) -> Tensor:
    """A policy's loss times its weights within their bounds.

    Args:
        policy: loss of each token, (B, A), or of each trajectory, (B,).
        logprobs_BA: of the weights that learn; where the batch has no old ones, as on policy, they are the old ones.
        batch: whose tokens these are.
        config: of the weights.

    Raises:
        ConfigError: as `require_sampling_logprobs`.
    """
    mask_BA = batch.mask_BA
    old_BA = logprobs_BA.detach() if batch.old_logprobs_BA is None else batch.old_logprobs_BA
    weights_BA = raw_weights(old_BA, require_sampling_logprobs(batch), mask_BA, level=config.level)
    weights_BA = bounded_weights(
        weights_BA,
        mask_BA,
        action=config.action,
        low=config.low,
        high=config.high,
        advantages_BA=batch.advantages_BA,
    )
    # A trajectory's weight stands on each of its tokens, and 0 on padding.
    return policy * (weights_BA if policy.shape == mask_BA.shape else weights_BA.amax(dim=1))


def describe_correction(batch: ActionBatch, old_logprobs_BA: Tensor, config: CorrectionConfig) -> dict[str, float]:
    """The metrics correction_weight_mean and correction_weight_max, before the bounds (1 where sampler and learner
    agree), and correction_cut_share, of the tokens whose weight was out of bounds, and to clip, pushed farther; none
    without a token."""
    if not batch.num_tokens:
        return {}
    mask_BA = batch.mask_BA
    weights_BA = raw_weights(old_logprobs_BA, require_sampling_logprobs(batch), mask_BA, level=config.level)
    advantages_BA = batch.advantages_BA if config.action == "clip" else None
    is_cut_BA = _is_out(weights_BA, config.low, config.high, advantages_BA)
    return {
        "correction_weight_mean": float(masked_mean(weights_BA, mask_BA)),
        "correction_weight_max": float(weights_BA[mask_BA].max()),
        "correction_cut_share": float(masked_mean(is_cut_BA.float(), mask_BA)),
    }


def _is_out(weights_BA: Tensor, low: float, high: float, advantages_BA: Tensor | None) -> Tensor:
    """True where a weight is out of bounds and, where there are advantages, they push it farther out."""
    is_low_BA, is_high_BA = weights_BA < low, weights_BA > high
    if advantages_BA is not None:
        is_low_BA, is_high_BA = is_low_BA & (advantages_BA < 0), is_high_BA & (advantages_BA > 0)
    return is_low_BA | is_high_BA
