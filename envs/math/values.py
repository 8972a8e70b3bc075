"""When two values are equal: exactly, as decimals that agree to six digits, or at fixed points to many digits."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from . import exact, probes
from .canonical import key
from .tree import Expression, Number, Operation, Symbol, nodes, variables

SIX_DIGITS = 6
"""A decimal with at least so many significant digits may stand for a value that it rounds."""
_LONG = 12
"""A decimal with so many digits is what a computer printed: itself the rounding of some other value."""


class Undecided(Exception):
    """Neither arithmetic nor probes can tell."""


def equal(answer: Expression, reference: Expression) -> bool:
    """Whether an answer has the value of the reference.

    Raises:
        TooLarge: the resource gate refuses to evaluate one of them.
        Undecided: they cannot be evaluated at enough points.
    """
    given, expected = exact.value_of(answer), exact.value_of(reference)
    if given is not None and expected is not None:
        return given == expected or _rounds(answer, given, reference, expected)
    if key(answer) == key(reference):
        return True
    if variables(answer) or variables(reference):
        return _equal_at_points(answer, reference)
    if isinstance(answer, Number) or isinstance(reference, Number):
        given, expected = probes.approximate(answer), probes.approximate(reference)
        if given is not None and expected is not None and _rounds(answer, given, reference, expected):
            return True
    return _equal_at_points(answer, reference)


def _equal_at_points(answer: Expression, reference: Expression) -> bool:
    is_printed = any(
        isinstance(node, Number) and node.digits >= _LONG for side in (answer, reference) for node in nodes(side)
    )
    found = probes.compare(answer, reference, _close_as_printed if is_printed else probes.is_close)
    if found is not None:
        return found
    if variables(answer) or variables(reference) or _is_endless(answer) or _is_endless(reference):
        raise Undecided
    return False  # 1/0 has no value


def _is_endless(expression: Expression) -> bool:
    """Whether it holds a sum or product of infinitely many terms, which may have a value all the same."""
    return any(
        isinstance(node, Operation) and node.name in ("sum", "prod") and node.args[3] == Symbol("∞")
        for node in nodes(expression)
    )


def _close_as_printed(a: Any, b: Any, _: Any) -> bool:
    return probes.is_close(a, b, 10.0**-9)


def _rounds(answer: Expression, given: Fraction, reference: Expression, expected: Fraction) -> bool:
    """Whether one side is a decimal that rounds the other.

    Whole numbers that are written as such are never rounded: the answer to one is exact. A decimal answer rounds an
    exact reference; an exact answer may be what a decimal reference rounds; and of two decimals the longer one must be
    what a computer printed.
    """
    given_decimal, expected_decimal = _decimal(answer), _decimal(reference)
    if given_decimal and expected_decimal:
        shorter, longer = sorted((given_decimal, expected_decimal), key=lambda decimal: decimal.digits)
        return longer.digits >= _LONG and _is_rounding(shorter, longer.value)
    if expected_decimal:
        return _is_rounding(expected_decimal, given)
    if given_decimal:
        return expected.denominator != 1 and _is_rounding(given_decimal, expected)
    return False


def _decimal(expression: Expression) -> Number | None:
    return expression if isinstance(expression, Number) and expression.places is not None else None


def _is_rounding(decimal: Number, exact_value: Fraction) -> bool:
    """Whether `decimal` is the value rounded or cut at its last place, or agrees in the first six digits."""
    assert decimal.places is not None
    if decimal.digits < SIX_DIGITS or _ends_in_zeros(decimal):
        return False
    unit = Fraction(10) ** -decimal.places
    difference = abs(decimal.value - exact_value)
    is_cut = abs(decimal.value) <= abs(exact_value) and difference < unit
    return difference * 2 <= unit or is_cut or difference * 2 * 10**SIX_DIGITS <= abs(exact_value)


def _ends_in_zeros(decimal: Number) -> bool:
    """Whether the last three digits are 0: 1.00000 is a whole number rather than the rounding of one."""
    assert decimal.places is not None
    digits = abs(decimal.value) * Fraction(10) ** decimal.places
    return digits.numerator % 1000 == 0


def expanded(expression: Expression) -> list[Expression]:
    """The values that an expression with plus-minus signs stands for; the expression itself where it has none.

    Where ∓ occurs, all signs belong together; otherwise each ± has a sign of its own.
    """
    signs = [node.name for node in nodes(expression) if isinstance(node, Operation) and node.name in ("±", "∓")]
    if not signs:
        return [expression]
    if "∓" in signs:
        return [_with_signs(expression, [sign] * len(signs))[0] for sign in (1, -1)]
    if len(signs) > 3:
        raise Undecided
    choices = [[1 if number >> place & 1 else -1 for place in range(len(signs))] for number in range(2 ** len(signs))]
    return [_with_signs(expression, choice)[0] for choice in choices]


def _with_signs(expression: Expression, signs: list[int]) -> tuple[Expression, list[int]]:
    """The expression with its plus-minus signs chosen, and the signs that are left over."""
    if not isinstance(expression, Operation):
        return expression, signs
    args: list[Expression] = []
    chosen = 1
    if expression.name in ("±", "∓"):
        chosen, signs = signs[0] * (1 if expression.name == "±" else -1), signs[1:]
    for arg in expression.args:
        arg, signs = _with_signs(arg, signs)
        args.append(arg)
    if expression.name in ("±", "∓"):
        right = args[1] if chosen > 0 else Operation("neg", (args[1],))
        return Operation("+", (args[0], right)), signs
    return Operation(expression.name, tuple(args)), signs
