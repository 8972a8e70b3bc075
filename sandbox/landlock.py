"""Landlock, a filter of system calls and resource limits, where namespaces are refused: most containers.

It stops: writing any file outside the run's own directory, reading any but the interpreter and /usr, all sockets,
signals to and inspection of other processes, and what the process level stops. It does not stop: filling the disk of
the run's directory beyond the size of one file times the number of files, seeing which files exist, an attack on the
kernel through the system calls that are left, and measuring time. Shared memory (/dev/shm), and with it the locks of
multiprocessing, is shut.
"""

import os
from typing import Any, ClassVar

from llmgym.execution import Backend, Channel, ProcessChannel, boot_arguments

from .interpreter import Interpreter
from .scratch import new_scratch, remove_scratch

_SYSTEM = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/alternatives", "/etc/ld.so.cache"]
_USERS = (200_000, 500_000)


class LandlockBackend(Backend):
    """Landlock, seccomp and resource limits. As root, each run has a user of its own, too.

    Args:
        python: the interpreter inside, with its installed packages; by default this one, without them.
        read_only: further host folders that may be read inside.
    """

    level: ClassVar[str] = "landlock"
    strength: ClassVar[int] = 20

    def __init__(self, *, python: str | None = None, read_only: tuple[str, ...] = ()) -> None:
        self.interpreter = Interpreter.find(python, for_everybody=os.geteuid() == 0)
        self.read_only = read_only
        self._scratch = new_scratch()

    def start(self, *, home: str = "") -> Channel:  # noqa: ARG002
        return ProcessChannel([*self.interpreter.argv, *boot_arguments()])

    def new_home(self, episode: int) -> str:
        return os.path.join(self._scratch, f"episode-{episode}")

    def remove_home(self, home: str) -> None:
        remove_scratch(home)

    def settings(self) -> dict[str, Any]:
        read_only = [*_SYSTEM, *self.interpreter.folders, *self.read_only]
        return {"isolation": "landlock", "scratch": self._scratch, "read_only": read_only, "users": list(_USERS)}

    def close(self) -> None:
        remove_scratch(self._scratch)
