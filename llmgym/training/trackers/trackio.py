"""trackio."""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import trackio

_finish: Callable[[], None] = trackio.finish
"""Ends the run that `init` began, also for trackio's own end of the process."""


class TrackioTracker:
    """Writes a run to where trackio keeps its own, TRACKIO_DIR; look at it with `trackio show`.

    The project is "llmgym" unless TRACKIO_PROJECT names another.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        project = os.environ.get("TRACKIO_PROJECT", "llmgym")
        with redirect_stdout(sys.stderr):  # it greets on the standard output, which may be for JSON alone
            self._run = trackio.init(project=project, name=folder.name, config=dict(config), embed=False)

    def log(self, phase: str, step: int, metrics: Mapping[str, float]) -> None:
        """One row."""
        self._run.log({f"{phase}/{name}": value for name, value in metrics.items()}, step=step)

    def close(self) -> None:
        """Wait until all is written."""
        with redirect_stdout(sys.stderr):
            _finish()
