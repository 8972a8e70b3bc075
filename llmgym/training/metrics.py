"""What a run writes while it goes: metrics as JSON lines and TensorBoard events."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter


class MetricsLog:
    """Appends to `metrics.jsonl` and to TensorBoard event files, both in the run folder.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "metrics.jsonl"
        self._file = self.path.open("a", encoding="utf-8")
        self._events = SummaryWriter(str(folder / "tensorboard"))

    def log(self, phase: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Write one line; numbers go to TensorBoard too. What is not finite is null in the line, as JSON has no NaN."""
        written = {name: None if _is_infinite(value) else value for name, value in metrics.items()}
        self._file.write(json.dumps({"phase": phase, "step": step, **written}, allow_nan=False) + "\n")
        self._file.flush()
        for name, value in metrics.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                self._events.add_scalar(f"{phase}/{name}", value, step)

    def close(self) -> None:
        """Finish both files."""
        self._file.close()
        self._events.close()


def _is_infinite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def read_metrics(path: str | Path, phase: str) -> list[dict[str, Any]]:
    """The lines of one phase in a `metrics.jsonl`, in order."""
    with Path(path).open(encoding="utf-8") as file:
        return [row for row in map(json.loads, file) if row["phase"] == phase]
