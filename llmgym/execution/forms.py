"""The four forms of tests, and the verdict on what a program did with them.

    data        calls with literal arguments; values come back and are compared here
    rpc         any Python, run by a tester process that sees values and stand-ins of the program's objects
    stdio       a program per case: text in, text out, compared here
    inprocess   a test command beside the program, which can reach it: its exit code is all there is, and is unsound

A form makes requests for a program's source, and judges their outcomes. `grade` does both.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol

from .asserts import AssertCase, short_repr, split_asserts, split_check
from .contract import Call, Outcome, Request, Status, Value
from .limits import Limits
from .sandbox import Sandbox

_MAX_REASON_CHARS = 500


class VerdictSource(StrEnum):
    """Where it was decided that a test is passed."""

    HOST = "host"
    """Here, on values."""
    TESTER = "tester"
    """In a process that the program cannot reach, on values."""
    IN_PROCESS = "in_process"
    """Beside the program, which could have decided it itself: not sound."""


@dataclass(frozen=True)
class CaseResult:
    """The verdict on one test."""

    is_passed: bool
    reason: str = ""
    """Why it is not passed: one short line without control characters, whatever the program said."""

    def __post_init__(self) -> None:
        line = "".join(char if char.isprintable() else "\ufffd" for char in self.reason[:_MAX_REASON_CHARS])
        object.__setattr__(self, "reason", line)


@dataclass(frozen=True, kw_only=True)
class Grading:
    """The verdicts on one program."""

    results: tuple[CaseResult, ...]
    outcomes: tuple[Outcome, ...]
    verdict_source: VerdictSource

    @property
    def num_passed(self) -> int:
        return sum(result.is_passed for result in self.results)

    @property
    def fraction_passed(self) -> float:
        return self.num_passed / len(self.results)

    @property
    def is_all_passed(self) -> bool:
        return self.num_passed == len(self.results)


class Tests(Protocol):
    """A form of tests with its cases."""

    def requests(self, source: str) -> list[Request]:
        """What to run for a program."""
        ...

    def judge(self, outcomes: Sequence[Outcome]) -> Grading:
        """The verdicts, from the outcomes of these requests in their order."""
        ...


def grade(sandbox: Sandbox, tests: Tests, source: str) -> Grading:
    """Run `source` against `tests`.

    Raises:
        SandboxError: the sandbox failed; there is no verdict.
    """
    requests = tests.requests(source)
    return tests.judge([sandbox.run(requests[0])] if len(requests) == 1 else sandbox.run_many(requests))


def grade_many(sandbox: Sandbox, pairs: Iterable[tuple[Tests, str]]) -> list[Grading]:
    """`grade` for many pairs of tests and source at once, in their order."""
    pairs = list(pairs)
    requests = [tests.requests(source) for tests, source in pairs]
    outcomes = iter(sandbox.run_many(request for of_pair in requests for request in of_pair))
    return [tests.judge([next(outcomes) for _ in of_pair]) for (tests, _), of_pair in zip(pairs, requests, strict=True)]


async def agrade(sandbox: Sandbox, tests: Tests, source: str) -> Grading:
    """`grade` for asyncio; the requests of one program run one after another."""
    return tests.judge([await sandbox.arun(request) for request in tests.requests(source)])


@dataclass(frozen=True, kw_only=True)
class DataCase:
    """One call, and the value or the exception that it must give. Equality is Python's own."""

    call: Call
    expected: Any = None
    raises: str = ""
    """Name of one of Python's exceptions, where the call must raise it or one of its kind."""

    @property
    def calls(self) -> tuple[Call, ...]:
        return (self.call,)

    def judge(self, values: Sequence[Value]) -> str:
        (value,) = values
        if self.raises:
            return "" if _is_kind(value.error, self.raises) else f"{self.call.function} did not raise {self.raises}"
        if value.error:
            return f"{self.call.function} raised {value.error}: {value.message}"
        if value.value == self.expected:
            return ""
        return f"{self.call.function}(...) gave {short_repr(value.value)}, not {short_repr(self.expected)}"


@dataclass(frozen=True, kw_only=True)
class DataTests:
    """Form `data`: only arguments go to the sandbox, only values come back."""

    cases: Sequence[DataCase | AssertCase]
    limits: Limits = field(default_factory=Limits)

    def requests(self, source: str) -> list[Request]:
        calls = [call for case in self.cases for call in case.calls]
        return [Request(source=source, calls=calls, limits=self.limits)]

    def judge(self, outcomes: Sequence[Outcome]) -> Grading:
        (outcome,) = outcomes
        num_calls = sum(len(case.calls) for case in self.cases)
        surplus = "" if len(outcome.values) <= num_calls else "it wrote more values than were asked for"
        results, position = [], 0
        for case in self.cases:
            values = outcome.values[position : position + len(case.calls)]
            position += len(case.calls)
            if fault := outcome.protocol_error or surplus:
                reason = f"its values are not well formed: {fault}"
            elif len(values) < len(case.calls):
                reason = _why_none(outcome)
            else:
                reason = case.judge(values)
            results.append(CaseResult(not reason, reason))
        return Grading(results=tuple(results), outcomes=(outcome,), verdict_source=VerdictSource.HOST)


