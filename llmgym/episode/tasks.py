"""Tasks, and where they come from: finite sets or seeded generators, in splits that never overlap."""

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import ConfigError, DataError, UnknownTaskError


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """One thing to do."""

    key: str
    """Names the task within its split; `reset(options={"task": key})` asks for it."""
    prompt: str
    """What the policy is asked."""
    answer: str | None = None
    """The reference answer, where there is one. Never part of an observation."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else the environment or its verifier needs."""


def content_key(prompt: str, answer: str | None = None) -> str:
    """A key that depends on nothing but what the task says: 16 hexadecimal digits."""
    content = json.dumps([prompt, answer], ensure_ascii=False)
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def split_of(prompt: str, *, test_percent: int = 10) -> str:
    """The split that a prompt belongs to, "train" or "test", by a hash of its text alone."""
    digest = hashlib.blake2b(prompt.encode("utf-8", "surrogatepass"), digest_size=8, person=b"llmgym-split").digest()
    return "test" if int.from_bytes(digest, "big") % 100 < test_percent else "train"


class TaskSource(ABC):
    """An ordered supply of tasks: `source[index]`, `source.get(key)`, and `len` where it is finite."""

    size: int | None
    """Number of tasks; None where they are generated without end."""

    @abstractmethod
    def __getitem__(self, index: int) -> Task:
        """The task at `index`, the same one every time."""

    @abstractmethod
    def get(self, key: str) -> Task:
        """The task with this key. Raises UnknownTaskError."""

    def draw(self, rng: np.random.Generator) -> Task:
        """A task chosen by `rng` alone."""
        return self[int(rng.integers(self.size if self.size is not None else 2**31))]

    def first(self, count: int) -> list[Task]:
        """The first `count` tasks with distinct prompts, for an evaluation that is the same every time.

        Raises:
            ConfigError: `count` is below 1, or the source has fewer.
        """
        if count < 1:
            raise ConfigError(f"{count} tasks were asked for. Ask for at least 1.")
        chosen: dict[str, Task] = {}
        limit = self.size if self.size is not None else 20 * count + 1000
        for index in range(limit):
            if len(chosen) == count:
                break
            task = self[index]
            chosen.setdefault(task.prompt, task)
        if len(chosen) < count:
            raise ConfigError(
                f"{count} distinct tasks were asked for, but the split has {len(chosen)}"
                f"{'' if self.size is not None else f' among its first {limit}'}. Ask for {len(chosen)} or fewer."
            )
        return list(chosen.values())


class FiniteTasks(TaskSource):
    """A fixed list of tasks, keyed by content.

    Raises:
        DataError: there is none, or one key names two different tasks.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        if not tasks:
            raise DataError("The split holds no task. Choose another split, or another data set.")
        self._tasks = list(tasks)
        self._index_of: dict[str, int] = {}
        for index, task in enumerate(self._tasks):
            known = self._tasks[self._index_of.setdefault(task.key, index)]
            if (known.prompt, known.answer) != (task.prompt, task.answer):
                raise DataError(
                    f"The key {task.key!r} names two tasks, {known.prompt[:60]!r} and {task.prompt[:60]!r}. "
                    "Give every task a key of its own, for example content_key(prompt, answer)."
                )
        self.size: int = len(self._tasks)

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks)

    def __getitem__(self, index: int) -> Task:
        return self._tasks[index]

    def get(self, key: str) -> Task:
        try:
            return self._tasks[self._index_of[key]]
        except KeyError:
            raise UnknownTaskError(
                f"The split has no task with key {key!r}. Its {self.size} keys begin with {self._tasks[0].key!r}."
            ) from None


class GeneratedTasks(TaskSource):
    """Tasks made from (seed, index), without end; a hash of the prompt decides the split.

    Args:
        make: makes a task's prompt, answer and metadata from a generator; its key is replaced.
        split: "train" or "test".
        seed: of the whole supply.
    """

    size = None

    def __init__(self, make: Callable[[np.random.Generator], Task], *, split: str, seed: int = 0) -> None:
        if split not in ("train", "test"):
            raise ConfigError(f'split is {split!r}, but generated tasks have the splits "train" and "test".')
        if seed < 0:
            raise ConfigError(f"seed is {seed}, but the seed of generated tasks must be 0 or above.")
        self._make, self.split, self.seed = make, split, seed

    def __getitem__(self, index: int) -> Task:
        rng = np.random.default_rng((self.seed, index))
        # One in ten prompts is a test prompt, so 1,000 draws without one happen once in 1e45.
        for _ in range(1000):
            task = self._make(rng)
            if split_of(task.prompt) == self.split:
                return Task(key=f"{self.seed}.{index}", prompt=task.prompt, answer=task.answer, metadata=task.metadata)
        raise DataError(
            f"The generator made 1,000 tasks and none fell into the split {self.split!r}. It makes too few "
            "distinct prompts; list them in FiniteTasks instead."
        )

    def get(self, key: str) -> Task:
        seed, _, index = key.partition(".")
        if seed != str(self.seed) or not re.fullmatch(r"0|[1-9][0-9]{0,18}", index):
            raise UnknownTaskError(
                f'{key!r} is not a key of generated tasks. A key is "SEED.INDEX", here "{self.seed}.INDEX".'
            )
        return self[int(index)]
