"""The process that slow checks run in: it reads calls from its parent and answers them.

Run by path and made of the standard library alone, so that neither the parent's `__main__` nor llmgym itself is
imported before a call asks for it. Calls and replies are JSON: a reply can carry values, never code.
"""

import ctypes
import json
import os
import resource
import signal
import struct
import sys
from importlib import import_module
from typing import Any

HEADER = struct.Struct(">I")
"""Length of the JSON text that follows it, in bytes."""
_PR_SET_PDEATHSIG = 1


def pack(value: Any) -> bytes:
    """One frame: the header and the JSON text. Raises TypeError or ValueError for what JSON cannot say."""
    body = json.dumps(value).encode("ascii")
    return HEADER.pack(len(body)) + body


def main() -> None:
    """Serve calls until the parent closes the pipe or dies."""
    settings = json.loads(sys.argv[1])
    _die_with_parent(settings["parent_pid"])
    requests, replies = _take_pipes()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    memory = settings["memory_mib"] * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    sys.path[:] = settings["path"]
    while (call := _read_call(requests)) is not None:
        _answer(call, replies)


def _answer(call: dict[str, Any], replies: int) -> None:
    module, _, name = call["function"].partition(":")
    try:
        function = getattr(import_module(module), name)
    except Exception as error:  # any import can raise anything; all of it is the caller's to hear
        _write(replies, pack({"status": "unusable", "error": _text_of(error)}))
        return
    _write(replies, pack({"status": "started"}))
    try:
        # The kernel counts this process's CPU time and ends it with SIGPROF, also in the middle of one long C call.
        signal.setitimer(signal.ITIMER_PROF, call["timeout_s"])
        try:
            value = function(*call["args"])
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        reply = pack({"status": "returned", "value": value})
    except MemoryError:
        reply = pack({"status": "out of memory"})
    except BaseException as error:  # whatever the function raises, SystemExit too, is the answer to the call
        reply = pack({"status": "raised", "error": _text_of(error)})
    _write(replies, reply)


def _text_of(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:2000]


def _take_pipes() -> tuple[int, int]:
    """The two pipes under numbers of their own, so that nothing a function reads or prints touches them."""
    requests, replies = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    return requests, replies


def _read_call(requests: int) -> dict[str, Any] | None:
    header = _read(requests, HEADER.size)
    if header is None:
        return None
    body = _read(requests, HEADER.unpack(header)[0])
    return None if body is None else json.loads(body)


def _read(pipe: int, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        chunk = os.read(pipe, size - len(data))
        if not chunk:
            return None
        data += chunk
    return bytes(data)


def _write(pipe: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(pipe, rest) :]


def _die_with_parent(parent_pid: int) -> None:
    def exit_if_orphaned(*_: object) -> None:
        if os.getppid() != parent_pid:
            os._exit(0)

    # The parent may have ignored or blocked these, and a child inherits that.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    # Linux sends the signal when the THREAD that started this process ends, which says nothing about the parent;
    # so the signal is handled, not deadly.
    signal.signal(signal.SIGUSR1, exit_if_orphaned)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF, signal.SIGUSR1})
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGUSR1), 0, 0, 0)
    exit_if_orphaned()


if __name__ == "__main__":
    main()
