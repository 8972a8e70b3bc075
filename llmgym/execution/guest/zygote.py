"""The process that a worker is: warm, single-threaded, and forked for each run."""

from __future__ import annotations

import gc
import importlib
import os
import sys
import traceback
from typing import Any

from . import kernel
from .codec import decode, encode
from .pipes import HEADER, read_exactly, read_frame, write_frame
from .supervisor import NOT_CLEAN, supervise


def main() -> None:
    """Serve requests from descriptor 0 until it ends. The first frame holds the settings."""
    settings: dict[str, Any] = decode(read_frame(0, 1 << 20))
    sys.path[:] = [path for path in sys.path if path]
    os.umask(0o022)
    if settings.get("owns_scratch"):
        os.chmod(settings["scratch"], 0o711)  # only the folders that runs are given are theirs
    if settings.get("user") and os.getuid() == 0:
        if settings.get("mounts_proc"):
            kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
        os.setgroups([])
        os.setresgid(*[settings["user"]] * 3)
        os.setresuid(*[settings["user"]] * 3)
    kernel.adopt_orphans()
    kernel.hide_memory()
    for name in settings["preload"]:
        try:
            importlib.import_module(name)
        except ImportError:
            pass  # a small Python: programs that need it will say so
    gc.collect()
    gc.freeze()
    write_frame(1, encode({"pid": os.getpid(), "python": sys.version.split()[0]}))
    while True:
        try:
            program_size, tester_size = HEADER.unpack(read_exactly(0, HEADER.size))
        except EOFError:
            return
        _serve_one(settings, program_size, tester_size)


def _serve_one(settings: dict[str, Any], program_size: int, tester_size: int) -> None:
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
        os._exit(1)
    if status != 0:
        # How much of the request was read is not known, so this worker can serve no other.
        write_frame(1, encode({"lost": f"the supervisor of a run ended with wait status {status}"}))
        os._exit(1)
