"""A sandbox for one episode: commands and Python cells one after another, in a directory that lives as long."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any
from weakref import WeakSet

from ..errors import SandboxError
from .backend import Backend
from .channel import WorkerLost
from .contract import Outcome, Request, Status
from .limits import Limits
from .worker import Worker

_COPY_LIMITS = Limits(
    wall_s=120, cpu_s=120, file_mib=1024, output_bytes=1 << 30, max_output_bytes=1 << 30, memory_mib=512
)
_PACK = """
import sys; sys.path.pop(0)
import tarfile
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive: archive.add(".")
"""
_UNPACK = """
import sys; sys.path.pop(0)
import tarfile
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as archive: archive.extractall(".")
"""
_READ = """
import sys
with open({path!r}, "rb") as file: sys.stdout.buffer.write(file.read())
"""


class Session:
    """A working directory, and what runs in it, each time as a new process with limits of its own.

    Files stay from run to run; so do the names of Python cells, as `guest/cells.py` says. Background processes end
    with their command. Used by one thread at a time; `close` may come from any.

    Args:
        backend: how its worker is started.
        family: where this session and its forks are found by who closes them all.
        limits: of each run that names no others.
    """

    def __init__(self, backend: Backend, family: WeakSet[Session], *, limits: Limits | None = None) -> None:
        self._backend, self._family, self.limits = backend, family, limits or Limits()
        self._episode = int.from_bytes(os.urandom(4), "big")
        self._home = backend.new_home(self._episode)
        self._worker = Worker(backend, home=self._home, episode=self._episode)
        self._pid = os.getpid()
        self._in_use = threading.RLock()
        self._end = weakref.finalize(self, _end, self._worker, backend, self._home, self._pid)
        family.add(self)

    def command(
        self, text: str, *, limits: Limits | None = None, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> Outcome:
        """Run `text` as a shell command: by bash where there is one, else by sh.

        Raises:
            SandboxError: the sandbox failed; the session is then of no more use.
        """
        shell = 'command -v bash >/dev/null && exec bash -c "$1" bash; exec sh -c "$1" sh'
        argv = ("/bin/sh", "-c", shell, "sh", text)
        return self.run(Request(argv=argv, stdin=stdin, env=env or {}, limits=limits or self.limits))

    def cell(self, source: str, *, limits: Limits | None = None) -> Outcome:
        """Run Python that knows the names of earlier cells; the value of a last expression is printed.

        Raises:
            SandboxError: as `command`.
        """
        return self.run(Request(source=source, limits=limits or self.limits), is_cell=True)

    def run(self, request: Request, *, is_cell: bool = False) -> Outcome:
        """Do any run in the working directory.

        Raises:
            SandboxError: as `command`.
        """
        if not self._end.alive:
            raise SandboxError("This session is closed. Open a new one.")
        try:
            with self._in_use:
                return self._worker.run(request, home=self._home, is_cell=is_cell)
        except WorkerLost as error:
            self.close()
            raise SandboxError(f"The sandbox of an episode was lost: {error}.") from error

    async def acommand(self, text: str, **settings: Any) -> Outcome:
        """`command` for asyncio. A cancelled call ends the session."""
        return await self._in_thread(lambda: self.command(text, **settings))

    async def acell(self, source: str, **settings: Any) -> Outcome:
        """`cell` for asyncio. A cancelled call ends the session."""
        return await self._in_thread(lambda: self.cell(source, **settings))

    def write_files(self, files: Mapping[str, bytes]) -> None:
        """Lay files into the working directory, by relative path.

        Raises:
            SandboxError: they cannot be written, for want of room or because a folder has the name.
        """
        self._must(self.run(Request(argv=["true"], files=files)), "Files could not be written")

    def read_file(self, path: str, *, max_bytes: int = 1 << 22) -> bytes:
        """The content of a file of the working directory, at most `max_bytes`.

        Raises:
            FileNotFoundError: it cannot be read, or is longer.
        """
        limits = Limits(output_bytes=max_bytes, max_output_bytes=max_bytes)
        source = f"import sys; sys.path.pop(0)\n{_READ.format(path=path)}"
        outcome = self.run(Request(source=source, limits=limits))
        if outcome.status is not Status.OK:
            raise FileNotFoundError(f"{path}: {outcome.stderr.text.strip().rpartition(chr(10))[2] or outcome.status}")
        return outcome.stdout.data

    def fork(self) -> Session:
        """A second session with a copy of all files and of the names of cells; the two know nothing of each other.

        Raises:
            SandboxError: the copy failed.
        """
        packed = self.run(Request(source=_PACK, limits=_COPY_LIMITS))
        self._must(packed, "An episode could not be copied")
        copy = Session(self._backend, self._family, limits=self.limits)
        try:
            self._must(
                copy.run(Request(source=_UNPACK, stdin=packed.stdout.data, limits=_COPY_LIMITS)),
                "An episode could not be copied",
            )
        except BaseException:
            copy.close()
            raise
        return copy

    def close(self) -> None:
        """End it, with its files. Calling it twice is harmless."""
        self._end()
        if os.getpid() == self._pid:
            with self._in_use:  # a run under way ends at once, as its guest is gone
                self._worker.channel.dispose()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def _in_thread(self, work: Any) -> Outcome:
        with ThreadPoolExecutor(1) as threads:
            future = asyncio.wrap_future(threads.submit(work))
            try:
                outcome: Outcome = await future
            except asyncio.CancelledError:
                self.close()
                raise
            return outcome

    def _must(self, outcome: Outcome, what: str) -> None:
        if outcome.status is not Status.OK:
            raise SandboxError(f"{what}: {outcome.status}: {outcome.stderr.text.strip()[-300:]}")


def _end(worker: Worker, backend: Backend, home: str, pid: int) -> None:
    if os.getpid() == pid:  # in a forked child it is the parent's
        worker.channel.kill()
        backend.remove_home(home)
