"""Losses of each action token: pure functions, to be minimised, zero on padding.

`old_logprobs_BA` is None where the update is on policy: the ratio is then exactly 1, with the gradient of the
log-probability.
"""

import math

import torch
from torch import Tensor

from ..errors import ConfigError
from .masking import masked_mean


def log_ratio(logprobs_BA: Tensor, old_logprobs_BA: Tensor | None, mask_BA: Tensor) -> Tensor:
    """log(policy / old policy) of each action token, shape (B, A); zero on padding."""
    old_BA = logprobs_BA.detach() if old_logprobs_BA is None else old_logprobs_BA
    return torch.where(mask_BA, logprobs_BA - old_BA, 0.0)


def policy_gradient_loss(logprobs_BA: Tensor, advantages_BA: Tensor, mask_BA: Tensor) -> Tensor:
    """The plain policy gradient, whose ascent direction is A * grad log p.

        L_t = -A_t * log p_t

    Args:
        logprobs_BA: of the current policy, with gradient, shape (B, A).
        advantages_BA: shape (B, A).
        mask_BA: True where the token is real, shape (B, A).

    Source:
        Williams 1992, "Simple statistical gradient-following algorithms for connectionist reinforcement learning".
    """
    # Masked before the product too: its gradient is this factor, and 0 times what stands on padding may not be 0.
    factor_BA = torch.where(mask_BA, -advantages_BA, 0.0)
    return torch.where(mask_BA, factor_BA * logprobs_BA, 0.0)


def require_clip_range(clip_low: float, clip_high: float, dual_clip: float = math.inf) -> None:
    """Refuse half-widths that are no trust region, and a dual clip inside of it. Raises ConfigError."""
    if not 0 <= clip_low <= 1 or clip_high < 0:
        raise ConfigError(
            f"clip_low is {clip_low} and clip_high {clip_high}, but the ratio is kept within "
            "[1 - clip_low, 1 + clip_high]. Use clip_low from 0 to 1 and clip_high of at least 0."
        )
    if dual_clip <= 1 + clip_high:
        raise ConfigError(f"dual_clip is {dual_clip}, but it must exceed 1 + clip_high; inf switches it off.")


def clipped_policy_loss(
    logprobs_BA: Tensor,
    old_logprobs_BA: Tensor | None,
    advantages_BA: Tensor,
    mask_BA: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float,
) -> Tensor:
    """The clipped surrogate of PPO, on each token's probability ratio r_t.

        L_t = -min(r_t * A_t, clip(r_t, 1 - clip_low, 1 + clip_high) * A_t)
        L_t = min(L_t, -dual_clip * A_t)  where A_t < 0

    Args:
        logprobs_BA: of the current policy, with gradient, shape (B, A).
        old_logprobs_BA: of the policy before the update, shape (B, A); None where that is the current one.
        advantages_BA: shape (B, A).
        mask_BA: True where the token is real, shape (B, A).
        clip_low: lower half-width of the trust region, in [0, 1].
        clip_high: upper half-width, at least 0.
        dual_clip: bound on the ratio for negative advantages, above 1 + clip_high; infinity for no bound.

    Source:
        Schulman et al. 2017, arXiv:1707.06347; asymmetric: Yu et al. 2025, arXiv:2503.14476; dual clip:
        Ye et al. 2019, arXiv:1912.09729.
    """
    ratio_BA = log_ratio(logprobs_BA, old_logprobs_BA, mask_BA).exp()
    loss_BA = _clipped_surrogate(ratio_BA, advantages_BA, clip_low, clip_high, dual_clip)
    return torch.where(mask_BA, loss_BA, 0.0)


def is_clipped(
    logprobs_BA: Tensor,
    old_logprobs_BA: Tensor | None,
    advantages_BA: Tensor,
    mask_BA: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float,
) -> Tensor:
    """True where `clipped_policy_loss` passes no gradient because the ratio left the trust region, shape (B, A)."""
    ratio_BA = log_ratio(logprobs_BA, old_logprobs_BA, mask_BA).exp()
    return mask_BA & _is_outside(ratio_BA, advantages_BA, clip_low, clip_high, dual_clip)


