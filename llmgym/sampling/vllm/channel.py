"""Frames of pickled values between the sampler and the process that vLLM runs in, and the end of that process.

Both ends are llmgym's own, so that pickle is safe here.
"""

import os
import pickle
import signal
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

_HEADER = struct.Struct(">Q")
"""Bytes of the frame that follows."""


def frame(value: Any) -> bytes:
    """A value as it is sent."""
    body = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    return _HEADER.pack(len(body)) + body


class Frames:
    """Values from bytes that come in pieces."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """The values that are complete now."""
        self._bytes += data
        while len(self._bytes) >= _HEADER.size:
            end = _HEADER.size + _HEADER.unpack_from(self._bytes)[0]
            if len(self._bytes) < end:
                return
            body = bytes(self._bytes[_HEADER.size : end])
            del self._bytes[:end]
            yield pickle.loads(body)


def members(group: int) -> list[int]:
    """The processes of a process group that still run, but those that clean up behind the others."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError):  # it ended in the meantime
            state, _, its_group = entry.joinpath("stat").read_text().rpartition(")")[2].split()[:3]
            # Python's resource tracker removes the shared memory of the dead, and then ends by itself.
            is_cleaner = b"resource_tracker" in entry.joinpath("cmdline").read_bytes()
            if int(its_group) == group and state != "Z" and not is_cleaner:
                found.append(int(entry.name))
    return found


def kill_group(group: int, *, last: int | None = None, timeout_s: float = 10.0) -> None:
    """Kill the processes of a group and wait until they are gone; `last`, which may be the caller, is left alive."""
    deadline = time.monotonic() + timeout_s
    while (left := [process for process in members(group) if process != last]) and time.monotonic() < deadline:
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.01)
