"""Whether a final answer equals the reference answer, and why not.

In this order, and the first that can say decides: equal text, the reading of both sides by the rules of `rules.py`, and
math-verify in a killable worker. Nothing that a policy writes is ever evaluated as a program.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec

from llmgym.extras import require
from llmgym.scoring import WorkStatus, shared_pool

from . import rules, units
from .exact import TooLarge
from .reading import Answer, read
from .tree import Text
from .values import Undecided

_SYMBOLIC_CHECK = "llmgym.envs.math.symbolic:equal"
_MAX_SYMBOLIC_LENGTH = 400
"""Characters of a formula that is sent to a worker."""
_RUNAWAY = re.compile(r"\d{200}|[eE^]\s?\{?\s?[+-]?\d{4}|\^[^+*/,=-]{0,40}\^|!")
"""Numbers that nobody can write out: not for any evaluator, at whatever time limit."""
_UPPER_LIMIT = re.compile(r"(\\(?:sum|prod|int)\s?_(?:\{[^{}]*\}|\w)\s?)\^")
"""The sign before the upper limit of a range, which is no power."""
_SIDE_BY_SIDE = re.compile(r"(?<![\^_\d])\d+\s+\d")
"""Two numbers with a space between them, which math-verify would add up: 1 2 is not 3."""
_LETTERED = re.compile(r"\(?(?P<letter>[A-J])[).:](?P<text>[A-Za-z0-9$\\(].{0,200})", re.DOTALL)
_NAMED_OPTION = re.compile(r"(?:option|choice|answer)\s?\(?(?P<letter>[A-J])\)?", re.IGNORECASE)
_OTHER_LETTER = re.compile(r"\b[A-J]\b")
_BOX = re.compile(r"\\f?box")
_BARE_WORD = re.compile(r"(?<![\\A-Za-z])(?<!n\{)(?<!d\{)[A-Za-z]{4,}")
"""Not the name of a LaTeX command or of an environment after `\\begin{` or `\\end{`."""


class Outcome(StrEnum):
    """How a check ended."""

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no answer"
    REFUSED = "refused"
    """The answer would take more time, memory or digits to evaluate than an answer may."""
    UNUSABLE_REFERENCE = "reference unusable"
    """The reference answer is empty, so nothing can be equal to it."""
    ERROR = "error"
    """The check itself failed: this says nothing about the answer."""


@dataclass(frozen=True)
class Verdict:
    """How a check ended, and why."""

    outcome: Outcome
    detail: str = ""
    extracted: str | None = None
    """The answer that was found in the response."""
    stage: str = "text"
    """What decided: "text", "rules" or "math-verify"."""

    @property
    def is_correct(self) -> bool:
        return self.outcome is Outcome.CORRECT

    @property
    def reason(self) -> str:
        """The outcome with its detail, for people."""
        return f"{self.outcome}: {self.detail}" if self.detail else str(self.outcome)


def compare(answer: str, reference: str, *, timeout_s: float = 4.0) -> Verdict:
    """Compare two bare answers, each in LaTeX, calculator notation or words. It never raises.

    Args:
        answer: the policy's.
        reference: the known right one.
        timeout_s: CPU seconds that math-verify may use; an answer that takes longer is refused.
    """
    try:
        return _compared(answer, reference, timeout_s)
    except Exception as error:  # a bug of ours must neither end a run nor pass for a wrong answer
        return Verdict(Outcome.ERROR, f"{type(error).__name__}: {error}"[:300])


def _compared(answer: str, reference: str, timeout_s: float) -> Verdict:
    if not reference.strip():
        return Verdict(Outcome.UNUSABLE_REFERENCE, "it is empty")
    if not answer.strip():
        return Verdict(Outcome.NO_ANSWER, "it is empty")
    if len(answer) > 4 * len(reference) + 40_000:
        return Verdict(Outcome.REFUSED, "too long to compare")
    expected = _read_reference(reference)
    try:
        given = read(answer)
        if given.plain == expected.plain or _choose_alike(given.plain, expected.plain):
            return Verdict(Outcome.CORRECT)
        if given.reading is not None and expected.reading is not None:
            is_equal = rules.equal(given.reading, expected.reading)
            return Verdict(Outcome.CORRECT if is_equal else Outcome.WRONG, stage="rules")
        if isinstance(given.reading, Text) or isinstance(expected.reading, Text):
            return Verdict(Outcome.WRONG, "words, not mathematics", stage="rules")
        if given.problem in ("too long", "nested too deeply", "too many factors"):
            return Verdict(Outcome.REFUSED, given.problem)
        if given.reading is None and not given.is_foreign:
            return Verdict(Outcome.WRONG, f"not understood: {given.problem}", stage="rules")
    except TooLarge:
        return Verdict(Outcome.REFUSED, "too large to evaluate", stage="rules")
    except RecursionError:
        return Verdict(Outcome.REFUSED, "nested too deeply", stage="rules")
    except Undecided:
        pass
    return _compare_by_math_verify(given, expected, timeout_s)


def _choose_alike(answer: str, reference: str) -> bool:
    if named := _NAMED_OPTION.fullmatch(answer):
        return named["letter"].upper() == reference
    return _chooses(answer, reference) or _chooses(reference, answer)


def _chooses(answer: str, letter: str) -> bool:
    """Whether an answer such as "(C) 42" is the option of that letter, with what it says."""
    found = _LETTERED.fullmatch(answer) if len(letter) == 1 and "A" <= letter <= "J" else None
    if found is None or found["letter"] != letter or _OTHER_LETTER.search(found["text"]):
        return False
    return not any(map(units.speaks, re.findall(r"[A-Za-z]+", found["text"])))


@functools.lru_cache(maxsize=4096)
def _read_reference(reference: str) -> Answer:
    return read(reference)


def has_math_verify() -> bool:
    """Whether the extra is installed. It is found, not imported: that takes a second, and the worker does it."""
    return find_spec("math_verify") is not None


def require_math_verify() -> None:
    """Raises MissingExtraError, with the pip line, where math-verify is not installed."""
    if not has_math_verify():
        require("math_verify", extra="math", purpose="Checking answers whose formulas llmgym does not read itself")


def problem_of_reference(reference: str) -> str | None:
    """Why a reference answer can only be compared as text or by math-verify; None where it is read here."""
    if not reference.strip():
        return "it is empty"
    answer = read(reference)
    return answer.problem if answer.reading is None else None


def _unfit(text: str) -> str:
    """Why a formula is not sent to math-verify, or nothing."""
    if not text or len(text) > _MAX_SYMBOLIC_LENGTH:
        return "too long or too short to compare"
    if _RUNAWAY.search(_UPPER_LIMIT.sub(r"\1", text)):
        return "too large to compare"
    if _SIDE_BY_SIDE.search(text):
        return "several numbers side by side"
    if _BOX.search(text):
        return "a box beside something else"  # math-verify would see the box alone
    return "words, not mathematics" if _BARE_WORD.search(text) else ""


def _compare_by_math_verify(answer: Answer, reference: Answer, timeout_s: float) -> Verdict:
    stage = "math-verify"
    if problem := _unfit(answer.folded) or _unfit(reference.folded):
        return Verdict(Outcome.REFUSED if "large" in problem else Outcome.WRONG, problem, stage=stage)
    if not has_math_verify():
        if reference.reading is None:
            return Verdict(Outcome.ERROR, f'{reference.folded!r} needs math-verify: pip install "llmgym[math]"')
        return Verdict(Outcome.WRONG, f"not understood: {answer.problem}", stage="rules")
    for _ in range(2):  # a worker can be lost to the machine's lack of memory; the second loss is no accident
        result = shared_pool().run(_SYMBOLIC_CHECK, reference.folded, answer.folded, timeout_s=timeout_s)
        match result.status:
            case WorkStatus.RETURNED:
                return Verdict(Outcome.CORRECT if result.value else Outcome.WRONG, stage=stage)
            case WorkStatus.OVERRUN:
                return Verdict(Outcome.REFUSED, result.error, stage=stage)
            case WorkStatus.RAISED:
                # Whose fault? Where the reference can be compared with itself, the answer's.
                control = shared_pool().run(_SYMBOLIC_CHECK, reference.folded, reference.folded, timeout_s=timeout_s)
                if control.status is WorkStatus.RETURNED:
                    return Verdict(Outcome.WRONG, "cannot be compared", stage=stage)
                return Verdict(
                    Outcome.ERROR, f"comparing with {reference.folded!r} failed: {result.error}", stage=stage
                )
    return Verdict(Outcome.ERROR, f"the worker was lost twice: {result.error}", stage=stage)