@dataclass(frozen=True, kw_only=True)
class RpcTests:
    """Form `rpc`: Python statements, in order, in one namespace, which see the program's names as stand-ins.

    A statement that only prepares (import, definition, assignment, bare call) is no test of its own, unless it fails or
    is the last one.
    """

    statements: Sequence[str]
    names: Sequence[str] | None = None
    """The program's names that the statements use; by default those that they use without making them."""
    compares_objects: bool = False
    """See `Request.compares_objects`."""
    limits: Limits = field(default_factory=Limits)

    def requests(self, source: str) -> list[Request]:
        names = names_used(self.statements) if self.names is None else list(self.names)
        return [
            Request(
                source=source,
                tests=self.statements,
                names=names,
                compares_objects=self.compares_objects,
                limits=self.limits,
            )
        ]

    def judge(self, outcomes: Sequence[Outcome]) -> Grading:
        (outcome,) = outcomes
        results = []
        for index, statement in enumerate(self.statements):
            if index < len(outcome.statement_ends):
                end = outcome.statement_ends[index]
                result = CaseResult(end.is_passed, end.reason)
            else:
                result = CaseResult(False, _why_none(outcome))
            is_last = index == len(self.statements) - 1
            if is_last or not result.is_passed or not _only_prepares(statement):
                results.append(result)
        return Grading(results=tuple(results), outcomes=(outcome,), verdict_source=VerdictSource.TESTER)


@dataclass(frozen=True, kw_only=True)
class StdioCase:
    """What a program reads, and what it must write."""

    stdin: str
    stdout: str


@dataclass(frozen=True, kw_only=True)
class StdioTests:
    """Form `stdio`: one process per case with real pipes; its exit code must be 0.

    Lines are compared without white space at their ends, and without empty lines at the end of the text.
    """

    cases: Sequence[StdioCase]
    tolerance: float | None = None
    """Where set, words that are numbers may differ by so much, absolutely or relatively."""
    checker: Callable[[str, str, str], bool] | None = None
    """Where set, called here with stdin, expected stdout and stdout, instead of comparing."""
    limits: Limits = field(default_factory=Limits)
    """Of each case. `output_bytes` is raised to hold the longest expected output."""

    def requests(self, source: str) -> list[Request]:
        longest = max(len(case.stdout.encode("utf-8", "surrogatepass")) for case in self.cases)
        kept = max(self.limits.output_bytes, 2 * longest)
        limits = replace(self.limits, output_bytes=kept, max_output_bytes=max(kept, self.limits.max_output_bytes))
        return [
            Request(source=source, stdin=case.stdin.encode("utf-8", "surrogatepass"), limits=limits)
            for case in self.cases
        ]

    def judge(self, outcomes: Sequence[Outcome]) -> Grading:
        results = []
        for case, outcome in zip(self.cases, outcomes, strict=True):
            reason = self._reason(case, outcome)
            results.append(CaseResult(not reason, reason))
        return Grading(results=tuple(results), outcomes=tuple(outcomes), verdict_source=VerdictSource.HOST)

    def _reason(self, case: StdioCase, outcome: Outcome) -> str:
        if outcome.status is not Status.OK:
            return _why_none(outcome)
        if outcome.stdout.is_cut:
            return f"it wrote {outcome.stdout.num_bytes} bytes"
        written = outcome.stdout.data.decode("utf-8", "replace")
        if self.checker is not None:
            is_right = self.checker(case.stdin, case.stdout, written)
            return "" if is_right else f"it wrote {short_repr(written)}; right is {short_repr(case.stdout)} or its like"
        if _same_lines(written, case.stdout, self.tolerance):
            return ""
        return f"it wrote {short_repr(written)}, not {short_repr(case.stdout)}"


@dataclass(frozen=True, kw_only=True)
class InProcessTests:
    """Form `inprocess`: a test command runs beside the program. A program that means to can pass any of them."""

    argv: Sequence[str]
    files: Mapping[str, bytes]
    """The test files, laid anew over whatever the program brought."""
    source_path: str = "solution.py"
    """Where the program is laid."""
    limits: Limits = field(default_factory=Limits)

    def requests(self, source: str) -> list[Request]:
        files = {self.source_path: source.encode("utf-8", "surrogatepass"), **self.files}
        return [Request(argv=self.argv, files=files, limits=self.limits)]

    def judge(self, outcomes: Sequence[Outcome]) -> Grading:
        (outcome,) = outcomes
        reason = "" if outcome.status is Status.OK else _why_none(outcome)
        results = (CaseResult(not reason, reason),)
        return Grading(results=results, outcomes=(outcome,), verdict_source=VerdictSource.IN_PROCESS)