def sequence_log_ratio(logprobs_BA: Tensor, old_logprobs_BA: Tensor | None, mask_BA: Tensor) -> Tensor:
    """Mean over its tokens of a trajectory's log(policy / old policy), shape (B,); 0 for one without a token.

    Its exponential is the geometric mean of the token ratios.
    """
    log_ratio_BA = log_ratio(logprobs_BA, old_logprobs_BA, mask_BA)
    return masked_mean(log_ratio_BA, mask_BA, dim=1).to(logprobs_BA.dtype)


def clipped_sequence_loss(
    logprobs_BA: Tensor,
    old_logprobs_BA: Tensor | None,
    advantage_B: Tensor,
    mask_BA: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float,
) -> Tensor:
    """The clipped surrogate on one ratio for each trajectory, the geometric mean of its tokens'.

        s_i = exp(mean over the tokens of trajectory i of log p_t - log p_old_t)
        L_i = -min(s_i * A_i, clip(s_i, 1 - clip_low, 1 + clip_high) * A_i)

    A mean varies far less than a single ratio, so the trust region must be far narrower than that of tokens: at
    half-widths of 0.2 nothing is ever clipped.

    Args:
        logprobs_BA: of the current policy, with gradient, shape (B, A).
        old_logprobs_BA: of the policy before the update, shape (B, A); None where that is the current one.
        advantage_B: of each trajectory, shape (B,).
        mask_BA: True where the token is real, shape (B, A).
        clip_low: lower half-width of the trust region, in [0, 1].
        clip_high: upper half-width, at least 0.
        dual_clip: as in `clipped_policy_loss`.

    Returns:
        One loss a trajectory, shape (B,); 0 for one without a token.

    Source:
        Zheng et al. 2025, arXiv:2507.18071 (GSPO). Its token form has the same value and gradient where, as here, all
        tokens of a trajectory have one advantage.
    """
    ratio_B = sequence_log_ratio(logprobs_BA, old_logprobs_BA, mask_BA).exp()
    loss_B = _clipped_surrogate(ratio_B, advantage_B, clip_low, clip_high, dual_clip)
    return torch.where(mask_BA.any(dim=1), loss_B, 0.0)


def is_sequence_clipped(
    logprobs_BA: Tensor,
    old_logprobs_BA: Tensor | None,
    advantage_B: Tensor,
    mask_BA: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    dual_clip: float,
) -> Tensor:
    """True on the tokens of trajectories to which `clipped_sequence_loss` passes no gradient, shape (B, A)."""
    ratio_B = sequence_log_ratio(logprobs_BA, old_logprobs_BA, mask_BA).exp()
    return mask_BA & _is_outside(ratio_B, advantage_B, clip_low, clip_high, dual_clip)[:, None]


def weighted_policy_gradient_loss(
    logprobs_BA: Tensor,
    old_logprobs_BA: Tensor | None,
    advantages_BA: Tensor,
    mask_BA: Tensor,
    *,
    max_ratio: float,
) -> Tensor:
    """The policy gradient, weighted by the probability ratio r_t as a number: each token keeps a gradient.

        L_t = -stop_gradient(min(r_t, max_ratio)) * A_t * log p_t

    Args:
        logprobs_BA: of the current policy, with gradient, shape (B, A).
        old_logprobs_BA: of the policy before the update, shape (B, A); None where that is the current one.
        advantages_BA: shape (B, A).
        mask_BA: True where the token is real, shape (B, A).
        max_ratio: largest weight, at least 1.

    Source:
        MiniMax 2025, arXiv:2506.13585 (CISPO).
    """
    weight_BA = log_ratio(logprobs_BA, old_logprobs_BA, mask_BA).exp().clamp(max=max_ratio).detach()
    return policy_gradient_loss(logprobs_BA, weight_BA * advantages_BA, mask_BA)


def is_weight_cut(logprobs_BA: Tensor, old_logprobs_BA: Tensor | None, mask_BA: Tensor, *, max_ratio: float) -> Tensor:
    """True where `weighted_policy_gradient_loss` lowers the weight to its bound, shape (B, A)."""
    return mask_BA & (log_ratio(logprobs_BA, old_logprobs_BA, mask_BA).exp() > max_ratio)


