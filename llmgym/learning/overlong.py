"""What agents do about answers that come near to the token limit, or were cut by it: pure functions of the batch."""

import torch
from torch import Tensor

from .action_batch import ActionBatch


def overlong_penalty(mask_BA: Tensor, *, max_actions: int, buffer: float, penalty: float) -> Tensor:
    """What each trajectory's length costs: nothing up to a buffer before the limit, then more with each token.

        c_i = penalty * clip((length_i - (1 - buffer) * max_actions) / (buffer * max_actions), 0, 1)

    Args:
        mask_BA: True where the token is real, shape (B, A); a row's True entries are its length.
        max_actions: the limit on a trajectory's sampled tokens.
        buffer: the last part of the limit, as a share of it, in (0, 1].
        penalty: cost at the limit, in the unit of the reward.

    Returns:
        float64 costs, of the sign of `penalty`, shape (B,).

    Source:
        Yu et al. 2025, arXiv:2503.14476 (soft overlong punishment; a buffer of 4096 in 20480 tokens, penalty 1).
    """
    length_B = mask_BA.sum(dim=1).double()
    width = buffer * max_actions
    return penalty * ((length_B - (max_actions - width)) / width).clamp(0, 1)


def charge(batch: ActionBatch, cost_B: Tensor) -> ActionBatch:
    """The batch with a cost taken off each trajectory's reward, and off that of its last token.

    Args:
        batch: rewards in both forms.
        cost_B: shape (B,).
    """
    position_A = torch.arange(batch.mask_BA.shape[1], device=batch.mask_BA.device)
    is_last_BA = batch.mask_BA & (position_A == batch.mask_BA.sum(dim=1, keepdim=True) - 1)
    cost_BA = torch.where(is_last_BA, cost_B[:, None], 0.0)
    return batch.replace(
        rewards_BA=batch.rewards_BA - cost_BA.to(batch.rewards_BA.dtype), reward_B=batch.reward_B - cost_B
    )


def without_truncated(advantages_BA: Tensor, is_truncated_B: Tensor) -> Tensor:
    """Advantages with those of truncated trajectories set to 0, so that no policy gradient comes from them.

    A cut says little about the tokens before it. Their rewards stay in the baselines, their tokens in the
    denominators: were they left out, the others would weigh more the more is cut.

    Args:
        advantages_BA: shape (B, A).
        is_truncated_B: True where a budget ended the trajectory, shape (B,).

    Source:
        Yu et al. 2025, arXiv:2503.14476 (overlong filtering).
    """
    return torch.where(is_truncated_B[:, None], 0.0, advantages_BA)
