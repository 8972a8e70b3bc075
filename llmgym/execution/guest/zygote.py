"""The process that a worker is: warm, single-threaded, and forked for each run."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import time
import traceback
from typing import Any

from . import kernel
from .codec import decode, encode
from .confine import empty_folder
from .pipes import HEADER, read_exactly, read_frame, write_frame
from .supervisor import NOT_CLEAN, supervise


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
    gc.collect()
    gc.freeze()
    write_frame(1, encode({"pid": os.getpid(), "python": sys.version.split()[0]}))
    while True:
        try:
            program_size, tester_size = HEADER.unpack(read_exactly(0, HEADER.size))
        except EOFError:
            break
        if not _serve_one(settings, program_size, tester_size):
            break
    if settings.get("scratch"):
        _remove_scratch_of_the_dead(settings["scratch"], settings["home"], owner)


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
    for _ in range(20):
        if os.getppid() != owner:
            try:
                if home:
                    empty_folder(home)
                    os.rmdir(home)
                os.rmdir(scratch)
            except OSError:
                pass
            return
        time.sleep(0.01)


def _serve_one(settings: dict[str, Any], program_size: int, tester_size: int) -> bool:
    """Serve a request by a supervisor of its own. Returns whether this worker can serve another."""
    supervisor = os.fork()
    if supervisor == 0:
        code = 1
        try:
            supervise(settings, program_size, tester_size)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(supervisor, 0)
    kernel.kill_children()
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) == NOT_CLEAN:
        return False
    if status != 0:
        # How much of the request was read is not known, so this worker can serve no other.
        write_frame(1, encode({"lost": f"the supervisor of a run ended with wait status {status}"}))
        return False
    return True
