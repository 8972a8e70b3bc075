"""Episodes that evaluations and training runs stored, with what must be known to judge them."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..episode.register import make_token_env
from ..errors import DataError, DataNotFoundError
from ..rollout import load_trajectories
from .folder import CONFIG, EPISODES, read_config
from .result import Evaluation

_RUN_CONFIG, _RUN_RECORD = "config.toml", "run.json"
_SUFFIXES = (".jsonl", ".jsonl.gz")
RESCORED = ".rescored"


@dataclass(frozen=True, kw_only=True)
class StoredEpisodes:
    """A file of episodes, and where they come from."""

    path: Path
    env: str
    """Id of the environment; of a mixture, the ids of all with " + " between them."""
    env_kwargs: Mapping[str, Any]
    split: str
    """Of the tasks."""
    model: str
    """Folder or id of the model that played; "" where no model did."""
    full_reward: float | None
    """An episode that earns it is a success; None: the environment knows."""

    def evaluation(self) -> Evaluation:
        """The episodes as what they came to; of one that was tried again, the last try.

        Raises:
            DataError: a line is not a trajectory, or there is none.
            InfrastructureError: no episode is valid.
        """
        full_reward = self.full_reward
        if full_reward is None:
            full_reward = make_token_env(self.env, **self.env_kwargs).message_env.reward_range[1]
        last = {(episode.group_id, episode.sample_index): episode for episode in load_trajectories(self.path)}
        if not last:
            raise DataError(f"{self.path} holds no episode yet.")
        return Evaluation(tuple(last[place] for place in sorted(last)), full_reward)

    @property
    def decoding(self) -> str:
        """ "greedy" or "sampled", as the first episode was."""
        first = next(load_trajectories(self.path), None)
        return (
            "greedy"
            if first is not None and first.sampling is not None and first.sampling.temperature == 0
            else "sampled"
        )


def stored_evaluations(path: str | Path) -> dict[str, StoredEpisodes]:
    """By decoding, what an evaluation stored in its folder, or a run of its last policy; or the one file named.

    Raises:
        DataNotFoundError: there is nothing of the kind at `path`.
        DataError: what is there is damaged.
    """
    path = Path(path)
    if path.is_file():
        episodes = stored_episodes(path)
        return {episodes.decoding: episodes}
    _require_folder(path)
    if (path / _RUN_CONFIG).is_file():
        files = [path / "held_out" / f"after-{decoding}.jsonl.gz" for decoding in ("sampled", "greedy")]
        problem = "it has no held-out episodes, which a run stores as it ends"
    else:
        files = [folder / EPISODES for folder in (path, path / "sampled", path / "greedy")]
        problem = "it is the folder of no run and no evaluation"
    found = [stored_episodes(file) for file in files if file.is_file()]
    if not found:
        raise DataNotFoundError(
            f"{str(path)!r} cannot be compared: {problem}. Name an ended run, or what `llmgym eval --output` wrote."
        )
    return {episodes.decoding: episodes for episodes in found}


def all_stored_episodes(path: str | Path) -> list[StoredEpisodes]:
    """Every file of episodes in the folder of a run or an evaluation, or the one file named.

    Raises:
        DataNotFoundError: there is none at `path`.
        DataError: what is there is damaged.
    """
    path = Path(path)
    if path.is_file():
        return [stored_episodes(path)]
    _require_folder(path)
    places = ("", "sampled", "greedy", "held_out", "trajectories")
    files = [file for place in places for file in sorted((path / place).glob("*.jsonl*"))]
    found = [stored_episodes(file) for file in files if _is_original(file)]
    if not found:
        raise DataNotFoundError(f"{str(path)!r} holds no episodes. Name the folder of a run or an evaluation.")
    return found


def stored_episodes(file: Path) -> StoredEpisodes:
    """A file of episodes, with the settings that lie in its folder or above it.

    Raises:
        DataNotFoundError: no run and no evaluation is there.
        DataError: its settings are damaged.
    """
    for folder in (file.parent, file.parent.parent):
        if (folder / CONFIG).is_file() and (folder / EPISODES).is_file():
            return _of_evaluation(file, read_config(folder))
        if (folder / _RUN_CONFIG).is_file():
            return _of_run(file, folder)
    raise DataNotFoundError(
        f"{str(file)!r} lies in the folder of no run and no evaluation, so nothing says which environment it is of. "
        "Put it back beside the config that was written with it."
    )


def _of_evaluation(file: Path, config: Mapping[str, Any]) -> StoredEpisodes:
    try:
        return StoredEpisodes(
            path=file,
            env=config["env"],
            env_kwargs=config["env_kwargs"],
            split=config["split"],
            model=config["policy"].get("model", ""),
            full_reward=config["full_reward"],
        )
    except (KeyError, AttributeError) as error:
        raise DataError(f"The {CONFIG} of {file} is not that of an evaluation: {error!r}.") from error


def _of_run(file: Path, folder: Path) -> StoredEpisodes:
    try:
        config = tomllib.loads((folder / _RUN_CONFIG).read_text(encoding="utf-8"))
        record = folder / _RUN_RECORD  # written last: a run that goes on has none
        full_reward = json.loads(record.read_text(encoding="utf-8"))["full_reward"] if record.is_file() else None
        model = folder / "model"
        envs = [config["env"]] if "env" in config else config["envs"]
        return StoredEpisodes(
            path=file,
            env=" + ".join(env["id"] for env in envs),
            env_kwargs=envs[0].get("kwargs", {}) if len(envs) == 1 else {},
            split="train" if file.parent.name == "trajectories" else config["evaluation"]["split"],
            model=str(model) if model.is_dir() else config["model"]["path"],
            full_reward=full_reward,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"The config of the run {str(folder)!r} cannot be read: {error!r}.") from error


def _is_original(file: Path) -> bool:
    return file.name.endswith(_SUFFIXES) and file.name != "metrics.jsonl" and RESCORED not in file.name


def _require_folder(path: Path) -> None:
    if not path.is_dir():
        raise DataNotFoundError(
            f"There is no file or folder {str(path)!r}. Name the folder of a run or of an evaluation, or a file of "
            "episodes in one."
        )
