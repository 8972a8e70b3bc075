"""The public data of tau-bench (version 1) and tau2-bench (version 2), read from a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from llmgym.episode import Task
from llmgym.errors import ConfigError, DataError, DataNotFoundError
from llmgym.messages import ToolCall

from .database import Snapshot, Tables

_HOW_TO_GET_IT = (
    "Fetch it and convert it: `git clone https://github.com/sierra-research/tau-bench`, `git clone "
    "https://github.com/sierra-research/tau2-bench`, `python -m llmgym.envs.tau.convert FOLDER/tau --v1 tau-bench "
    "--v2 tau2-bench`; then name FOLDER with data_dir= or the environment variable LLMGYM_DATA_DIR."
)
_V1_SPLITS: Mapping[str, Sequence[str]] = {"retail": ("train", "dev", "test"), "airline": ("test",)}


class TauData(Protocol):
    """Where the records, the policy and the tasks of a domain come from. Equal ones share what they read."""

    def __hash__(self) -> int: ...

    @property
    def domain(self) -> str:
        """ "retail" or "airline"."""

    @property
    def version(self) -> int:
        """Of the benchmark, 1 or 2."""

    def policy(self) -> str:
        """The rules that the policy is told."""

    def schemas(self) -> Sequence[Mapping[str, Any]]:
        """Published descriptions of tools, where there are any."""

    def snapshot(self) -> Snapshot:
        """The database that an episode begins with."""

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of a split, all of them. Their metadata is as `task_of` makes it."""


def task_of(
    key: str,
    instruction: str,
    actions: Sequence[ToolCall],
    outputs: Sequence[str],
    *,
    basis: Sequence[str] = ("DB", "COMMUNICATE"),
    has_assertions: bool = False,
    is_made_up: bool = False,
) -> Task:
    """A task of either version.

    Args:
        key: names it.
        instruction: tells the user who they are and what they want.
        actions: the reference actions, whose end state is to be reached.
        outputs: what the policy must say.
        basis: names of what the published reward is a product of.
        has_assertions: True where one of these would need a language model as a judge.
        is_made_up: True where it is not of the benchmark.
    """
    metadata = {
        "actions": tuple(actions),
        "outputs": tuple(outputs),
        "basis": tuple(basis),
        "has_assertions": has_assertions,
        "is_made_up": is_made_up,
    }
    return Task(key=key, prompt=instruction, answer=", ".join(outputs) or None, metadata=metadata)


@dataclass(frozen=True)
class PublicData:
    """A domain of the public data."""

    folder: Path
    """With the sub-folders v1 and v2."""
    domain: str
    """"retail" or "airline"."""
    version: int

    def policy(self) -> str:
        return _policy(self)

    def schemas(self) -> Sequence[Mapping[str, Any]]:
        # Version 2 keeps its descriptions in code; its tools describe themselves.
        return _json(self._file("tool_schemas.json")) if self.version == 1 else ()

    def snapshot(self) -> Snapshot:
        return _snapshot(self)

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of a split.

        Raises:
            ConfigError: there is no such split.
            DataError: a task cannot be read; DataNotFoundError: there is no such file.
        """
        return _v1_tasks(self, split) if self.version == 1 else _v2_tasks(self, split)

    def _file(self, name: str) -> Path:
        if self.version == 1:
            return self.folder / "v1" / f"{self.domain}_{name}"
        return self.folder / "v2" / self.domain / name


@lru_cache(maxsize=8)
def _policy(data: PublicData) -> str:
    return _text(data._file("policy.md"))


@lru_cache(maxsize=8)
def _snapshot(data: PublicData) -> Snapshot:
    return Snapshot(_tables(data), (_snapshot, (data,)))


def _tables(data: PublicData) -> Tables:
    names = ("orders", "products", "users") if data.domain == "retail" else ("flights", "reservations", "users")
    if data.version == 1:
        return {name: _json(data._file(f"{name}.json")) for name in names}
    path = data._file("db.json")
    database = _json(path)
    if not isinstance(database, dict) or not set(names) <= set(database):
        raise DataError(f"{path} lacks one of the tables {', '.join(names)}. Fetch it again.")
    return {name: database[name] for name in names}


@lru_cache(maxsize=8)
def _v1_tasks(data: PublicData, split: str) -> Sequence[Task]:
    _require_split(data, split, _V1_SPLITS[data.domain])
    path = data._file(f"tasks_{split}.jsonl")
    tasks = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        try:
            row = json.loads(line)
            actions = [ToolCall(action["name"], action["kwargs"]) for action in row["actions"]]
            tasks.append(task_of(f"v1-{split}-{row['index']}", row["instruction"], actions, row["outputs"]))
        except (ValueError, LookupError, TypeError) as error:
            raise DataError(f"{path}, line {number}: this is no task ({error!r}). Convert it again.") from error
    return tuple(tasks)


@lru_cache(maxsize=8)
def _v2_tasks(data: PublicData, split: str) -> Sequence[Task]:
    splits, path = _json(data._file("split_tasks.json")), data._file("tasks.json")
    _require_split(data, split, [name for name in splits if name != "base"])  # all of them: it overlaps with the others
    tasks = []
    for row in _json(path):
        if row["id"] not in splits[split]:
            continue
        try:
            criteria, told = row["evaluation_criteria"], row["user_scenario"]["instructions"]
            tasks.append(
                task_of(
                    f"v2-{row['id']}",
                    " ".join(filter(None, (told[name] for name in ("known_info", *_WISHES, "unknown_info")))),
                    [ToolCall(action["name"], action["arguments"]) for action in criteria["actions"] or ()],
                    criteria["communicate_info"] or (),
                    basis=criteria["reward_basis"],
                    has_assertions="NL_ASSERTION" in criteria["reward_basis"] and bool(criteria["nl_assertions"]),
                )
            )
        except (LookupError, TypeError) as error:
            raise DataError(f"{path}, task {row.get('id')}: this is no task ({error!r}). Fetch it again.") from error
    return tuple(tasks)


_WISHES = ("reason_for_call", "task_instructions")


def _require_split(data: PublicData, split: str, known: Sequence[str]) -> None:
    if split not in known:
        raise ConfigError(
            f"split is {split!r}, but version {data.version} of {data.domain} has {', '.join(map(repr, known))}."
        )


def _json(path: Path) -> Any:
    text = _text(path)
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}. Fetch it again.") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DataNotFoundError(f"There is no {path}, which is part of tau-bench's data. {_HOW_TO_GET_IT}") from error
