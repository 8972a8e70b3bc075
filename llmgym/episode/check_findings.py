"""What a rule of `check_env` finds."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .check_plays import Subject


@dataclass(frozen=True)
class Problem:
    """A broken promise: what was given, what was expected, how to mend it."""

    given: str
    expected: str
    mend: str

    def __str__(self) -> str:
        return f"{self.given}\n    expected: {self.expected}\n    to mend: {self.mend}"


@dataclass(frozen=True)
class Note:
    """Something that could not be checked, and why."""

    text: str


Findings = Iterator[Problem | Note]
Rule = Callable[[Subject], Findings]
FEW = 3
"""Tasks that the rules about determinism, views and tokens play."""
