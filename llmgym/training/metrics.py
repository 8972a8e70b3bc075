"""What a run writes while it goes: metrics as JSON lines, and to trackers."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .trackers import Tracker, scalars


class MetricsLog:
    """Appends to `metrics.jsonl` in the run folder, and hands the numbers on to trackers.

    Args:
        folder: of the run.
        trackers: who else hears of them.
    """

    def __init__(self, folder: Path, trackers: Sequence[Tracker] = ()) -> None:
        self.path = folder / "metrics.jsonl"
        self._file = self.path.open("a", encoding="utf-8")
        self._trackers = trackers

    def log(self, phase: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Write one line; trackers get its numbers. What is not finite is null in the line, as JSON has no NaN."""
        row = {"phase": phase, "step": step, **_without_infinities(metrics)}
        self._file.write(json.dumps(row, allow_nan=False) + "\n")
        self._file.flush()
        if numbers := scalars(metrics):
            for tracker in self._trackers:
                tracker.log(phase, step, numbers)

    def close(self) -> None:
        """Finish the file and close the trackers."""
        self._file.close()
        for tracker in self._trackers:
            tracker.close()


def _without_infinities(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_infinities(entry) for name, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_metrics(path: str | Path, phase: str) -> list[dict[str, Any]]:
    """The lines of one phase in a `metrics.jsonl`, in order."""
    with Path(path).open(encoding="utf-8") as file:
        return [row for row in map(json.loads, file) if row["phase"] == phase]
