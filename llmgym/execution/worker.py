"""One worker: a guest program, and the requests sent to it one after another."""

from __future__ import annotations

import time
from typing import Any

from ..errors import SandboxError
from .backend import PRELOAD, Backend
from .bundle import guest_program
from .channel import WorkerLost
from .contract import Outcome, Output, Request, StatementEnd, Status, Value
from .guest.codec import CodecError, decode, encode
from .guest.pipes import HEADER, LENGTH, split_frames

_START_S = 30.0
_GRACE_S = 3.0
"""The guest itself ends a run in time; one that has not answered so long after is lost."""


class Worker:
    """A started guest. Used by one thread at a time, except for `kill`."""

    def __init__(self, backend: Backend, *, home: str = "") -> None:
        self.level = backend.level
        self.num_runs = 0
        self.channel = backend.start(home=home)
        deadline = time.monotonic() + _START_S
        program = guest_program()
        settings = encode({"preload": list(PRELOAD), "home": home, **backend.settings()})
        try:
            self.channel.send(LENGTH.pack(len(program)) + program + LENGTH.pack(len(settings)) + settings, deadline)
            self.about = self._receive(deadline, 1 << 16)
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
        program, tester = request.to_guest()
        program.update(extra)
        limits = request.limits
        program_data = encode(program, max_bytes=1 << 30)
        tester_data = b"" if tester is None else encode(tester, max_bytes=1 << 30)
        deadline = time.monotonic() + limits.wall_s + _GRACE_S
        largest = 2 * limits.output_bytes + 2 * limits.value_bytes + (1 << 17)
        try:
            self.channel.send(HEADER.pack(len(program_data), len(tester_data)) + program_data + tester_data, deadline)
            reply = self._receive(deadline, largest)
        except BaseException:  # also an interrupt: a reply left in the stream would be the next request's
            self.channel.kill()
            raise
        if "lost" in reply:
            said = self.channel.complaint()
            raise SandboxError(f"A {self.level!r} sandbox failed in a run: {reply['lost']}. {said}".rstrip())
        return _outcome(reply, self.level)

    def _receive(self, deadline: float, largest: int) -> dict[str, Any]:
        (size,) = LENGTH.unpack(self.channel.receive(LENGTH.size, deadline))
        if size > largest:
            raise WorkerLost(f"it announced an answer of {size} bytes")
        try:
            reply = decode(self.channel.receive(size, deadline))
        except CodecError as error:
            raise WorkerLost(f"its answer is not well formed: {error}") from error
        assert isinstance(reply, dict)
        return reply


def _outcome(reply: dict[str, Any], level: str) -> Outcome:
    status = Status(reply["status"])
    values, protocol_error = _values(reply["values"][0], was_cut=status is not Status.OK)
    ends: tuple[StatementEnd, ...] = ()
    if "tests" in reply:
        ends = tuple(_statement_end(decode(frame)) for frame in split_frames(reply["tests"][0])[0])
    stdout, stderr = (
        Output(data=data, num_bytes=count, num_head_bytes=head)
        for data, count, head in (reply["stdout"], reply["stderr"])
    )
    return Outcome(
        status=status,
        exit_code=reply["exit_code"],
        signal=reply["signal"],
        stdout=stdout,
        stderr=stderr,
        values=values,
        statement_ends=ends,
        protocol_error=protocol_error,
        wall_s=reply["wall_s"],
        cpu_s=reply["cpu_s"],
        max_memory_mib=reply["max_memory_kib"] / 1024,
        level=level,
    )


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
