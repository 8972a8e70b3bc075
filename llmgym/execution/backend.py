"""What a kind of sandbox must provide: a way to start the guest program behind its walls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from .channel import Channel

PRELOAD = (
    *("abc", "bisect", "collections", "collections.abc", "copy", "dataclasses", "datetime", "decimal", "enum"),
    *("fractions", "functools", "heapq", "io", "itertools", "json", "math", "operator", "random", "re", "statistics"),
    *("string", "sys", "time", "typing"),
)
"""Modules that the warm interpreter has imported already, so that a run need not."""


class Backend(ABC):
    """A kind of sandbox, registered in `llmgym.sandboxes` under its level's name."""

    level: ClassVar[str]
    """The name it is registered under."""
    strength: ClassVar[int] = 0
    """"auto" takes the strongest level that works; 0 is never taken by itself."""
    is_unsafe: ClassVar[bool] = False
    """True: it does not hold hostile code, and must be asked for with `allow_unsafe=True`."""

    @abstractmethod
    def start(self, *, home: str = "") -> Channel:
        """Start Python with `boot_arguments()` behind the walls and return the stream to it.

        Args:
            home: a folder, as `new_home` named it, in which the runs of one episode may keep files; none if empty.

        Raises:
            SandboxError: it cannot be had here; the message says how to get it.
        """

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What the guest program is told of its walls; `isolation` names the confinement of each run."""

    @abstractmethod
    def new_home(self, episode: int) -> str:
        """Where inside the walls an episode, which has a worker of its own, keeps its files."""

    def remove_home(self, home: str) -> None:  # noqa: B027  (most homes go with their worker)
        """Delete the files of an ended episode."""

    def close(self) -> None:  # noqa: B027  (most backends have nothing to close)
        """Release what all workers share."""
