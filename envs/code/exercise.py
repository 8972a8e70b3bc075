"""One programming task, ready to be put and to be graded."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from llmgym.execution import Call, DataCase, DataTests, InProcessTests, Limits, RpcTests, StdioTests

from .problem import Problem

Tests = DataTests | RpcTests | StdioTests | InProcessTests

_FUTURE_IMPORT = re.compile(r"^from __future__ import .*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """What the policy is told, and what its program must pass."""

    text: str
    """The problem."""
    visible: Tests | None = None
    """Tests that the policy may see, and whose failures it is told where it may answer again."""
    shown: Sequence[str] = ()
    """The visible tests as the policy reads them."""
    hidden: Tests
    """Tests that it never sees."""
    preamble: str = ""
    """Source that is put before the program: imports and helpers that the problem gives."""
    solution: str | None = None
    """A program that passes, without the preamble."""

    def within(self, limits: Limits) -> "Exercise":
        """The same with these limits for each run."""
        visible = replace(self.visible, limits=limits) if self.visible is not None else None
        return replace(self, visible=visible, hidden=replace(self.hidden, limits=limits))

    def program(self, code: str) -> str:
        """What is run for a policy's code: the preamble, and the code."""
        if not self.preamble:
            return code
        # Python takes imports from the future in front of all else alone.
        return "\n".join([*_FUTURE_IMPORT.findall(code), self.preamble, _FUTURE_IMPORT.sub("", code)])


def fresh_exercise(problem: Problem, rng: Random, *, num_visible: int, num_hidden: int) -> Exercise:
    """A built-in problem with tests that nobody has seen."""
    drawn = problem.cases(rng, num_visible + num_hidden)
    num_visible = min(num_visible, len(drawn) - 1)
    cases = [
        DataCase(call=Call(function=problem.name, args=arguments), expected=expected) for arguments, expected in drawn
    ]
    return Exercise(
        text=problem.stub,
        visible=DataTests(cases=cases[:num_visible]) if num_visible else None,
        shown=[
            f"assert {problem.name}({', '.join(map(repr, arguments))}) == {expected!r}"
            for arguments, expected in drawn[:num_visible]
        ],
        hidden=DataTests(cases=cases[num_visible:]),
        solution=problem.solution,
    )
