"""What a run came to, as a table and as readable episodes."""

from collections.abc import Mapping

import numpy as np
from rich.table import Table

from ..episode import Trajectory
from ..evaluation import Evaluation
from ..messages import Tokenizer
from ..training import RunResult
from ..training.metrics import read_metrics
from .curve import plot_curve


def held_out_table(before: Mapping[str, Evaluation], after: Mapping[str, Evaluation]) -> Table:
    """Held-out success before and after, with 95 % intervals."""
    (example, *_) = after.values()
    table = Table(title=f"{len(example.trajectories)} held-out tasks")
    for column in ("decoding", "success before", "success after", "tool use"):
        table.add_column(column)
    for decoding, result in after.items():
        first = before[decoding]
        tool_use = f"{first.tool_share:.2f} to {result.tool_share:.2f}"
        table.add_row(decoding, str(first.success), str(result.success), tool_use)
    return table


def conversation(trajectory: Trajectory, tokenizer: Tokenizer) -> str:
    """One episode for people: what the model saw and what it wrote, decoded from the ids themselves."""
    lines = [f"reward {trajectory.reward:g}, {trajectory.stop_reason}, task {trajectory.task_key}"]
    for segment in trajectory.segments:
        borders = np.flatnonzero(np.diff(segment.action_mask)) + 1
        for span, mask in zip(
            np.split(segment.token_ids, borders), np.split(segment.action_mask, borders), strict=True
        ):
            lines.append(f"    {'policy' if mask[0] else 'world':7} {tokenizer.decode(span.tolist())}")
    lines += [f"    {'score':7} {turn.score.reason}" for turn in trajectory.turns if turn.score is not None]
    return "\n".join(lines)


def write_report(result: RunResult) -> None:
    """Write `curve.png` and `samples.txt` into a run's folder."""
    metrics = result.folder / "metrics.jsonl"
    plot_curve(read_metrics(metrics, "train"), read_metrics(metrics, "evaluation"), result.folder / "curve.png")
    blocks = []
    for title, evaluations in (("Before", result.before), ("After", result.after)):
        blocks.append(f"{title} reinforcement learning: held-out tasks, sampled\n")
        blocks += [conversation(t, result.tokenizer) + "\n" for t in evaluations["sampled"].trajectories[:10]]
    (result.folder / "samples.txt").write_text("\n".join(blocks), encoding="utf-8")
