"""One worker: a guest program, and the requests sent to it one after another."""

from __future__ import annotations

import marshal
import signal
import time
from typing import Any

from ..errors import SandboxError
from .backend import PRELOAD, Backend
from .bundle import guest_program
from .channel import WorkerLost
from .contract import Outcome, Output, Request, StatementEnd, Status, Value
from .guest.codec import decode, encode
from .guest.pipes import HEADER, LENGTH, LOST, PART, REPLY, VERDICTS, split_frames
from .limits import Limits

_START_S = 120.0
_GRACE_S = 30.0
"""The guest itself ends a run in time; one that has not answered so long after is lost."""


class Worker:
    """A started guest. Used by one thread at a time, except for `kill`."""

    def __init__(self, backend: Backend, *, home: str = "", episode: int = 0) -> None:
        self.level = backend.level
        self.num_runs = 0
        self.channel = backend.start(home=home)
        deadline = time.monotonic() + _START_S
        program = guest_program()
        settings = encode({"preload": list(PRELOAD), "home": home, "episode": episode, **backend.settings()})
        try:
            self.channel.send(LENGTH.pack(len(program)) + program + LENGTH.pack(len(settings)) + settings, deadline)
            self.about: dict[str, Any] = decode(self._receive(deadline, 1 << 16))
            self.channel.begin(self.about)
        except WorkerLost as error:
            self.channel.kill()
            said = self.channel.complaint()
            self.channel.dispose()
            raise SandboxError(f"A {self.level!r} sandbox did not start: {error}. {said}".rstrip()) from error

    def run(self, request: Request, **extra: Any) -> Outcome:
        """Do one run.

        Args:
            request: what to run.
            extra: what an episode adds: its number and home, and whether this is a cell.

        Raises:
            WorkerLost: this worker is of no more use, and nothing is known of the run.
            SandboxError: the walls could not be put up for this run.
        """
        self.num_runs += 1
        program, tests = request.to_guest()
        program.update(extra)
        limits = request.limits
        tests_data = b"" if tests is None else _encode_request(tests)
        program_data = _encode_request(program)
        header = HEADER.pack(
            *(len(tests_data), len(program_data), len(request.stdin)),
            *(limits.wall_s, int(limits.memory_mib * (1 << 20)), int(limits.output_bytes)),
            *(int(limits.max_output_bytes), int(limits.value_bytes)),
        )
        deadline = time.monotonic() + limits.wall_s + _GRACE_S
        largest = 2 * limits.output_bytes + 2 * limits.value_bytes + (1 << 17)
        try:
            self.channel.send(b"".join((header, tests_data, program_data, request.stdin)), deadline)
            reply = self._receive(deadline, largest)
        except BaseException:  # also an interrupt: a reply left in the stream would be the next request's
            self.channel.kill()
            raise
        if reply[:1] == LOST:
            said = self.channel.complaint()
            why = reply[1:].decode("utf-8", "replace")
            raise SandboxError(f"A {self.level!r} sandbox failed in a run: {why}. {said}".rstrip())
        return _outcome(reply, limits, self.level)

    def _receive(self, deadline: float, largest: int) -> bytes:
        (size,) = LENGTH.unpack(self.channel.receive(LENGTH.size, deadline))
        if size > largest:
            raise WorkerLost(f"it announced an answer of {size} bytes")
        return self.channel.receive(size, deadline)


def _encode_request(request: dict[str, Any]) -> bytes:
    """For the guest, which trusts it: by marshal's oldest form, which every Python reads, where that can."""
    try:
        return b"m" + marshal.dumps(request, 2)
    except ValueError:
        return b"c" + encode(request, max_bytes=1 << 30)


def _outcome(reply: bytes, limits: Limits, level: str) -> Outcome:
    why, has_tests, wall_s, cpu_s, max_memory_kib, exit_code, number = REPLY.unpack_from(reply, 1)
    position = 1 + REPLY.size
    num_parts = 4 if has_tests else 3
    start = position + num_parts * PART.size
    parts = []
    for index in range(num_parts):
        num_bytes, num_head_bytes, size = PART.unpack_from(reply, position + index * PART.size)
        parts.append(Output(data=reply[start : start + size], num_bytes=num_bytes, num_head_bytes=num_head_bytes))
        start += size
    stdout, stderr, claims, *verdicts = parts
    status = Status(VERDICTS[why] or _status(exit_code, number, cpu_s, stderr.data, limits))
    values, protocol_error = _values(claims.data, was_cut=status is not Status.OK)
    ends: tuple[StatementEnd, ...] = ()
    if verdicts:
        ends = tuple(_statement_end(decode(frame)) for frame in split_frames(verdicts[0].data)[0])
    return Outcome(
        status=status,
        exit_code=exit_code if exit_code >= 0 else None,
        signal=number if number >= 0 else None,
        stdout=stdout,
        stderr=stderr,
        values=values,
        statement_ends=ends,
        protocol_error=protocol_error,
        wall_s=wall_s,
        cpu_s=cpu_s,
        max_memory_mib=max_memory_kib / 1024,
        level=level,
    )


def _status(exit_code: int, number: int, cpu_s: float, stderr: bytes, limits: Limits) -> str:
    """Of a run that ended by itself: its exit code or its signal is at least 0."""
    if exit_code == 0:
        return "ok"
    if number == signal.SIGXCPU or (number == signal.SIGKILL and cpu_s >= limits.cpu_s):
        return "timeout"
    if exit_code == 1 and stderr.rstrip().endswith(b"\nMemoryError"):
        return "memory"
    return "failed" if exit_code > 0 else "crashed"


def _values(data: bytes, *, was_cut: bool) -> tuple[tuple[Value, ...], str]:
    """The values that the code under test claims, or what is wrong with how it claims them."""
    frames, rest = split_frames(data)
    if rest and not was_cut:
        return (), f"{len(rest)} bytes after the last frame"
    values = []
    try:
        for frame in frames:
            answer = decode(frame)
            kinds = [type(part) for part in answer] if type(answer) is list else []
            if len(kinds) == 2 and answer[0] == "value":
                values.append(Value(value=answer[1]))
            elif kinds == [str, str, str] and answer[0] in ("error", "import error"):
                values.append(Value(error=answer[1] or "Exception", message=answer[2]))
            else:
                return (), "a frame is no answer"
    except ValueError as error:
        return (), str(error)
    return tuple(values), ""


def _statement_end(end: Any) -> StatementEnd:
    if end[0] == "tester failed":
        raise SandboxError(f"The tests could not be run: {end[1]}.")
    return StatementEnd(is_passed=end[0], reason=end[1])
