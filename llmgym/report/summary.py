"""What a run came to, as a table and as readable episodes."""

from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from ..episode import Trajectory
from ..evaluation import Evaluation
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


def conversation(trajectory: Trajectory) -> str:
    """One episode for people: the policy's turns and what they earned."""
    lines = [f"task {trajectory.task_key}: reward {trajectory.reward:g}, {trajectory.stop_reason}"]
    for turn in trajectory.turns:
        lines.append(f"  policy  {turn.message.content}")
        if turn.score is not None:
            lines.append(f"  score   {turn.score.reward:g}: {turn.score.reason} (expected {turn.score.expected})")
    return "\n".join(lines)


def write_report(folder: Path, before: Mapping[str, Evaluation], after: Mapping[str, Evaluation]) -> None:
    """Write `curve.png` and `samples.txt` into a run's folder."""
    metrics = folder / "metrics.jsonl"
    plot_curve(read_metrics(metrics, "train"), read_metrics(metrics, "evaluation"), folder / "curve.png")
    blocks = []
    for title, results in (("Before", before), ("After", after)):
        blocks.append(f"{title} learning by reinforcement, held-out tasks, sampled\n")
        blocks += [conversation(trajectory) for trajectory in results["sampled"].trajectories[:10]]
        blocks.append("")
    (folder / "samples.txt").write_text("\n".join(blocks), encoding="utf-8")
