"""The symbolic comparison, by math-verify. Runs in a worker process only: it evaluates what a policy wrote.

math-verify finds "equal" too easily in known ways: it reads digits out of text that it could not parse, and rounds to
six places. Its "equal" therefore counts only where both sides were parsed, and numbers are compared here.
"""

from typing import Any

import sympy  # type: ignore[import-untyped]

from llmgym.extras import require

math_verify = require("math_verify", extra="math", purpose="Comparing symbolic answers")

_CONFIG = [math_verify.LatexExtractionConfig()]


def equal(reference: str, answer: str) -> bool:
    """Whether the answer means what the reference means."""
    expected, given = _parse(reference), _parse(answer)
    if expected is None or given is None:
        return False
    if _is_constant(expected) and _is_constant(given):
        return _numbers_agree(expected, given)
    if not math_verify.verify(expected, given, float_rounding=10, timeout_seconds=None, raise_on_error=False):
        return False
    return _agree_at_points(expected, given)


def _agree_at_points(expected: Any, given: Any) -> bool:
    """Whether the two have as many values, and no value of one is contradicted by the other's at fixed points."""
    if not (isinstance(expected, sympy.Expr) and isinstance(given, sympy.Expr)):
        return type(expected) is type(given) and len(expected.args) == len(given.args)
    if expected.free_symbols != given.free_symbols:
        return not (expected - given).simplify()
    symbols = sorted(expected.free_symbols, key=str)
    for number in (3, 5, 7):
        point = {symbol: sympy.Rational(number + index, 11) for index, symbol in enumerate(symbols)}
        difference = sympy.N((expected - given).subs(point), 30)
        if difference.is_number and difference.is_Float and abs(difference) > sympy.Float(10) ** -12:
            return False
    return True


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
    value = next((value for value in parsed if not isinstance(value, str)), None)
    return value.doit() if isinstance(value, sympy.Expr) and value.has(sympy.Limit) else value  # N would leave it


def _is_constant(value: Any) -> bool:
    return isinstance(value, sympy.Expr) and not value.free_symbols


def _numbers_agree(expected: Any, given: Any) -> bool:
    """A decimal agrees with an exact value to six significant digits; whole numbers and exact values agree entirely."""
    if expected == given or (expected.is_Integer and given.is_Integer):
        return bool(expected == given)
    difference, size = abs(sympy.N(expected - given, 30)), abs(sympy.N(expected, 30))
    if not (difference.is_Float and size.is_Float):
        return not difference  # infinite, undefined, or exactly 0
    num_decimals = expected.has(sympy.Float) + given.has(sympy.Float)
    if num_decimals == 0:
        tolerance = sympy.Float(10) ** -60  # 2^100 - 1 is not 2^100; SymPy cancels up to 100 digits
    elif num_decimals == 1 and not (expected.is_integer or given.is_integer):  # 2^100 - 1 is_integer, but no Integer
        tolerance = sympy.Float(10) ** -6
    else:
        tolerance = sympy.Float(10) ** -12
    return bool(difference <= size * tolerance)
