"""The process that a worker is: warm, single-threaded, and forked for each run."""

from __future__ import annotations

import gc
import importlib
import os
import sys
from typing import Any

from . import kernel
from .child import make_ready
from .codec import decode, encode
from .confine import Confinement, confinement_of, empty_folder
from .pipes import HEADER, read_exactly, read_frame, write_frame
from .run import GuestFailure, OwnerGone, Run, report_lost

_PF_EXITING = 0x4


def main() -> None:
    """Serve requests from descriptor 0 until it ends. The first frame holds the settings."""
    owner = os.getppid()
    settings: dict[str, Any] = decode(read_frame(0, 1 << 20))
    sys.path[:] = [path for path in sys.path if path]
    os.umask(0o022)
    if settings.get("owns_scratch"):
        os.chmod(settings["scratch"], 0o711)  # only the folders that runs are given are theirs
    if settings.get("user") and os.getuid() == 0:
        if settings.get("mounts_proc"):
            kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
        if settings["home"]:
            os.chown(settings["home"], settings["user"], settings["user"])
        os.setgroups([])
        os.setresgid(*[settings["user"]] * 3)
        os.setresuid(*[settings["user"]] * 3)
    kernel.adopt_orphans()
    kernel.hide_memory()
    _preload(settings["preload"])
    confinement = confinement_of(settings)
    make_ready(confinement.directory)
    gc.collect()
    gc.freeze()
    gc.disable()  # the child enables it again, for the program
    shortcut = _connect(settings.get("shortcut", ""))
    about = {"pid": os.getpid(), "python": sys.version.split()[0], "has_shortcut": shortcut is not None}
    write_frame(1, encode(about))
    if shortcut is not None:
        os.dup2(shortcut, 0)
        os.dup2(shortcut, 1)
        os.close(shortcut)
    while _serve_one(confinement):
        pass
    if settings.get("scratch"):
        _remove_scratch_of_the_dead(settings["scratch"], settings["home"], owner)


def _connect(path: str) -> int | None:
    """A descriptor of the host's socket, where it is there and answers."""
    if not path:
        return None
    try:
        import _socket  # without what the module socket adds, which every run would copy

        connection = _socket.socket(_socket.AF_UNIX)
        connection.connect(path)
        return int(connection.detach())
    except (ImportError, OSError):
        return None


def _preload(names: list[str]) -> None:
    """Import modules that programs use; `random` without its seeding at each fork, which the child does for less."""
    register, os.register_at_fork = os.register_at_fork, lambda **_: None
    try:
        for name in names:
            try:
                importlib.import_module(name)
            except ImportError:
                pass  # a small Python: programs that need it will say so
    finally:
        os.register_at_fork = register


def _remove_scratch_of_the_dead(scratch: str, home: str, owner: int) -> None:
    """Where the owner was killed nobody else does: it is empty now, or has other guests, the last of which does it."""
    if not _is_ending(owner) and os.getppid() == owner:
        return
    try:
        if home:
            empty_folder(home)
            os.rmdir(home)
        os.rmdir(scratch)
    except OSError:
        pass


def _is_ending(pid: int) -> bool:
    """Whether a process has begun to end. The kernel notes that before it closes its descriptors."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            flags = int(file.read().rpartition(b")")[2].split()[6])
    except OSError:
        return False  # it is gone, and its children have another parent
    return bool(flags & _PF_EXITING)


def _serve_one(confinement: Confinement) -> bool:
    """Serve a request. Returns whether this worker can serve another."""
    try:
        header = HEADER.unpack(read_exactly(0, HEADER.size))
    except EOFError:
        return False
    try:
        Run(confinement, header).execute()
    except (GuestFailure, OSError) as error:
        report_lost(error)
        is_of_use = False
    except (OwnerGone, EOFError):
        is_of_use = False
    else:
        is_of_use = True
    return confinement.clean() and is_of_use
