"""Figures of a run by name, as people read them."""

import math
from collections.abc import Callable, Mapping

from ..evaluation import Estimate, Evaluation


def percent(share: float) -> str:
    """A share as a percentage, one digit behind the point; "?" where it is unknown."""
    return f"{100 * share:.1f}\N{NO-BREAK SPACE}%" if math.isfinite(share) else "?"


def duration(seconds: float) -> str:
    """Seconds in words: "1 h 2 min", "3 min 4 s", "5.6 s"."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def share_with_interval(estimate: Estimate) -> str:
    """A rate and its 95 % interval in per cent: "42.2 % [37.9, 46.6]"."""
    low, high = (percent(end).removesuffix("\N{NO-BREAK SPACE}%") for end in (estimate.low, estimate.high))
    return f"{percent(estimate.value)} [{low},\N{NO-BREAK SPACE}{high}]"


def number_with_interval(estimate: Estimate) -> str:
    """A mean and its 95 % interval: "0.422 [0.379, 0.466]"."""
    low, high = (f"{end:.3f}" if math.isfinite(end) else "?" for end in (estimate.low, estimate.high))
    return f"{estimate.value:.3f} [{low},\N{NO-BREAK SPACE}{high}]"


FIGURES: Mapping[str, Callable[[Evaluation], str]] = {
    "success": lambda evaluation: share_with_interval(evaluation.success),
    "mean reward": lambda evaluation: number_with_interval(evaluation.reward),
    "with a tool call": lambda evaluation: percent(evaluation.tool_share),
    "mean turns": lambda evaluation: f"{evaluation.summary()['mean_turns']:.2f}",
    "mean sampled tokens": lambda evaluation: f"{evaluation.summary()['mean_action_tokens']:.1f}",
    "invalid episodes": lambda evaluation: f"{evaluation.num_invalid} of {len(evaluation.trajectories)}",
}
"""Figures of an evaluation."""


def num_tasks(evaluations: Mapping[str, Evaluation]) -> int:
    """Distinct tasks that they tried."""
    return len({trajectory.task_key for result in evaluations.values() for trajectory in result.trajectories})
