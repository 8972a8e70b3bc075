"""What a finished run leaves beside its metrics: how and where it ran, and its held-out episodes."""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ..episode import Trajectory
from ..errors import DataError, DataNotFoundError
from ..evaluation import Evaluation
from ..files import replace_json, replacing
from ..rollout import load_trajectories, save_trajectories
from .run_folder import RECORD

_LIBRARIES = ("llmgym", "torch", "transformers", "tokenizers", "gymnasium", "numpy")


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES}


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """How a run was done, as far as its config does not say so."""

    started: str
    """Date and time with its zone, ISO 8601."""
    seconds: float
    """From the start to the last file but this one."""
    num_parameters: int
    """Of the policy."""
    device: str
    """That the policy learned on."""
    full_reward: float
    """An episode that earns it is a success."""
    machine: str = field(default_factory=platform.platform)
    """Operating system and processor."""
    versions: Mapping[str, str] = field(default_factory=_versions)
    """Of Python and of the packages that decide about numbers."""

    def write(self, folder: Path) -> None:
        """Into `run.json`, the last file of a run."""
        replace_json(folder / RECORD, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "RunRecord":
        """That of a finished run.

        Raises:
            DataNotFoundError: there is none, as the run is under way or was interrupted.
            DataError: it is not what `write` wrote.
        """
        path = folder / RECORD
        if not path.is_file():
            raise DataNotFoundError(
                f"{str(folder)!r} has no {RECORD}, which a run writes last: it is still under way, or was interrupted. "
                "Its metrics.jsonl and tensorboard/ can be read already."
            )
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (TypeError, ValueError) as error:
            raise DataError(f"{path} is not the record of a run: {error}.") from error


def save_held_out(folder: Path, name: str, evaluations: Mapping[str, Evaluation]) -> None:
    """Write the episodes of evaluations, by decoding, under `name`, "before" or "after", in place of earlier ones."""
    for decoding, evaluation in evaluations.items():
        with replacing(_held_out_path(folder, name, decoding)) as unfinished:
            save_trajectories(unfinished, evaluation.trajectories)


def load_held_out(folder: Path, name: str, full_reward: float) -> dict[str, Evaluation]:
    """What `save_held_out` wrote, by decoding; empty where it wrote nothing.

    Raises:
        DataError: a line of a file is not a trajectory.
    """
    return {
        decoding: Evaluation(tuple(load_trajectories(path)), full_reward)
        for decoding in ("sampled", "greedy")
        if (path := _held_out_path(folder, name, decoding)).is_file()
    }


def with_advantages(trajectory: Trajectory, advantages: Mapping[Trajectory, np.ndarray]) -> Trajectory:
    """The trajectory with what its action tokens weighed in the update, in `metadata["advantages"]`."""
    if trajectory not in advantages:
        return trajectory
    return replace(trajectory, metadata={**trajectory.metadata, "advantages": advantages[trajectory].tolist()})


def _held_out_path(folder: Path, name: str, decoding: str) -> Path:
    return folder / "held_out" / f"{name}-{decoding}.jsonl.gz"
