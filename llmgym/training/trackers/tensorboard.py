"""Event files for TensorBoard."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter


class TensorBoardTracker:
    """Writes event files to `tensorboard/` in the run folder; look at them with `tensorboard --logdir`."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:  # noqa: ARG002  it lies beside them
        self._events = SummaryWriter(str(folder / "tensorboard"))

    def log(self, phase: str, step: int, metrics: Mapping[str, float]) -> None:
        """One scalar for each number."""
        for name, value in metrics.items():
            self._events.add_scalar(f"{phase}/{name}", value, step)

    def close(self) -> None:
        """Finish the file."""
        self._events.close()
