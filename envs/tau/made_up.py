"""Two small worlds of our own in the form of tau-bench, for where its data is not there. They are not tau-bench."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from llmgym.episode import Task
from llmgym.errors import ConfigError
from llmgym.messages import ToolCall

from . import made_up_airline, made_up_retail
from .data import task_of
from .database import Snapshot

_WORLDS = {"retail": made_up_retail, "airline": made_up_airline}


@dataclass(frozen=True)
class MadeUpData:
    """A small made-up world."""

    domain: str
    """"retail" or "airline"."""
    version: int = 1

    def policy(self) -> str:
        policy: str = _WORLDS[self.domain].POLICY
        return policy

    def schemas(self) -> Sequence[Mapping[str, Any]]:
        return ()

    def snapshot(self) -> Snapshot:
        return _snapshot(self.domain)

    def tasks(self, split: str) -> Sequence[Task]:
        """The tasks of "train" or "test".

        Raises:
            ConfigError: there is no such split.
        """
        made = _WORLDS[self.domain].TASKS
        if split not in made:
            raise ConfigError(f"split is {split!r}, but the made-up world has {', '.join(map(repr, made))}.")
        return tuple(
            task_of(
                f"made-up-{split}-{index}",
                instruction,
                [ToolCall(name, arguments) for name, arguments in actions],
                outputs,
                is_made_up=True,
            )
            for index, (instruction, actions, outputs) in enumerate(made[split])
        )


@lru_cache(maxsize=2)
def _snapshot(domain: str) -> Snapshot:
    return Snapshot(_WORLDS[domain].tables(), (_snapshot, (domain,)))
