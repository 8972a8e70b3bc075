"""What a run writes while it goes: metrics as JSON lines, and to trackers."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .trackers import Tracker, scalars


class MetricsLog:
    """Appends to `metrics.jsonl` in the run folder, and hands the numbers on to trackers.

    Args:
        folder: of the run.
        trackers: who else hears of them.
        position: what the file holds behind so many bytes is cut off.

    Raises:
        CheckpointError: it does not hold so many.
    """

    def __init__(self, folder: Path, trackers: Sequence[Tracker] = (), *, position: int = 0) -> None:
        self.path = folder / "metrics.jsonl"
        self._file = self.path.open("a", encoding="utf-8")
        if self._file.tell() < position:
            raise CheckpointError(
                f"{self.path} has {self._file.tell()} bytes, but had {position} when the checkpoint was written. Put "
                "the file back, or begin a new run."
            )
        self._file.truncate(position)
        self._trackers = trackers

    def log(self, phase: str, step: int, metrics: Mapping[str, Any]) -> None:
        """Write one line; trackers get its numbers. What is not finite is null in the line, as JSON has no NaN."""
        row = {"phase": phase, "step": step, **_without_infinities(metrics)}
        self._file.write(json.dumps(row, allow_nan=False) + "\n")
        self._file.flush()
        if numbers := scalars(metrics):
            for tracker in self._trackers:
                tracker.log(phase, step, numbers)

    def position(self) -> int:
        """Bytes that were written and are on the disk."""
        os.fsync(self._file.fileno())
        return self._file.tell()

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
