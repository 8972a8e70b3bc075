"""Weights & Biases."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from ...errors import ConfigError


class WandbTracker:
    """Sends a run to W&B, or writes it below the run folder where WANDB_MODE is "offline".

    The project is "llmgym" unless WANDB_PROJECT names another; all else is as W&B's own variables say.

    Raises:
        ConfigError: W&B refuses the run, as it does where nobody is logged in.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        project = os.environ.get("WANDB_PROJECT", "llmgym")
        try:
            self._run = wandb.init(project=project, name=folder.name, dir=str(folder), config=dict(config))
        except wandb.errors.Error as error:
            raise ConfigError(
                f"W&B did not begin the run: {str(error).strip()} Log in with `wandb login`, or write below the run "
                'folder alone with WANDB_MODE=offline, or leave "wandb" out of trackers.'
            ) from error
        self._phases: set[str] = set()

    def log(self, phase: str, step: int, metrics: Mapping[str, float]) -> None:
        """One row. Each phase has a step axis of its own, as W&B drops what goes back on a common one."""
        axis = f"{phase}/step"
        if phase not in self._phases:
            self._phases.add(phase)
            self._run.define_metric(axis)
            self._run.define_metric(f"{phase}/*", step_metric=axis)
        self._run.log({axis: step} | {f"{phase}/{name}": value for name, value in metrics.items()})

    def close(self) -> None:
        """Wait until all is sent or written."""
        self._run.finish()
