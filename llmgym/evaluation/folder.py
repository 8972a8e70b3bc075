"""The folder of an evaluation: its settings, and its episodes as they end, so that it can be gone on with."""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

from ..episode import Trajectory
from ..episode.trajectory_json import trajectory_to_json
from ..errors import ConfigError, DataError, OutputFolderError
from ..files import replace_json, telling_full_disk
from ..rollout import load_trajectories

CONFIG, EPISODES, FIGURES = "config.json", "episodes.jsonl", "figures.json"

_NOT_COMPARED = ("llmgym", "full_reward")


class EvaluationFolder:
    """Episodes of one evaluation on disk.

    Args:
        path: of the folder: new, empty, or of the same evaluation before it was interrupted.
        config: what the evaluation is, as plain values.

    Raises:
        OutputFolderError: the folder holds something else, or cannot be made.
        ConfigError: the folder is of an evaluation with other settings; the message says which.
        DataError: its files are damaged.
    """

    def __init__(self, path: str | Path, config: Mapping[str, Any]) -> None:
        self.path = Path(path)
        written = json.loads(json.dumps({**config, "llmgym": version("llmgym")}, default=_plain))
        if (self.path / CONFIG).is_file():
            _require_same(read_config(self.path), written, self.path)
            return
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise OutputFolderError(
                f"{str(self.path)!r} holds something that is no evaluation, and nothing in it is overwritten. Name a "
                "folder that is new, empty, or of an evaluation to go on with."
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputFolderError(
                f"{str(self.path)!r} cannot be made: {error.strerror}. Name another one."
            ) from error
        replace_json(self.path / CONFIG, written)

    def episodes(self) -> list[Trajectory]:
        """Those that were stored so far; what was being written as the last evaluation ended is dropped."""
        path = self.path / EPISODES
        if not path.exists():
            return []
        with path.open("r+b") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
        return list(load_trajectories(path))

    @contextmanager
    def appending(self) -> Iterator["EpisodeLog"]:
        """A log of further episodes.

        Raises:
            OutputFolderError: another process is writing it.
            DiskFullError: no space is left; what was written whole stays.
        """
        remedy = "evaluate with the same settings again, which goes on with what is there."
        with telling_full_disk(self.path, remedy=remedy), (self.path / EPISODES).open("a", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise OutputFolderError(
                    f"Another process is writing to {str(self.path)!r}. Wait for its end, or name another."
                ) from error
            yield EpisodeLog(file)

    def write_figures(self, figures: Mapping[str, Any]) -> None:
        """What the evaluation came to, over older figures."""
        replace_json(self.path / FIGURES, figures)


class EpisodeLog:
    """Appends one episode a line."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def append(self, trajectory: Trajectory) -> None:
        """Write it, whole or, where the process is killed meanwhile, without its end."""
        self._file.write(json.dumps(trajectory_to_json(trajectory)) + "\n")
        self._file.flush()


def read_config(folder: Path) -> dict[str, Any]:
    """The settings of the evaluation in a folder.

    Raises:
        DataError: they cannot be read.
    """
    path = folder / CONFIG
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}.") from error
    if not isinstance(values, dict) or "env" not in values:
        raise DataError(f"{path} is not the config of an evaluation.")
    return values


def _require_same(there: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    one, other = _told_apart_by(there), _told_apart_by(now)
    different = [
        f"{name} is {there.get(name)!r} there and {now.get(name)!r} now"
        for name in dict.fromkeys([*one, *other])
        if one.get(name) != other.get(name)
    ]
    if different:
        raise ConfigError(
            f"{str(folder)!r} holds another evaluation: {'; '.join(different)}. Name another folder, or repeat its "
            "settings to go on with it."
        )


def _told_apart_by(config: Mapping[str, Any]) -> dict[str, Any]:
    """What makes it another evaluation: of a model folder the files, wherever they lie now."""
    policy = dict(config.get("policy", {}))
    if policy.get("model_digest"):
        policy.pop("model", None)
    return {name: value for name, value in config.items() if name not in _NOT_COMPARED} | {"policy": policy}


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)
