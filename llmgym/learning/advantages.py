"""Advantage estimators: pure functions of rewards on the table of action tokens.

Group statistics are in float64, and whether a group says anything is decided by max and min of its raw rewards: eight
rewards of 0.1 have a rounded mean, and dividing the rounding error by a tiny standard deviation makes advantages of
order one out of nothing. For the same reason rewards that differ by rounding alone are equal: 0.1 + 0.2 is not 0.3.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import ShapeError

_ROUNDING = 1e-12
"""Sums of some thousand rewards, taken in another order, differ by less than this share of them."""


def rewards_differ(rewards: Sequence[float]) -> bool:
    """True where there is something to compare: the rewards of a group are not all equal, up to rounding."""
    low, high = min(rewards, default=0.0), max(rewards, default=0.0)
    return high - low > _ROUNDING * max(abs(low), abs(high))


def group_advantages(reward_B: Tensor, group_B: Tensor, *, scale_by_std: bool) -> Tensor:
    """Rewards relative to the mean of their group.

        A_i = r_i - mean(r_1 .. r_G)                        scale_by_std=False
        A_i = (r_i - mean(r_1 .. r_G)) / std(r_1 .. r_G)    scale_by_std=True

    `std` is the sample standard deviation (G - 1). No epsilon is added to it: a group with equal rewards never
    reaches the division.

    Args:
        reward_B: raw reward of each trajectory, shape (B,).
        group_B: rows with the same number belong to one group, shape (B,).
        scale_by_std: divide by the group's standard deviation.

    Returns:
        float64 advantages, shape (B,). Exactly 0 for a group whose rewards are all equal, and so for a group of
        one, which has nothing to be compared with.

    Raises:
        ShapeError: the inputs disagree.

    Source:
        Shao et al. 2024, arXiv:2402.03300 (with std); Liu et al. 2025, arXiv:2503.20783 (without).
    """
    groups = _Groups(reward_B, group_B)
    centred_B = groups.centred_B
    if scale_by_std:
        variance_P = groups.sum(centred_B**2) / (groups.size_P - 1).clamp(min=1)
        centred_B = centred_B / variance_P.sqrt()[groups.index_B]
    else:
        centred_B = centred_B * groups.spread_P[groups.index_B]
    return torch.where(groups.is_informative_B, centred_B, 0.0)


def leave_one_out_advantages(reward_B: Tensor, group_B: Tensor) -> Tensor:
    """Rewards relative to the mean of the others in their group.

        A_i = r_i - 1 / (G - 1) * sum over j != i of r_j  =  G / (G - 1) * (r_i - mean(r))

    Args:
        reward_B: raw reward of each trajectory, shape (B,).
        group_B: rows with the same number belong to one group, shape (B,).

    Returns:
        float64 advantages, shape (B,). Exactly 0 for a group whose rewards are all equal or that has one member.

    Raises:
        ShapeError: the inputs disagree.

    Source:
        Ahmadian et al. 2024, arXiv:2402.14740.
    """
    groups = _Groups(reward_B, group_B)
    factor_P = groups.spread_P * groups.size_P / (groups.size_P - 1).clamp(min=1)
    return torch.where(groups.is_informative_B, groups.centred_B * factor_P[groups.index_B], 0.0)


def gae_advantages(
    rewards_BA: Tensor,
    values_BA: Tensor,
    bootstrap_value_B: Tensor,
    mask_BA: Tensor,
    *,
    gamma: float,
    lam: float,
) -> Tensor:
    """Generalized advantage estimation over the action tokens of each trajectory.

        delta_t = r_t + gamma * V_{t+1} - V_t
        A_t     = delta_t + gamma * lam * A_{t+1}

    ``t + 1`` is the trajectory's next action token, also across turns; after the last one
    ``V_{t+1}`` is the bootstrap value.

    Args:
        rewards_BA: reward paid on each action token, shape (B, A).
        values_BA: critic's estimate before each action token, shape (B, A).
        bootstrap_value_B: value after the last action; 0 where the episode ended, shape (B,).
        mask_BA: True where the token is real, False on right padding, shape (B, A).
        gamma: discount per action token, in [0, 1].
        lam: bias-variance trade-off, in [0, 1]; 1 gives Monte Carlo advantages.

    Returns:
        Advantages, shape (B, A), zero on padding.

    Raises:
        ShapeError: the inputs disagree.

    Source:
        Schulman et al. 2016, arXiv:1506.02438.
    """
    if not rewards_BA.shape == values_BA.shape == mask_BA.shape or bootstrap_value_B.shape != mask_BA.shape[:1]:
        raise ShapeError(
            f"rewards, values and mask have shapes {tuple(rewards_BA.shape)}, {tuple(values_BA.shape)}, "
            f"{tuple(mask_BA.shape)} and bootstrap_value {tuple(bootstrap_value_B.shape)}. "
            "Pass three (B, A) tables and one (B,) vector."
        )
    advantages_BA = torch.zeros_like(rewards_BA)
    next_value_B, next_advantage_B = bootstrap_value_B, torch.zeros_like(bootstrap_value_B)
    for t in reversed(range(rewards_BA.shape[1])):
        is_real_B = mask_BA[:, t]
        delta_B = rewards_BA[:, t] + gamma * next_value_B - values_BA[:, t]
        advantage_B = delta_B + gamma * lam * next_advantage_B
        advantages_BA[:, t] = torch.where(is_real_B, advantage_B, 0.0)
        next_advantage_B = torch.where(is_real_B, advantage_B, next_advantage_B)
        next_value_B = torch.where(is_real_B, values_BA[:, t], next_value_B)
    return advantages_BA


def discounted_returns(rewards_BA: Tensor, mask_BA: Tensor, *, gamma: float) -> Tensor:
    """Discounted sum of the rewards from each action token on.

        G_t = r_t + gamma * G_{t+1}

    Args:
        rewards_BA: reward paid on each action token, shape (B, A).
        mask_BA: True where the token is real, False on right padding, shape (B, A).
        gamma: discount per action token, in [0, 1].

    Returns:
        Returns, shape (B, A), zero on padding.

    Raises:
        ShapeError: the inputs disagree.

    Source:
        Sutton and Barto 2018, Reinforcement Learning, chapter 3.
    """
    if rewards_BA.shape != mask_BA.shape:
        raise ShapeError(
            f"rewards_BA has shape {tuple(rewards_BA.shape)} but mask_BA has {tuple(mask_BA.shape)}. "
            "Pass two (B, A) tables."
        )
    returns_BA = torch.zeros_like(rewards_BA)
    next_return_B = rewards_BA.new_zeros(rewards_BA.shape[0])
    for t in reversed(range(rewards_BA.shape[1])):
        return_B = rewards_BA[:, t] + gamma * next_return_B
        returns_BA[:, t] = torch.where(mask_BA[:, t], return_B, 0.0)
        next_return_B = torch.where(mask_BA[:, t], return_B, next_return_B)
    return returns_BA


class _Groups:
    """Sums over the groups of a batch; P groups."""

    def __init__(self, reward_B: Tensor, group_B: Tensor) -> None:
        if reward_B.shape != group_B.shape or reward_B.dim() != 1:
            raise ShapeError(
                f"reward_B has shape {tuple(reward_B.shape)} and group_B {tuple(group_B.shape)}. "
                "Pass one reward and one group number a trajectory."
            )
        reward_B = reward_B.double()
        unique_P, self.index_B = torch.unique(group_B, return_inverse=True)
        self._num_groups = len(unique_P)
        self.size_P = self.sum(torch.ones_like(reward_B))
        low_P = reward_B.new_zeros(self._num_groups).scatter_reduce(
            0, self.index_B, reward_B, "amin", include_self=False
        )
        high_P = reward_B.new_zeros(self._num_groups).scatter_reduce(
            0, self.index_B, reward_B, "amax", include_self=False
        )
        self.spread_P = high_P - low_P
        """max - min of the raw rewards."""
        largest_P = torch.maximum(low_P.abs(), high_P.abs())
        self.is_informative_B = (self.spread_P > _ROUNDING * largest_P)[self.index_B]
        # In units of the spread, squares neither underflow nor overflow, however small or large rewards are.
        unit_B = (reward_B - low_P[self.index_B]) / self.spread_P[self.index_B]
        unit_B = torch.where(self.is_informative_B, unit_B, 0.0)
        self.centred_B = unit_B - (self.sum(unit_B) / self.size_P)[self.index_B]
        """(reward - mean of its group) / spread."""

    def sum(self, values_B: Tensor) -> Tensor:
        return values_B.new_zeros(self._num_groups).index_add(0, self.index_B, values_B)
