"""The learning curve as a picture."""

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def plot_curve(train: list[dict[str, Any]], evaluation: list[dict[str, Any]], path: Path) -> None:
    """Held-out success over samples, with its intervals, and the reward of each batch, as PNG.

    Args:
        train: rows of the phase "train" in `metrics.jsonl`.
        evaluation: rows of the phase "evaluation".
        path: of the picture.
    """
    samples_at = {0: 0} | {row["step"]: row["num_samples"] for row in train}
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(
        [row["num_samples"] for row in train], [row["reward"] for row in train], color="0.75", label="batch reward"
    )
    for decoding, colour in (("sampled", "tab:blue"), ("greedy", "tab:green")):
        rows = [row for row in evaluation if row["decoding"] == decoding]
        x = [samples_at[row["step"]] for row in rows]
        axes.plot(x, [row["success"] for row in rows], "o-", color=colour, label=f"held-out success, {decoding}")
        low, high = [row["success_low"] for row in rows], [row["success_high"] for row in rows]
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.set(xlabel="samples learned from", ylabel="success", ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=150)
