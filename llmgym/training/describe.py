"""The metrics of a batch of episodes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..episode import Trajectory
from ..evaluation import Evaluation

_NGRAM = 8
"""Tokens in a row that are called a repetition when they were there before: fewer recur in any fluent text."""


def describe_episodes(trajectories: Sequence[Trajectory], full_reward: float) -> dict[str, Any]:
    """Metrics of episodes; all but the counts of what is not valid are of the valid ones alone.

    Beside the figures of `Evaluation.summary`: `reward_part/NAME`, the mean of each part of the scores, an episode's
    turns added up; quantiles of the sampled tokens of an episode; `repetition`; tool calls and those that failed;
    `num_retries`, further attempts at episodes; and `num_invalid_scores`, turns that the verifier could not score.

    Raises:
        InfrastructureError: no episode is valid.
    """
    evaluation = Evaluation(tuple(trajectories), full_reward)
    valid = evaluation.valid
    lengths = [trajectory.num_actions for trajectory in valid]
    turns = [turn for trajectory in valid for turn in trajectory.turns]
    scores = [turn.score for trajectory in trajectories for turn in trajectory.turns if turn.score is not None]
    return {
        **evaluation.summary(),
        **{f"reward_part/{name}": mean for name, mean in _mean_parts(valid).items()},
        "p50_action_tokens": float(np.quantile(lengths, 0.5)),
        "p95_action_tokens": float(np.quantile(lengths, 0.95)),
        "max_action_tokens": max(lengths),
        "repetition": sum(map(repeated_share, valid)) / len(valid),
        "num_tool_calls": sum(len(turn.message.tool_calls) + len(turn.message.malformed_calls) for turn in turns),
        "num_tool_errors": sum(turn.num_tool_errors for turn in turns),
        "num_retries": sum(trajectory.num_retries for trajectory in trajectories),
        "num_invalid_scores": sum(not score.is_valid for score in scores),
    }


def describe_by_env(trajectories: Sequence[Trajectory], full_reward: float) -> dict[str, dict[str, float]]:
    """The main figures of each environment, by the name that its trajectories bear in `metadata["env"]`."""
    by_env: dict[str, list[Trajectory]] = {}
    for trajectory in trajectories:
        by_env.setdefault(trajectory.metadata["env"], []).append(trajectory)
    figures = {}
    for name, episodes in by_env.items():
        num_invalid = sum(not trajectory.is_valid for trajectory in episodes)
        figures[name] = {"num_episodes": float(len(episodes)), "num_invalid": float(num_invalid)}
        if num_invalid < len(episodes):
            summary = Evaluation(tuple(episodes), full_reward).summary()
            names = ("success", "success_low", "success_high", "reward", "mean_action_tokens")
            figures[name] |= {name: summary[name] for name in names}
    return figures


def repeated_share(trajectory: Trajectory) -> float:
    """Share of the n-grams of sampled tokens, within a turn, that the turn held before; 0 where there is no n-gram."""
    num_all = num_distinct = 0
    for turn in trajectory.turns:
        ids = trajectory.segments[turn.segment_index].token_ids[turn.start : turn.stop]
        if len(ids) >= _NGRAM:
            ngrams = np.lib.stride_tricks.sliding_window_view(ids.astype(np.int32), _NGRAM)
            num_all += len(ngrams)
            num_distinct += len(np.unique(ngrams, axis=0))
    return 1 - num_distinct / num_all if num_all else 0.0


def _mean_parts(valid: Sequence[Trajectory]) -> Mapping[str, float]:
    """Where an episode has a part not, such as one that was cut before it was scored, it counts as 0."""
    sums: dict[str, float] = {}
    for trajectory in valid:
        for turn in trajectory.turns:
            for name, part in turn.score.parts.items() if turn.score is not None else ():
                sums[name] = sums.get(name, 0.0) + part
    return {name: total / len(valid) for name, total in sums.items()}
