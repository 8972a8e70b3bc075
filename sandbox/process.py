"""A child process with resource limits, and nothing else: for programs that you trust.

It stops: programs that do not end, fill memory, write without end or leave processes behind. It does not stop:
reading and writing your files, the network, killing processes of yours, reading what other runs do.
"""

import os
import sys
from typing import Any, ClassVar

from llmgym.execution import Backend, Channel, ProcessChannel, boot_arguments

from .scratch import new_scratch, remove_scratch


class ProcessBackend(Backend):
    """Resource limits only.

    Args:
        python: the interpreter inside; by default this one, without installed packages.
    """

    level: ClassVar[str] = "process"
    is_unsafe: ClassVar[bool] = True

    def __init__(self, *, python: str | None = None) -> None:
        self.python = [python] if python else [sys.executable, "-S"]
        self._scratch = new_scratch()

    def start(self, *, home: str = "") -> Channel:  # noqa: ARG002
        return ProcessChannel([*self.python, "-s", "-B", *boot_arguments()])

    def new_home(self, episode: int) -> str:
        return os.path.join(self._scratch, f"episode-{episode}")

    def remove_home(self, home: str) -> None:
        remove_scratch(home)

    def settings(self) -> dict[str, Any]:
        return {"isolation": "none", "scratch": self._scratch}

    def close(self) -> None:
        remove_scratch(self._scratch)
