"""Digits, points and powers of ten as exact numbers."""

from __future__ import annotations

import sys
from fractions import Fraction

from .tokens import Unreadable
from .tree import Number, Operation, Reading

MAX_DIGITS = 20_000
"""Of a number that is written out, and of a power of ten."""
SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
"""Words for powers of ten behind a number."""
_CHUNK = 4000
"""Digits that Python converts at once, below its own limit."""


def number(text: str) -> Number:
    """The number that digits, a point and a power of ten write.

    Raises:
        Unreadable: it has too many digits.
    """
    mantissa, _, power_text = text.lower().partition("e")
    whole, point, part = mantissa.partition(".")
    if len(mantissa) > MAX_DIGITS or len(power_text) > 6 or abs(power := int(power_text or 0)) > MAX_DIGITS:
        raise Unreadable("a number of too many digits")
    digits = whole + part
    value = Fraction(_int(digits), _power_of_ten(len(part))) * _scale(power)
    is_decimal = bool(point and part) or bool(power_text)
    if not is_decimal:
        return Number(value)
    return Number(value, len(part) - power, len(digits.lstrip("0")))


def repeating(written: str, digits: str) -> Number:
    """The fraction that the decimal `written` is, where `digits` behind it repeat without end.

    Raises:
        Unreadable: they are no digits.
    """
    if not digits.isdecimal() or len(digits) > 50:
        raise Unreadable("a line over something other than digits")
    places = len(written.partition(".")[2])
    return Number(number(written).value + Fraction(int(digits), 10 ** len(digits) - 1) / 10**places)


def _int(digits: str) -> int:
    if len(digits) <= _CHUNK or not hasattr(sys, "get_int_max_str_digits"):
        return int(digits or 0)
    value = 0
    for start in range(0, len(digits), _CHUNK):
        part = digits[start : start + _CHUNK]
        value = value * _power_of_ten(len(part)) + int(part)
    return value


def _power_of_ten(exponent: int) -> int:
    return int(10**exponent)


def _scale(power: int) -> Fraction:
    return Fraction(_power_of_ten(power)) if power >= 0 else Fraction(1, _power_of_ten(-power))


def times_power_of_ten(number: Number, power: int) -> Number:
    """The number with its point moved; a decimal stays one, of as many digits."""
    return Number(number.value * _scale(power), None if number.places is None else number.places - power, number.digits)


def scientific(left: Reading, right: Reading) -> Number | None:
    """The decimal that a mantissa times a power of ten writes."""
    match left, right:
        case (
            Number(places=int()) as mantissa,
            Operation(
                name="^",
                args=(
                    Number(value=Fraction(numerator=10, denominator=1), places=None),
                    Number(value=power, places=None),
                ),
            ),
        ) if power.denominator == 1 and abs(power) <= MAX_DIGITS:
            return times_power_of_ten(mantissa, int(power))
    return None
