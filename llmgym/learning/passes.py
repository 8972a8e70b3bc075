"""Forward passes over a whole batch, without gradient."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..episode import Trajectory
from .agent import ModelOutputs
from .microbatches import plan_microbatches
from .model import Policy


@torch.no_grad()
def evaluate_actions(
    policy: Policy,
    trajectories: Sequence[Trajectory],
    units: list[list[int]],
    *,
    temperature: float,
    microbatch_tokens: int,
    critic: Callable[[Tensor], Tensor] | None = None,
) -> ModelOutputs:
    """Log-probabilities of all actions, and values where there is a critic: float32 on the CPU, shape (B, A).

    Args:
        policy: whose.
        trajectories: the B rows.
        units: rows that have actions; those of a unit go through the model together.
        temperature: that logits are divided by.
        microbatch_tokens: see `plan_microbatches`.
        critic: see `Policy.action_outputs`.
    """
    shape = (len(trajectories), max((trajectory.num_actions for trajectory in trajectories), default=0))
    logprobs_BA, values_BA = torch.zeros(shape), torch.zeros(shape)
    for rows in plan_microbatches(trajectories, units, microbatch_tokens=microbatch_tokens):
        part = [trajectories[row] for row in rows]
        outputs = policy.action_outputs(part, temperature=temperature, critic=critic)
        width = outputs.logprobs_BA.shape[1]
        logprobs_BA[rows, :width] = outputs.logprobs_BA.to(logprobs_BA)
        if outputs.values_BA is not None:
            values_BA[rows, :width] = outputs.values_BA.to(values_BA)
    return ModelOutputs(logprobs_BA, values_BA=None if critic is None else values_BA)
