"""Forward passes over a whole batch, without gradient."""

from collections.abc import Callable, Sequence

import torch

from ..episode import Trajectory
from .agent import ModelOutputs
from .parallel import ALONE, Pass, Ranks


@torch.no_grad()
def evaluate_actions(
    run: Callable[[Sequence[Trajectory]], ModelOutputs],
    trajectories: Sequence[Trajectory],
    passes: Sequence[Pass],
    *,
    ranks: Ranks = ALONE,
    with_values: bool = False,
) -> ModelOutputs:
    """Log-probabilities of all actions, and values if asked for: float32 on the CPU, shape (B, A).

    Args:
        run: the forward pass of some trajectories.
        trajectories: the B rows.
        passes: those of this process, over all rows that have actions.
        ranks: the processes that share the passes; each gets all results.
        with_values: `run` gives values too.
    """
    shape = (len(trajectories), max((trajectory.num_actions for trajectory in trajectories), default=0))
    logprobs_BA, values_BA = torch.zeros(shape), torch.zeros(shape)
    done = [(turn, run([trajectories[row] for row in turn.rows])) for turn in passes]
    for turn, outputs in done:  # read when all are under way, as each reading waits
        if not turn.counts:
            continue
        rows = turn.rows
        width = outputs.logprobs_BA.shape[1]
        logprobs_BA[rows, :width] = outputs.logprobs_BA.to(logprobs_BA)
        if outputs.values_BA is not None:
            values_BA[rows, :width] = outputs.values_BA.to(values_BA)
    ranks.add_up(logprobs_BA, values_BA)
    return ModelOutputs(logprobs_BA, values_BA=values_BA if with_values else None)
