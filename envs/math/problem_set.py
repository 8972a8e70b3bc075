"""Problem sets as tasks in splits, loaded on first use and kept for the process."""

from __future__ import annotations

import functools
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmgym.episode import FiniteTasks, Task, split_of
from llmgym.errors import ConfigError, DataError

from .comparison import problem_of_reference, require_math_verify
from .reading import exact_number
from .rows import Row, hub_splits, is_file_name, read_file, read_hub, task_of

TaskOf = Callable[[str, Mapping[str, Any], Mapping[str, str]], Task]
"""Makes a task of a row, from where it stands, the row and the columns; raises DataError."""
Check = Callable[[list[Task], str], None]
"""Looks over the tasks of a data set, of both splits, when they are loaded."""


def accept_all(tasks: list[Task], dataset: str) -> None:
    """Nothing to look over."""


def report_unread(tasks: list[Task], dataset: str) -> None:
    """Warn of reference answers that only equal text or math-verify can match, where somebody sees it: at the load."""
    problems = [(task, problem) for task in tasks if (problem := problem_of_reference(task.answer or ""))]
    if not problems:
        return
    require_math_verify()
    shown = "; ".join(f"{task.answer!r:.80} ({problem})" for task, problem in problems[:5])
    warnings.warn(
        f"{dataset} has {len(problems)} reference answers of {len(tasks)} that are not understood and are compared as "
        f"text and by math-verify alone: {shown}. Mend them, or leave the rows out.",
        stacklevel=2,
    )


def require_numbers(tasks: list[Task], dataset: str) -> None:
    """Raises DataError where a reference answer is no single number."""
    for task in tasks:
        if exact_number(task.answer or "") is None:
            raise DataError(
                f"{dataset} asks {task.prompt[:60]!r}, whose reference answer {task.answer!r} is not a single "
                'number, as answer_format="last_number" needs. Use answer_format="box" or "tags".'
            )


@dataclass(frozen=True)
class ProblemSet:
    """Where problems come from. Two equal ones share their tasks.

    Args:
        dataset: a .jsonl, .json or .parquet file, or an id of the Hugging Face hub.
        test_dataset: the same for the test split. None: the hub's own test split where it has one, else a tenth of
            `dataset`, chosen by a hash of each problem.
        config: configuration of the data set on the hub.
        columns: (what, column) pairs, where what is "prompt" or "answer".
        task_of: makes a task of a row.
        check: looks over all tasks once they are made.
        divide: the split of a row, for data sets that come in one piece.
        hub_split: what to load from the hub where `divide` is given.
    """

    dataset: str
    test_dataset: str | None = None
    config: str | None = None
    columns: tuple[tuple[str, str], ...] = ()
    task_of: TaskOf = task_of
    check: Check = report_unread
    divide: Callable[[Mapping[str, Any]], str] | None = None
    hub_split: str = "train"

    def tasks(self, split: str) -> FiniteTasks:
        """The tasks of "train" or "test". A problem of the test split is never a training problem too.

        Raises:
            ConfigError: there is no such split.
            DataError: a row cannot be used; DataNotFoundError: there are no such data.
            MissingExtraError: the data need a package that is not installed.
        """
        if split not in ("train", "test"):
            raise ConfigError(f'split is {split!r}, but a problem set has the splits "train" and "test".')
        with _loading:  # two threads that ask at once load once
            return _tasks(self, split)


_loading = threading.Lock()


@functools.lru_cache(maxsize=16)
def _tasks(source: ProblemSet, split: str) -> FiniteTasks:
    tasks = _load(source)[split]
    if not tasks:
        other = "train" if split == "test" else "test"
        raise DataError(
            f"{source.dataset} holds no task for the split {split!r}. Add problems, ask for the other one, "
            f"split={other!r}, or name a test_dataset beside a dataset to train on."
        )
    return FiniteTasks(tasks)


@functools.lru_cache(maxsize=8)
def _load(source: ProblemSet) -> Mapping[str, list[Task]]:
    if source.divide is not None:
        rows, divide = list(_rows(source.dataset, source.config, source.hub_split)), source.divide
        train, test = (_unique([row for row in rows if divide(row[1]) == s], source) for s in ("train", "test"))
    elif source.test_dataset is not None:
        train = _unique(_rows(source.dataset, source.config, "train"), source)
        test = _unique(_rows(source.test_dataset, source.config, "test"), source)
    elif not is_file_name(source.dataset) and "test" in hub_splits(source.dataset, source.config):
        train, test = (_unique(read_hub(source.dataset, source.config, split), source) for split in ("train", "test"))
    else:
        every = _unique(_rows(source.dataset, source.config, "train"), source)
        train = {prompt: task for prompt, task in every.items() if split_of(task.prompt) == "train"}
        test = {prompt: task for prompt, task in every.items() if prompt not in train}
    train = {prompt: task for prompt, task in train.items() if prompt not in test}
    tasks = {"train": list(train.values()), "test": list(test.values())}
    source.check([*tasks["train"], *tasks["test"]], source.dataset)
    return tasks


def _rows(dataset: str, config: str | None, split: str) -> Iterator[Row]:
    return read_file(Path(dataset).expanduser()) if is_file_name(dataset) else read_hub(dataset, config, split)


def _unique(rows: Iterable[Row], source: ProblemSet) -> dict[str, Task]:
    """Tasks by their problem without regard to white space; the first of equal ones stays."""
    tasks: dict[str, Task] = {}
    columns = dict(source.columns)
    for where, row in rows:
        task = source.task_of(where, row, columns)
        tasks.setdefault("".join(task.prompt.split()), task)
    return tasks
