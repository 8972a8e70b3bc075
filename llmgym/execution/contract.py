"""What is asked of a sandbox, and what comes back.

Nothing that the code under test writes is a verdict: it can only write values and text, and whoever asked compares
them. A failure of the sandbox itself raises `SandboxError`; it is never an outcome.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any

from ..errors import ConfigError
from .limits import Limits


class Status(StrEnum):
    """How a run ended, from what the kernel says of its process."""

    OK = "ok"
    """It ended by itself with exit code 0."""
    FAILED = "failed"
    """It ended by itself with another exit code, as by an uncaught exception."""
    CRASHED = "crashed"
    """A signal ended it."""
    TIMEOUT = "timeout"
    """It used up its wall or CPU seconds."""
    MEMORY = "memory"
    """It used up its memory."""
    OUTPUT = "output"
    """It wrote more than it may."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """A function of the code under test, applied to values. Values are what the codec knows."""

    function: str
    """Its name; a dotted one is an attribute."""
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Request:
    """One run. Exactly one of `source` and `argv` is given."""

    source: str | None = None
    """A Python program for the warm interpreter: run as `__main__`, or imported where there are `calls` or `tests`."""
    argv: Sequence[str] = ()
    """A command, in any language that the sandbox has."""
    calls: Sequence[Call] = ()
    """Functions of `source` to call, in order, in one process."""
    tests: Sequence[str] = ()
    """Python statements that use names of `source`; they run in a second process, which the code under test cannot
    reach, and see its objects through stand-ins."""
    names: Sequence[str] = ()
    """The names of `source` that `tests` use."""
    compares_objects: bool = False
    """True: in `tests`, an object of the code under test may itself say what it equals. Only for tasks about classes,
    and never the last word: it may lie."""
    stdin: bytes = b""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """Files to lay into the working directory first, by relative path."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables beside PATH, HOME, TMPDIR and LANG; nothing is inherited."""
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if (self.source is None) == (not self.argv):
            raise ConfigError("A request has either a Python `source` or an `argv`; give exactly one of them.")
        if self.argv and (self.calls or self.tests):
            raise ConfigError("`calls` and `tests` need a Python `source`; a request with `argv` can have neither.")
        if self.calls and self.tests:
            raise ConfigError("A request has `calls` or `tests`, not both; send two requests.")
        for path in self.files:
            parts = PurePosixPath(path).parts
            if not parts or path.startswith("/") or ".." in parts or "\0" in path:
                raise ConfigError(f"The file path {path!r} must be relative and stay in the working directory.")

    def to_guest(self) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """What the code under test gets, and what its tester gets, which the former never sees."""
        program: dict[str, Any] = {
            "source": self.source,
            "argv": list(self.argv),
            "calls": [[call.function, list(call.args), dict(call.kwargs)] for call in self.calls],
            "is_served": bool(self.tests),
            "files": dict(self.files),
            "env": dict(self.env),
            "limits": self.limits.to_guest(),
        }
        if not self.tests:
            return program, None
        tester = {
            "tests": list(self.tests),
            "names": list(self.names),
            "compares_objects": self.compares_objects,
            "limits": program["limits"],
        }
        return program, tester


@dataclass(frozen=True, kw_only=True)
class Output:
    """What was written to stdout or stderr."""

    data: bytes
    """What was kept: all of it, or the head and the tail."""
    num_bytes: int
    """How much was written."""
    num_head_bytes: int
    """Where the cut is in `data`, if `is_cut`."""

    @property
    def is_cut(self) -> bool:
        return self.num_bytes > len(self.data)

    @property
    def text(self) -> str:
        """As text, with a line that says how much was cut out."""
        if not self.is_cut:
            return self.data.decode("utf-8", "replace")
        head, tail = self.data[: self.num_head_bytes], self.data[self.num_head_bytes :]
        cut = f"\n[... {self.num_bytes - len(self.data)} bytes left out ...]\n"
        return head.decode("utf-8", "replace") + cut + tail.decode("utf-8", "replace")


@dataclass(frozen=True, kw_only=True)
class Value:
    """What one call gave: a claim of the code under test."""

    value: Any = None
    """What it returned, of exact builtin types; an `Opaque` stands for anything else and equals nothing."""
    error: str = ""
    """Name of the exception that it raised, or empty. One of Python's own, or "Exception"."""
    message: str = ""
    """What the exception said, cut short."""


@dataclass(frozen=True, kw_only=True)
class StatementEnd:
    """How one statement of `Request.tests` ended, as the tester saw it."""

    is_passed: bool
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one run did."""

    status: Status
    exit_code: int | None
    """Of the main process, where it ended by itself."""
    signal: int | None
    """The signal that ended it, where one did."""
    stdout: Output
    stderr: Output
    values: tuple[Value, ...] = ()
    """One for each call that was answered, in order: fewer than `Request.calls` where the run ended early."""
    statement_ends: tuple[StatementEnd, ...] = ()
    """One for each statement of `Request.tests` that ended."""
    protocol_error: str = ""
    """Set where values were not well formed; then there are none."""
    wall_s: float
    cpu_s: float
    """CPU seconds of the main process and of its children that it waited for."""
    max_memory_mib: float
    """Largest resident memory of the main process."""
    level: str
    """The sandbox's level, such as "bwrap"."""
