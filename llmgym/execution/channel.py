"""The byte stream between a worker's owner and its guest program, and the process behind it."""

from __future__ import annotations

import math
import os
import select
import signal
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from ..errors import SandboxError

_ORDERLY_END_S = 10.0
"""A guest that is killed before it is done leaves what ran away from it, so it has time on a busy machine, too."""


class WorkerLost(Exception):
    """The guest is gone, or did not answer in time."""


class Channel(ABC):
    """A guest and the stream to it. Used by one thread at a time, except for `kill`.

    A guest ends when its stream ends, and takes everything with it that it started.
    """

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._stream.setblocking(False)
        self._kill_lock = threading.Lock()
        self.is_killed = False

    @abstractmethod
    def _end(self) -> None:
        """Wait a little for the guest's own end, then kill it."""

    def begin(self, about: dict[str, Any]) -> None:  # noqa: B027  (most have nothing to do)
        """Called once, with what the guest said of itself when it was ready."""

    def complaint(self) -> str:
        """What the guest, or what started it, said of its failure."""
        return ""

    def is_alive(self) -> bool:
        """False where it died while it was idle: an idle guest has nothing to say."""
        return not self.is_killed and not self._is_ready(select.POLLIN, time.monotonic())

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of `data`. Raises `WorkerLost`."""
        rest = memoryview(data)
        try:
            while rest:
                if not self._is_ready(select.POLLOUT, deadline):
                    raise WorkerLost("it took no request in time")
                rest = rest[self._stream.send(rest) :]
        except OSError as error:
            raise WorkerLost(f"its stream broke: {error}") from error

    def receive(self, size: int, deadline: float) -> bytes:
        """Exactly `size` bytes. Raises `WorkerLost`."""
        data = bytearray()
        while len(data) < size:
            part = self.receive_some(size - len(data), deadline)
            if not part:
                raise WorkerLost("it ended")
            data += part
        return bytes(data)

    def receive_some(self, size: int, deadline: float) -> bytes:
        """At most `size` bytes; none at the end of the stream. Raises `WorkerLost`."""
        if not self._is_ready(select.POLLIN, deadline):
            raise WorkerLost("it gave no answer in time")
        try:
            return self._stream.recv(min(size, 1 << 20))
        except OSError as error:
            raise WorkerLost(f"its stream broke: {error}") from error

    def kill(self) -> None:
        """End the guest and all it started. Any thread may; a call under way then raises `WorkerLost`."""
        with self._kill_lock:
            if not self.is_killed:
                self.is_killed = True
                with suppress(OSError):
                    self._stream.shutdown(socket.SHUT_RDWR)
                self._end()

    def dispose(self) -> None:
        """Kill, and close the stream: only where no thread uses it, as its number may be taken at once."""
        self.kill()
        self._stream.close()

    def abandon(self) -> None:
        """Let go of a guest that belongs to the parent process."""
        self.is_killed = True
        self._stream.close()

    def _is_ready(self, event: int, deadline: float) -> bool:
        poll = select.poll()
        poll.register(self._stream, event)
        remaining_s = max(0.0, deadline - time.monotonic())
        return bool(poll.poll(math.ceil(remaining_s * 1000)))


class ProcessChannel(Channel):
    """A guest that is a child of this process."""

    def __init__(self, argv: Sequence[str], *, cwd: str = "/") -> None:
        ours, theirs = socket.socketpair()
        super().__init__(ours)
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE,
                cwd=cwd,
                env={"PATH": os.defpath, "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"},
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise SandboxError(f"A sandbox's process could not be started: {error}.") from error
        finally:
            theirs.close()

    def complaint(self) -> str:
        """What was written to stderr."""
        assert self._process.stderr is not None
        with suppress(OSError, ValueError):
            os.set_blocking(self._process.stderr.fileno(), False)
            return (os.read(self._process.stderr.fileno(), 4000) or b"").decode("utf-8", "replace").strip()
        return ""

    def dispose(self) -> None:
        super().dispose()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def abandon(self) -> None:
        super().abandon()
        self._process.returncode = 0

    def _end(self) -> None:
        try:
            self._process.wait(_ORDERLY_END_S)
        except subprocess.TimeoutExpired:
            # Not reaped yet, so the group's number cannot belong to anybody else.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
