"""The symbolic comparison, by math-verify. Runs in a worker process only: it evaluates what a policy wrote.

math-verify finds "equal" too easily in known ways: it reads digits out of text that it could not parse, and rounds to
six places. Its "equal" therefore counts only where both sides were parsed and numbers agree to 12 significant digits.
"""

import logging
from typing import Any

import sympy  # type: ignore[import-untyped]

from llmgym.extras import require

math_verify = require("math_verify", extra="math", purpose="Comparing symbolic answers")

_CONFIG = [math_verify.LatexExtractionConfig()]
_DIGITS = 12
logging.disable(logging.CRITICAL)  # math-verify logs each answer that it cannot parse


def equal(reference: str, answer: str) -> bool:
    """Whether math-verify finds the answer equal to the reference, and numbers bear it out."""
    expected, given = _parse(reference), _parse(answer)
    if expected is None or given is None:
        return False
    if not math_verify.verify(expected, given, float_rounding=10, timeout_seconds=None, raise_on_error=False):
        return False
    return _numbers_agree(expected, given)


def _parse(text: str) -> Any:
    """What math-verify makes of the whole text as one formula, or None."""
    parsed = math_verify.parse(
        f"${text}$",
        extraction_config=_CONFIG,
        fallback_mode="no_fallback",
        extraction_mode="first_match",
        parsing_timeout=None,
        raise_on_error=False,
    )
    return next((value for value in parsed if not isinstance(value, str)), None)


def _numbers_agree(expected: Any, given: Any) -> bool:
    if not (isinstance(expected, sympy.Expr) and isinstance(given, sympy.Expr)):
        return True
    if expected.free_symbols or given.free_symbols:
        return bool(expected.free_symbols == given.free_symbols) or not (expected - given).simplify()
    if expected.is_Integer and given.is_Integer:
        return bool(expected == given)
    difference, size = abs(sympy.N(expected - given, 30)), abs(sympy.N(expected, 30))
    return bool(difference <= size * sympy.Float(10) ** -_DIGITS)
