"""Bubblewrap: one small world per worker, and in it namespaces and a file system in memory for each run.

It stops: reading your files (only /usr and the interpreter are there, read-only), writing any, the network, signals to
and sight of other processes, leftovers of any kind, and more memory, processes and disk than allowed. It does not stop:
an attack on the kernel itself through the system calls that are left, and measuring time.
"""

import os
import shutil
from pathlib import PurePath
from typing import Any, ClassVar

from llmgym.errors import SandboxError
from llmgym.execution import Backend, Channel, ProcessChannel, boot_arguments

from .interpreter import Interpreter

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
_NOBODY = 65534


class BwrapBackend(Backend):
    """Bubblewrap around the worker, and namespaces of its own for each run.

    Args:
        python: the interpreter inside, with its installed packages; by default this one, without them.
        read_only: further host folders to show inside, read-only.
        home_mib: files of an episode, which are in memory.
    """

    level: ClassVar[str] = "bwrap"
    strength: ClassVar[int] = 30

    def __init__(self, *, python: str | None = None, read_only: tuple[str, ...] = (), home_mib: int = 256) -> None:
        self.interpreter = Interpreter.find(python)
        self.read_only, self.home_mib = read_only, home_mib

    def start(self, *, home: str = "") -> Channel:
        program = shutil.which("bwrap")
        if program is None:
            raise SandboxError(
                "There is no bubblewrap on this machine. Install it (apt-get install bubblewrap; dnf install "
                "bubblewrap), or use another sandbox."
            )
        return ProcessChannel([program, *self._walls(home), *self.interpreter.argv, *boot_arguments()])

    def new_home(self, episode: int) -> str:  # noqa: ARG002  (each episode has a world of its own)
        return "/work"

    def settings(self) -> dict[str, Any]:
        return {"isolation": "namespaces", "user": _NOBODY, "mounts_proc": True}

    def _walls(self, home: str) -> list[str]:
        walls = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
        if os.geteuid() == 0:
            # The guest leaves root for nobody itself: the limit on processes does not hold for root. It mounts /proc
            # itself as well, as bubblewrap covers parts of root's, and then no run could mount one of its own.
            walls += ["--cap-drop", "ALL"]
            for capability in ("CAP_SETUID", "CAP_SETGID", "CAP_SYS_ADMIN", "CAP_CHOWN"):
                walls += ["--cap-add", capability]
        else:
            walls.append("--unshare-user")
        walls += ["--hostname", "sandbox"]
        for path in _SYSTEM:
            if os.path.islink(path):
                walls += ["--symlink", os.readlink(path), path]
            elif os.path.isdir(path):
                walls += ["--ro-bind", path, path]
        walls += ["--perms", "0755", "--dir", "/etc"]  # else the guest, who is not root, finds no awk in it
        walls += ["--ro-bind-try", "/etc/alternatives", "/etc/alternatives"]
        walls += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
        for path in (*self.interpreter.folders, *self.read_only):
            for above in reversed(PurePath(path).parents[:-1]):  # else they get the host's mode: /root is closed
                walls += ["--perms", "0755", "--dir", str(above)]
            walls += ["--ro-bind", path, path]
        walls += ["--dir", "/proc"] if os.geteuid() == 0 else ["--proc", "/proc"]
        if home:
            walls += ["--size", str(self.home_mib << 20), "--tmpfs", home]
        walls += ["--dev", "/dev", "--tmpfs", "/tmp", "--remount-ro", "/dev", "--remount-ro", "/"]
        return [*walls, "--chdir", "/", "--"]
