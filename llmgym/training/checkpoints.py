"""The checkpoints of a run: each is whole or not there; the newest few are kept, and the best."""

import json
import random
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, ConfigError
from ..files import replace_file
from ..learning import load_checkpoint, save_checkpoint

_BEST = "best.json"


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When checkpoints are written, and which are kept."""

    every: int = 10
    """Training steps between checkpoints; one is always written before the first step, after the last, and when the
    run is stopped."""
    keep: int = 2
    """Newest checkpoints that are kept, beside the one with the highest held-out success."""

    def __post_init__(self) -> None:
        for name in ("every", "keep"):
            if getattr(self, name) < 1:
                raise ConfigError(f"checkpoint.{name} is {getattr(self, name)}, but it must be at least 1.")


class RunCheckpoints:
    """Those under `checkpoints/` of a run folder, one folder each.

    Args:
        folder: of the run.
        config: which to keep.
        run: the run's config as text; a checkpoint of another run is refused.
    """

    def __init__(self, folder: Path, config: CheckpointConfig, *, run: str) -> None:
        self.folder, self._config, self._run = folder / "checkpoints", config, run

    def save(self, step: int, state: Mapping[str, Any], *, success: float | None) -> None:
        """Write the checkpoint of `step`, and remove those that are kept no longer.

        Args:
            step: training steps that are done.
            state: all that the rest of the run depends on.
            success: on held-out tasks; the best so far is marked. None: it was not measured with these weights.

        Raises:
            CheckpointError: it cannot be written; those before are whole.
        """
        path = self._path(step)
        try:
            identity = {"run": self._run, "llmgym": version("llmgym")}
            save_checkpoint(path, {**state, "step": step, "identity": identity})
            if success is not None and success > self._best()[1]:
                replace_file(self.folder / _BEST, json.dumps({"step": step, "success": success}) + "\n")
            self._rotate()
        except (OSError, RuntimeError) as error:  # torch raises RuntimeError where the disk is full
            shutil.rmtree(path, ignore_errors=True)
            kept = ", ".join(map(str, self._steps())) or "none"
            raise CheckpointError(
                f"The checkpoint of step {step} cannot be written to {path}: {error} Those of earlier steps are whole "
                f"({kept}). Make room, then go on with: llmgym train --resume {self.folder.parent}"
            ) from error

    def load(self, *, best: bool = False) -> dict[str, Any] | None:
        """The newest, or the best; None where the run wrote none yet.

        Raises:
            CheckpointError: it is damaged, of another run, or of another version of llmgym.
        """
        steps = self._steps()
        if not steps:
            return None
        path = self._path(self._best()[0] if best else steps[-1])
        try:
            state = load_checkpoint(path)
            self._require_own(state.get("identity", {}))
        except CheckpointError as error:
            earlier = f" Remove that folder to go on from step {steps[-2]}." if len(steps) > 1 else ""
            raise CheckpointError(f"The run cannot go on from {path}: {error}{earlier}") from error
        return state

    def _require_own(self, identity: Mapping[str, Any]) -> None:
        if identity.get("llmgym") != version("llmgym"):
            raise CheckpointError(
                f"it was written by llmgym {identity.get('llmgym')}, but this is {version('llmgym')}. Install that "
                "version."
            )
        lines = [str(identity.get("run", "")).splitlines(), self._run.splitlines()]
        if lines[0] != lines[1]:
            changed = next(iter(sorted(set(lines[1]) ^ set(lines[0]))), "the order of its lines")
            raise CheckpointError(
                f"it is of a run with another config.toml; a difference is: {changed.strip()}. Put config.toml back, "
                "or begin a new run."
            )

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}"

    def _steps(self) -> list[int]:
        """Steps with a complete checkpoint, in order."""
        paths = self.folder.glob("step-*/manifest.json")
        return sorted(int(path.parent.name.removeprefix("step-")) for path in paths)

    def _best(self) -> tuple[int, float]:
        try:
            best = json.loads((self.folder / _BEST).read_text(encoding="utf-8"))
            return int(best["step"]), float(best["success"])
        except (OSError, ValueError, KeyError):
            return -1, -1.0

    def _rotate(self) -> None:
        kept = {*self._steps()[-self._config.keep :], self._best()[0]}
        for path in self.folder.glob("step-*"):
            if int(path.name.removeprefix("step-")) not in kept:
                shutil.rmtree(path)


def random_states() -> dict[str, Any]:
    """Those of Python's and NumPy's global generators, which plug-ins may use; torch's are in the learner's state."""
    name, keys, *rest = np.random.get_state(legacy=True)
    return {"python": random.getstate(), "numpy": [name, list(map(int, keys)), *rest]}


def restore_random_states(states: Mapping[str, Any]) -> None:
    """Go on from `random_states`."""
    internal, keys, gauss = states["python"]
    random.setstate((internal, tuple(keys), gauss))
    np.random.set_state(tuple(states["numpy"]))