def _clipped_surrogate(
    ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float, dual_clip: float
) -> Tensor:
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    loss = torch.maximum(-advantages * ratio, -advantages * clipped)
    if math.isinf(dual_clip):  # infinity times an advantage of 0 is not a number
        return loss
    return torch.where(advantages < 0, torch.minimum(loss, -advantages * dual_clip), loss)


def _is_outside(ratio: Tensor, advantages: Tensor, clip_low: float, clip_high: float, dual_clip: float) -> Tensor:
    """True where `_clipped_surrogate` is a constant."""
    is_high, is_low = (ratio > 1 + clip_high) & (advantages > 0), (ratio < 1 - clip_low) & (advantages < 0)
    return is_high | is_low | ((ratio > dual_clip) & (advantages < 0))


def clipped_value_loss(
    values_BA: Tensor, old_values_BA: Tensor, returns_BA: Tensor, mask_BA: Tensor, *, clip: float
) -> Tensor:
    """Half the squared error of the critic, pessimistic about values that moved far in one update.

        V_clip = V_old + clip(V - V_old, -clip, clip)
        L_t    = 1/2 * max((V - R)^2, (V_clip - R)^2)

    Args:
        values_BA: the critic's estimates, with gradient, shape (B, A).
        old_values_BA: its estimates before the update, shape (B, A).
        returns_BA: what they should have been, shape (B, A).
        mask_BA: True where the token is real, shape (B, A).
        clip: above 0, in the unit of the returns (not a ratio); infinity for the plain squared error.

    Source:
        Huang et al. 2022, "The 37 implementation details of proximal policy optimization".
    """
    clipped_BA = old_values_BA + (values_BA - old_values_BA).clamp(-clip, clip)
    error_BA = torch.where(mask_BA, values_BA - returns_BA, 0.0)
    clipped_error_BA = torch.where(mask_BA, clipped_BA - returns_BA, 0.0)
    return torch.maximum(error_BA**2, clipped_error_BA**2) / 2


def is_value_clipped(values_BA: Tensor, old_values_BA: Tensor, mask_BA: Tensor, *, clip: float) -> Tensor:
    """True where the critic's estimate moved by more than `clip`, shape (B, A)."""
    return mask_BA & ((values_BA - old_values_BA).abs() > clip)


def kl_k1(logprobs_BA: Tensor, ref_logprobs_BA: Tensor, mask_BA: Tensor) -> Tensor:
    """log p - log q: unbiased for KL(p || q) over tokens sampled from p, of either sign.

    Used as a loss, its expected gradient is zero; it belongs into the reward.

    Source:
        Schulman 2020, "Approximating KL divergence".
    """
    return torch.where(mask_BA, logprobs_BA - ref_logprobs_BA, 0.0)


def kl_k2(logprobs_BA: Tensor, ref_logprobs_BA: Tensor, mask_BA: Tensor) -> Tensor:
    """(log p - log q)^2 / 2: biased, never negative; its expected gradient is that of KL(p || q).

    Source:
        Schulman 2020, "Approximating KL divergence".
    """
    return kl_k1(logprobs_BA, ref_logprobs_BA, mask_BA) ** 2 / 2


def kl_k3(logprobs_BA: Tensor, ref_logprobs_BA: Tensor, mask_BA: Tensor) -> Tensor:
    """q/p - log(q/p) - 1: unbiased for KL(p || q) over tokens sampled from p, never negative.

    Source:
        Schulman 2020, "Approximating KL divergence".
    """
    log_ratio_BA = -kl_k1(logprobs_BA, ref_logprobs_BA, mask_BA)
    # expm1 keeps the tiny values that exp(x) - 1 rounds away.
    return torch.expm1(log_ratio_BA) - log_ratio_BA


def negative_log_likelihood(logprobs_BA: Tensor, mask_BA: Tensor) -> Tensor:
    """-log p of each token, shape (B, A)."""
    return torch.where(mask_BA, -logprobs_BA, 0.0)