def form_of_statements(
    statements: Sequence[str],
    *,
    functions: Sequence[str] = (),
    compares_objects: bool = False,
    limits: Limits | None = None,
) -> DataTests | RpcTests:
    """The soundest form that these statements can take: `data` where all are plain asserts, else `rpc`.

    Args:
        statements: Python text, run in order.
        functions: names of the program's own functions; needed for those that Python has as well, such as `sum`.
        compares_objects: see `Request.compares_objects`.
        limits: of the run; the default ones if None.
    """
    limits = limits or Limits()
    cases = split_asserts(statements, renamed={name: name for name in functions})
    if cases is not None:
        return DataTests(cases=cases, limits=limits)
    names = dict.fromkeys([*names_used(statements), *functions])
    return RpcTests(statements=statements, names=list(names), compares_objects=compares_objects, limits=limits)


def form_of_check(source: str, function: str, *, limits: Limits | None = None) -> DataTests | RpcTests:
    """The tests of a `check(candidate)` function, as HumanEval has them, for the program's `function`."""
    limits = limits or Limits()
    cases = split_check(source, function)
    if cases is not None:
        return DataTests(cases=cases, limits=limits)
    return RpcTests(statements=[source, f"check({function})"], limits=limits)


def names_used(statements: Sequence[str]) -> list[str]:
    """Names that the statements read and neither make nor have from Python itself, in order."""
    read: dict[str, None] = {}
    made: set[str] = set()
    for statement in statements:
        try:
            nodes = list(ast.walk(ast.parse(statement)))
        except SyntaxError:
            continue  # its test will fail, with the reason
        for node in nodes:
            if isinstance(node, ast.Name):
                if isinstance(node.ctx, ast.Load):
                    read[node.id] = None
                else:
                    made.add(node.id)
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
                made.add(node.name)
            elif isinstance(node, ast.arg):
                made.add(node.arg)
            elif isinstance(node, ast.alias):
                made.add((node.asname or node.name).partition(".")[0])
            elif isinstance(node, ast.ExceptHandler) and node.name:
                made.add(node.name)
    return [name for name in read if name not in made and not hasattr(builtins, name)]


def _only_prepares(statement: str) -> bool:
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign, ast.Expr)
    try:
        return all(isinstance(node, kinds) for node in ast.parse(statement).body)
    except SyntaxError:
        return False


def _is_kind(name: str, wanted: str) -> bool:
    kind, base = getattr(builtins, name, None), getattr(builtins, wanted, None)
    return isinstance(kind, type) and isinstance(base, type) and issubclass(kind, base)


def _why_none(outcome: Outcome) -> str:
    if outcome.values and outcome.values[-1].error and outcome.status is Status.OK:
        return f"it could not be imported: {outcome.values[-1].error}: {outcome.values[-1].message}"
    match outcome.status:
        case Status.OK:
            return "it ended before it answered"
        case Status.FAILED:
            last = outcome.stderr.text.strip().rpartition("\n")[2]
            return f"it ended with exit code {outcome.exit_code}: {short_repr(last, 200)}"
        case Status.CRASHED:
            return f"signal {outcome.signal} ended it"
        case Status.TIMEOUT:
            return f"it took too long ({outcome.wall_s:.1f} s, {outcome.cpu_s:.1f} s of CPU)"
        case Status.MEMORY:
            return "it used too much memory"
    return "it wrote too much"


def _same_lines(written: str, expected: str, tolerance: float | None) -> bool:
    ours, theirs = ([line.rstrip() for line in text.rstrip().split("\n")] for text in (written, expected))
    if ours == theirs:
        return True
    if tolerance is None or len(ours) != len(theirs):
        return False
    pairs = zip(ours, theirs, strict=True)
    return all(_same_words(mine.split(), other.split(), tolerance) for mine, other in pairs)


def _same_words(written: list[str], expected: list[str], tolerance: float) -> bool:
    if len(written) != len(expected):
        return False
    return all(
        mine == other or _are_close(mine, other, tolerance) for mine, other in zip(written, expected, strict=True)
    )


def _are_close(written: str, expected: str, tolerance: float) -> bool:
    try:
        mine, other = float(written), float(expected)
    except ValueError:
        return False
    return abs(mine - other) <= tolerance * max(1.0, abs(other))
