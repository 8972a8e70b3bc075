"""Whether a final answer equals the reference answer.

In this order, and the first that can say decides: equal text, exact numbers, and math-verify in a killable worker.
Nothing that a policy writes is ever evaluated in this process.
"""

import re
from dataclasses import dataclass
from importlib.util import find_spec

from llmgym.errors import VerifierError
from llmgym.extras import require
from llmgym.scoring import WorkStatus, shared_pool

from . import exact
from .normal_form import fold, plain

_SYMBOLIC_CHECK = "llmgym.envs.math.symbolic:equal"
_MAX_LENGTH = 400
"""Longer answers are compared as text and numbers only."""

_EQUALS = re.compile(r"(?<![<>!:=])=(?!=)")
_NAME = re.compile(r"(?:[A-Za-z](?:_\{?\w+\}?)?|\\[a-z]+)(?:\([A-Za-z]\))?")
_BARE_WORD = re.compile(r"(?<![\\A-Za-z])(?<!n\{)(?<!d\{)[A-Za-z]{2,}")
"""Not the name of a LaTeX command or of an environment after `\\begin{` or `\\end{`."""
_RUNAWAY = re.compile(r"\d{200}|[eE^]\s?\{?\s?[+-]?\d{5}|\^[^+*/,=-]{0,40}\^|!")
"""Numbers that nobody can write out: not for any evaluator, at whatever time limit."""
_SIDE_BY_SIDE = re.compile(r"\d\s+\d")
"""Two numbers with a space between them, which math-verify would add up: 1 2 is not 3."""
_WHOLLY_BOXED = re.compile(r"\\(?:boxed|fbox)\s?\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}")


@dataclass(frozen=True)
class Verdict:
    """Whether the answer is right, and why not."""

    is_correct: bool
    problem: str = ""


_RIGHT, _WRONG = Verdict(True), Verdict(False)


def compare(answer: str, reference: str, *, timeout_s: float) -> Verdict:
    """Compare two bare answers, each in LaTeX or plain text.

    Args:
        answer: the policy's.
        reference: the known right one.
        timeout_s: CPU seconds that a symbolic comparison may use; an answer that takes longer is wrong.

    Raises:
        MissingExtraError: the reference needs math-verify, which is not installed.
        VerifierError: the worker failed twice.
    """
    if len(answer) > 4 * len(reference) + 4000:
        return Verdict(False, "too long to compare")
    answer_text, reference_text = fold(answer), fold(reference)
    if plain(answer_text) == plain(reference_text):
        return _RIGHT
    sides = _without_names(answer_text, reference_text)
    if sides is None:
        return _WRONG
    answer_text, reference_text = sides
    answer_value, reference_value = exact.read(answer_text), exact.read(reference_text)
    if reference_value is not None and answer_value is not None:
        return Verdict(exact.equal(answer_value, reference_value))
    if plain(answer_text) == plain(reference_text):
        return _RIGHT
    if reference_value is None:
        require_math_verify()
    elif not _has_math_verify():
        return Verdict(False, "the answer is not written as a number")
    if problem := _unreadable(answer_text) or _unreadable(reference_text):
        return Verdict(False, problem)
    return _compare_symbolically(answer_text, reference_text, timeout_s)


def require_math_verify() -> None:
    """Raises MissingExtraError, with the pip line, where math-verify is not installed."""
    if not _has_math_verify():
        require("math_verify", extra="math", purpose="Checking answers that are not plain numbers")


def _has_math_verify() -> bool:
    return find_spec("math_verify") is not None  # found, not imported: that takes a second, and the worker does it


def _without_names(answer: str, reference: str) -> tuple[str, str] | None:
    """Both sides with `x =` taken off where it only names a value; None where one is an equation for good.

    `x = 3` says 3, but 2x + 4 = 16 does not say 16, and one equation is another only where they are equal as text.
    """
    answer_parts, reference_parts = _EQUALS.split(answer), _EQUALS.split(reference)
    if len(answer_parts) > 2 or len(reference_parts) > 2:
        return None
    if any(len(parts) == 2 and not _NAME.fullmatch(parts[0].strip()) for parts in (answer_parts, reference_parts)):
        return None
    if len(answer_parts) == len(reference_parts) == 2 and plain(answer_parts[0]) != plain(reference_parts[0]):
        return None
    return answer_parts[-1].strip(), reference_parts[-1].strip()


def _unreadable(text: str) -> str:
    """Why a symbolic comparison is refused, or nothing."""
    if not text or len(text) > _MAX_LENGTH:
        return "too long or too short to compare"
    if _RUNAWAY.search(text):
        return "too large to compare"
    if _SIDE_BY_SIDE.search(text):
        return "several numbers side by side"
    if re.search(r"\\f?box", text) and not _WHOLLY_BOXED.fullmatch(text):
        return "a box beside something else"  # math-verify would see the box alone
    return "words, not mathematics" if _BARE_WORD.search(text) else ""


def _compare_symbolically(answer: str, reference: str, timeout_s: float) -> Verdict:
    for _ in range(2):  # a worker can be lost to the machine's lack of memory; the second loss is no accident
        result = shared_pool().run(_SYMBOLIC_CHECK, reference, answer, timeout_s=timeout_s)
        match result.status:
            case WorkStatus.RETURNED:
                return Verdict(bool(result.value))
            case WorkStatus.OVERRUN if "memory" in result.error:
                return Verdict(False, "took too much memory to compare")
            case WorkStatus.OVERRUN:
                return Verdict(False, f"took longer than {timeout_s:g} s to compare")
            case WorkStatus.RAISED:
                # Whose fault? Where the reference can be compared with itself, the answer's.
                control = shared_pool().run(_SYMBOLIC_CHECK, reference, reference, timeout_s=timeout_s)
                if control.status is WorkStatus.RETURNED:
                    return Verdict(False, "cannot be compared")
                raise VerifierError(f"The comparison of {answer!r} with {reference!r} failed: {result.error}.")
    raise VerifierError(f"The worker that compared {answer!r} with {reference!r} was lost twice: {result.error}.")
