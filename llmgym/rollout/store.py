"""Trajectories on disk: a JSONL file, one trajectory a line, gzipped where its name ends in `.gz`."""

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, cast

from ..episode import Trajectory
from ..episode.trajectory_json import trajectory_from_json, trajectory_to_json
from ..errors import DataError, DataNotFoundError, OutputFolderError


def save_trajectories(path: str | Path, trajectories: Iterable[Trajectory]) -> None:
    """Write trajectories as they are.

    Raises:
        OutputFolderError: the file exists; nothing is overwritten.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _open(path, "x") as file:
            file.writelines(json.dumps(trajectory_to_json(trajectory)) + "\n" for trajectory in trajectories)
    except FileExistsError as error:
        raise OutputFolderError(f"{path} exists already. Choose another name, or remove it first.") from error


def load_trajectories(path: str | Path) -> Iterator[Trajectory]:
    """Read what `save_trajectories` wrote, one by one.

    Raises:
        DataNotFoundError: there is no such file.
        DataError: a line is not a trajectory; the message names it.
    """
    path = Path(path)
    if not path.is_file():
        raise DataNotFoundError(f"There is no file {path}. Runs write theirs to RUN/trajectories/.")
    with _open(path, "r") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield trajectory_from_json(json.loads(line))
            except ValueError as error:
                raise DataError(f"{path}, line {number}: {error}") from error


def _open(path: Path, mode: str) -> IO[str]:
    if path.suffix == ".gz":
        return cast(IO[str], gzip.open(path, mode + "t", encoding="utf-8"))
    return path.open(mode, encoding="utf-8")
