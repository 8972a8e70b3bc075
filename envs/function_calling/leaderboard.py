"""The public tasks of the Berkeley Function Calling Leaderboard, read from its files."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmgym.episode import FiniteTasks, Task
from llmgym.errors import ConfigError, DataError, DataNotFoundError

from ..math.rows import read_file
from .request import language_of, task_of

CATEGORIES = (
    "simple_python",
    "simple_java",
    "simple_javascript",
    "multiple",
    "parallel",
    "parallel_multiple",
    "irrelevance",
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
    "live_irrelevance",
    "live_relevance",
)
"""Of single-turn tasks."""
_SUFFIXES = (".jsonl", ".jsonl.gz")


def leaderboard_folder(data_dir: str | None) -> str:
    """The folder of the files: `data_dir`, or the one that LLMGYM_DATA_DIR names, or `bfcl` in it.

    Raises:
        DataNotFoundError: neither is given, or there is no such folder.
    """
    given = data_dir or os.environ.get("LLMGYM_DATA_DIR")
    how = (
        'Download the folder "berkeley-function-call-leaderboard/bfcl_eval/data" of github.com/ShishirPatil/gorilla, '
        "rename its *.json files, which hold one row a line, to *.jsonl, and name it in data_dir or LLMGYM_DATA_DIR."
    )
    if not given:
        raise DataNotFoundError(f'dataset="bfcl" needs the leaderboard\'s files. {how}')
    folder = Path(given).expanduser()
    folder = folder / "bfcl" if (folder / "bfcl").is_dir() else folder
    if not folder.is_dir():
        raise DataNotFoundError(f"There is no folder {str(folder)!r}. {how}")
    return str(folder)


def require_categories(categories: Sequence[str]) -> tuple[str, ...]:
    """Raises ConfigError where one of them does not exist."""
    for category in categories:
        if category not in CATEGORIES:
            raise ConfigError(f"categories names {category!r}, but there are {', '.join(CATEGORIES)}.")
    return tuple(categories)


@functools.lru_cache(maxsize=8)
def leaderboard_tasks(folder: str, categories: tuple[str, ...]) -> FiniteTasks:
    """All tasks of some categories, with the leaderboard's ids as keys.

    Raises:
        DataError: a row cannot be used; DataNotFoundError: a file is missing.
    """
    return FiniteTasks([task for category in categories for task in _tasks_of(Path(folder), category)])


def _tasks_of(folder: Path, category: str) -> list[Task]:
    answers: dict[str, Any] = {}
    if "relevance" not in category:
        path = _file(folder / "possible_answer", category)
        answers = {row["id"]: (where, row["ground_truth"]) for where, row in read_file(path)}
    tasks = []
    for where, row in read_file(_file(folder, category)):
        try:
            where, wanted = answers.get(row["id"], (where, []))
            tasks.append(_task(row, wanted, category))
        except (KeyError, IndexError, TypeError, AttributeError, StopIteration) as error:
            raise DataError(
                f"{where}: the row {json.dumps(row)[:80]}... lacks what a task needs: {error!r}. Download it again."
            ) from error
    return tasks


def _task(row: Mapping[str, Any], wanted: Sequence[Mapping[str, Any]], category: str) -> Task:
    (messages,) = row["question"]
    return task_of(
        key=row["id"],
        messages=[(message["role"], message["content"]) for message in messages],
        functions=row["function"],
        expected=[next(iter(call.items())) for call in wanted],
        category=category,
        language=language_of(category),
    )


def _file(folder: Path, category: str) -> Path:
    for suffix in _SUFFIXES:
        path = folder / f"BFCL_v4_{category}{suffix}"
        if path.is_file():
            return path
    raise DataNotFoundError(
        f"There is no file {str(folder / f'BFCL_v4_{category}')!r} ending in {' or '.join(_SUFFIXES)}, which the "
        f"category {category!r} needs. Download it, or leave the category out of `categories`."
    )
