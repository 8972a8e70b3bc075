"""From the losses of tokens or trajectories to one number, with denominators of the whole batch."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..errors import ConfigError, ShapeError
from .action_batch import ActionBatch
from .agent import Agent, Aggregation


def action_weights(batch: ActionBatch, aggregation: Aggregation) -> Tensor:
    """The weight of each action token in the loss of one optimizer step, shape (B, A); zero on padding.

    Weights come from the whole step's batch, so the sum over micro-batches of weighted losses is the same however
    the batch was split. Trajectories without an action count nowhere.
    """
    length_B = batch.mask_BA.sum(dim=1, keepdim=True).clamp(min=1)
    has_actions_B = batch.mask_BA.any(dim=1)
    num_trajectories = has_actions_B.sum().clamp(min=1)
    match aggregation:
        case Aggregation.TOKEN_MEAN:
            denominator = batch.mask_BA.sum().clamp(min=1)
        case Aggregation.TRAJECTORY_MEAN:
            denominator = length_B * num_trajectories
        case Aggregation.CONSTANT:
            denominator = num_trajectories * max(1, batch.max_actions)
        case Aggregation.PAIR_MEAN:
            denominator = length_B * max(1, len(torch.unique(batch.group_B[has_actions_B])))
    return batch.mask_BA.float() / denominator


def weighted_loss(loss: Tensor, weights_BA: Tensor) -> Tensor:
    """Sum of the losses times their weights. A trajectory's loss, shape (B,), counts as that of each of its tokens.

    Raises:
        ShapeError: `loss` is neither (B, A) nor (B,).
    """
    if loss.shape == weights_BA.shape:
        return (loss * weights_BA).sum()
    if loss.shape == weights_BA.shape[:1]:
        return (loss * weights_BA.sum(dim=1)).sum()
    raise ShapeError(
        f"A loss has shape {tuple(loss.shape)}, but the micro-batch has {tuple(weights_BA.shape)} action tokens. "
        "Return one loss a token, (B, A), or one a trajectory, (B,); the learner does the averaging."
    )


def loss_gradient(losses: Callable[[Tensor], Mapping[str, Tensor]], weights_BA: Tensor) -> Callable[[Tensor], Tensor]:
    """What makes of log-probabilities, shape (B, A), the gradient by them of the weighted sum of their losses."""

    def gradient(logprobs_BA: Tensor) -> Tensor:
        with torch.enable_grad():
            given_BA = logprobs_BA.detach().requires_grad_()
            total = torch.stack([weighted_loss(loss, weights_BA) for loss in losses(given_BA).values()]).sum()
            return torch.autograd.grad(total, given_BA)[0]

    return gradient


def required_component(components: Mapping[str, Tensor], name: str, agent: Agent, setting: str) -> Tensor:
    """The loss component that a setting works on.

    Raises:
        ConfigError: the agent has none of this name.
    """
    if name not in components:
        raise ConfigError(
            f"{setting} works on the loss component {name!r}, but {type(agent).__name__} has "
            f"{', '.join(components) or 'none'}. Name the component so, or leave the setting out."
        )
    return components[name]
