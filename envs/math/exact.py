"""Exact values of constant expressions, as fractions of whole numbers; and the gate before anything that can grow.

Sizes are estimated by logarithms before they are computed, so nothing that a policy writes takes long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction

from .tree import Expression, Number, Operation, Symbol

MAX_DIGITS = 10_000
"""Of a value that is computed."""
MAX_FACTORIAL = 3_000
MAX_TERMS = 2_000
"""Of a sum or product that is written with a range."""
_BITS = int(MAX_DIGITS / math.log10(2))


class TooLarge(Exception):
    """The resource gate: the value has more digits, or takes more terms, than anybody could check."""


class NotExact(Exception):
    """The value is irrational, undefined or not understood."""


def value_of(expression: Expression, variables: Mapping[str, Fraction] | None = None) -> Fraction | None:
    """The value of an expression, or None where it is not rational or not defined.

    Args:
        expression: what to evaluate.
        variables: values of its variables.

    Raises:
        TooLarge: the gate refuses it.
    """
    try:
        return _value(expression, variables or {})
    except (NotExact, ZeroDivisionError):
        return None


def _value(node: Expression, variables: Mapping[str, Fraction]) -> Fraction:
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Symbol):
        if node.name in variables:
            return variables[node.name]
        raise NotExact
    if node.name in ("sum", "prod"):
        return _over_range(node, variables)
    rule = _RULES.get(node.name)
    if rule is None:
        raise NotExact
    return _checked(rule(*(_value(arg, variables) for arg in node.args)))


def _checked(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > _BITS:
        raise TooLarge
    return value


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator != 1:
        root = _root(base, Fraction(exponent.denominator))
        return _power(root, Fraction(exponent.numerator))
    size = max(abs(base.numerator).bit_length(), base.denominator.bit_length())
    if abs(base) != 1 and base != 0 and abs(exponent) * (size - 1) > _BITS:
        raise TooLarge
    if base in (0, 1, -1):
        exponent = Fraction(
            exponent.numerator % 2 + 2 if exponent > 0 else -(exponent.numerator % 2) - 2 if exponent else 0
        )
    return base ** int(exponent)


def _root(radicand: Fraction, degree: Fraction) -> Fraction:
    """The real root, where it is rational."""
    if degree.denominator != 1 or not 1 <= degree <= 1000:
        raise NotExact
    index = int(degree)
    if radicand < 0:
        if index % 2 == 0:
            raise NotExact
        return -_root(-radicand, degree)
    return Fraction(_whole_root(radicand.numerator, index), _whole_root(radicand.denominator, index))


def _whole_root(value: int, index: int) -> int:
    if value < 2:
        return value
    if index == 2:
        root = math.isqrt(value)
    else:
        low, high = 0, 1 << (value.bit_length() // index + 1)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if middle**index <= value else (low, middle - 1)
        root = low
    if root**index != value:
        raise NotExact
    return root


def _whole(value: Fraction, *, at_most: int) -> int:
    if value.denominator != 1 or value < 0:
        raise NotExact
    if value > at_most:
        raise TooLarge
    return int(value)


def _double_factorial(value: Fraction) -> Fraction:
    return Fraction(math.prod(range(_whole(value, at_most=MAX_FACTORIAL), 0, -2)))


def _binomial(total: Fraction, chosen: Fraction) -> Fraction:
    return Fraction(math.comb(_whole(total, at_most=2 * MAX_FACTORIAL), _whole(chosen, at_most=2 * MAX_FACTORIAL)))


def _whole_arguments(function: Callable[..., int]) -> Callable[..., Fraction]:
    def applied(*values: Fraction) -> Fraction:
        if any(value.denominator != 1 for value in values):
            raise NotExact
        return Fraction(function(*map(int, values)))

    return applied


def _over_range(node: Operation, variables: Mapping[str, Fraction]) -> Fraction:
    body, index, *bounds = node.args
    low, high = (_value(bound, variables) for bound in bounds)
    if low.denominator != 1 or high.denominator != 1 or not isinstance(index, Symbol):
        raise NotExact
    if high - low > MAX_TERMS:
        raise TooLarge
    total = Fraction(node.name == "prod")
    for term in range(int(low), int(high) + 1):
        value = _value(body, {**variables, index.name: Fraction(term)})
        total = _checked(total * value if node.name == "prod" else total + value)
    return total


_RULES: Mapping[str, Callable[..., Fraction]] = {
    "+": lambda a, b: a + b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "^": _power,
    "neg": lambda a: -a,
    "abs": abs,
    "floor": lambda a: Fraction(math.floor(a)),
    "ceil": lambda a: Fraction(math.ceil(a)),
    "mod": lambda a, b: a % b,
    "root": _root,
    "!": lambda a: Fraction(math.factorial(_whole(a, at_most=MAX_FACTORIAL))),
    "!!": _double_factorial,
    "binom": _binomial,
    "gcd": _whole_arguments(math.gcd),
    "lcm": _whole_arguments(math.lcm),
    "min": lambda *values: min(values),
    "max": lambda *values: max(values),
}
