"""Data sets of programming problems as tasks in splits, loaded on first use and kept for the process."""

import functools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmgym.episode import FiniteTasks, Task, content_key, split_of
from llmgym.errors import DataError

from ..math.rows import Row, hub_splits, is_file_name, read_file, read_hub
from .shapes import exercise_of


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where problems come from. Two equal ones share their tasks."""

    dataset: str
    """A .jsonl, .json or .parquet file, or an id of the Hugging Face hub."""
    test_dataset: str | None = None
    """The same for the test split. None: the hub's own test split where there is one, else a tenth of `dataset`."""
    config: str | None = None
    """Configuration of the data set on the hub."""
    num_visible: int = 3
    """See `exercise_of`."""
    hub_split: str = "train"
    """What to load from the hub, where `split_of_row` divides it."""
    split_of_row: Callable[[Mapping[str, Any]], str] | None = None
    """The split of a row, for data sets that come in one piece."""

    def tasks(self, split: str) -> FiniteTasks:
        """The tasks of "train" or "test". A problem of the test split is never a training problem too.

        Raises:
            DataError: a row cannot be used, or the split is empty; DataNotFoundError: there are no such data.
        """
        with _loading:  # two threads that ask at once load once
            return _tasks(self, split)


_loading = threading.Lock()


@functools.lru_cache(maxsize=16)
def _tasks(source: Source, split: str) -> FiniteTasks:
    tasks = _load(source)[split]
    if not tasks:
        other = "train" if split == "test" else "test"
        raise DataError(
            f"{source.dataset} holds no task for the split {split!r}. Ask for the other one, split={other!r}, or name "
            "a test_dataset beside a dataset to train on."
        )
    return FiniteTasks(tasks)


@functools.lru_cache(maxsize=8)
def _load(source: Source) -> Mapping[str, list[Task]]:
    if source.split_of_row is not None:
        every = _read(source, source.dataset, source.hub_split)
        divide = source.split_of_row
        return {split: [task for row, task in every.values() if divide(row) == split] for split in ("train", "test")}
    train = _read(source, source.dataset, "train")
    if source.test_dataset is not None:
        test = _read(source, source.test_dataset, "test")
    elif not is_file_name(source.dataset) and "test" in hub_splits(source.dataset, source.config):
        test = _read(source, source.dataset, "test")
    else:
        test = {text: entry for text, entry in train.items() if split_of(entry[1].prompt) == "test"}
    return {
        "train": [task for text, (_, task) in train.items() if text not in test],
        "test": [task for _, task in test.values()],
    }


def _read(source: Source, dataset: str, split: str) -> dict[str, tuple[Mapping[str, Any], Task]]:
    """Rows and tasks by their prompt without regard to white space; the first of equal ones stays."""
    is_file = is_file_name(dataset)
    rows = read_file(Path(dataset).expanduser()) if is_file else read_hub(dataset, source.config, split)
    tasks: dict[str, tuple[Mapping[str, Any], Task]] = {}
    for where, row in rows:
        task = _task((where, row), source.num_visible)
        tasks.setdefault("".join(task.prompt.split()), (row, task))
    return tasks


def _task(row: Row, num_visible: int) -> Task:
    exercise = exercise_of(*row, num_visible=num_visible)
    prompt = "\n".join([exercise.text, *exercise.shown])  # MBPP has equal texts that ask for different functions
    key = content_key(prompt, exercise.solution)
    return Task(key=key, prompt=prompt, answer=exercise.solution, metadata={"exercise": exercise})
