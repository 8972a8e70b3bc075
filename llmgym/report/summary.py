"""What a run came to: files in its folder, a table and the course of its metrics."""

from collections.abc import Mapping

import numpy as np
from rich.table import Table

from ..episode import Trajectory
from ..evaluation import Evaluation
from ..files import replace_file, telling_full_disk
from ..messages import Tokenizer
from ..training import RunResult
from ..training.metrics import read_metrics
from .curve import plot_curve
from .data import RunData, read_run
from .figures import FIGURES, num_tasks
from .html import write_html

_BLOCKS = "▁▂▃▄▅▆▇█"
_COURSES = ("reward", "success", "entropy", "grad_norm", "zero_variance_share", "mean_action_tokens", "seconds")


def held_out_table(before: Mapping[str, Evaluation], after: Mapping[str, Evaluation]) -> Table:
    """Held-out figures before and after, with 95 % intervals."""
    table = Table(title=f"{num_tasks(after):,} held-out tasks")
    for column in ("", "before", "after"):
        table.add_column(column)
    for decoding, result in after.items():
        first = before.get(decoding)
        table.add_row(decoding, style="bold")
        for name, figure in FIGURES.items():
            table.add_row(f"  {name}", figure(first) if first else "?", figure(result))
        table.add_section()
    return table


def course_table(run: RunData, *, width: int = 30) -> Table | None:
    """The course of the main metrics of training, each as a line of blocks; None where no step was made."""
    rows = run.rows("train")
    if not rows:
        return None
    table = Table(title=f"{len(rows):,} training steps")
    for column in ("metric", "first", "course", "last"):
        table.add_column(column)
    for name in _COURSES:
        values = [float(row[name]) for row in rows if isinstance(row.get(name), (int, float))]
        if values:
            table.add_row(name, f"{values[0]:.3g}", sparkline(values, width=width), f"{values[-1]:.3g}")
    return table


def sparkline(values: list[float], *, width: int) -> str:
    """Means of at most `width` equal parts of `values`, from the lowest as ▁ to the highest as █."""
    parts = [np.mean(part) for part in np.array_split(values, min(width, len(values)))]
    finite = [part for part in parts if np.isfinite(part)]
    if not finite:
        return "?" * len(parts)
    low, span = min(finite), max(finite) - min(finite)
    places = [(part - low) / span if span else 0.5 for part in parts]
    return "".join(_BLOCKS[round(place * 7)] if np.isfinite(place) else "?" for place in places)


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
    """Write `report.html`, `curve.png` and `samples.txt` into a run's folder."""
    metrics = result.folder / "metrics.jsonl"
    blocks = []
    for title, evaluations in (("Before", result.before), ("After", result.after)):
        blocks.append(f"{title} reinforcement learning: held-out tasks, sampled\n")
        blocks += [conversation(t, result.tokenizer) + "\n" for t in evaluations["sampled"].trajectories[:10]]
    with telling_full_disk(
        result.folder, remedy=f"have the report of the finished run written by: llmgym show {result.folder}"
    ):
        plot_curve(read_metrics(metrics, "train"), read_metrics(metrics, "evaluation"), result.folder / "curve.png")
        replace_file(result.folder / "samples.txt", "\n".join(blocks))
        write_html(read_run(result.folder, tokenizer=result.tokenizer))
