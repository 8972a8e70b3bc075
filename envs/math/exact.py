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
MAX_WORK = 3_000_000
"""Of one evaluation, ranges within ranges included: 20 for each operation, and 1 for each 64 bits of its result."""
_BITS = int(MAX_DIGITS / math.log10(2))


class TooLarge(Exception):
    """The resource gate: the value has more digits, or takes more terms, than anybody could check."""


class NotExact(Exception):
    """The value is irrational, undefined or not understood."""


class Budget:
    """What an evaluation may still spend. Limits on each range alone would multiply where ranges stand in ranges."""

    def __init__(self, work: int = MAX_WORK) -> None:
        self.work_left = work

    def spend(self, work: int) -> None:
        """Raises TooLarge where that much is not left."""
        self.work_left -= work
        if self.work_left < 0:
            raise TooLarge


def value_of(
    expression: Expression, variables: Mapping[str, Fraction] | None = None, budget: Budget | None = None
) -> Fraction | None:
    """The value of an expression, or None where it is not rational or not defined.

    Args:
        expression: what to evaluate.
        variables: values of its variables.
        budget: what may be spent, where this is a part of a longer evaluation.

    Raises:
        TooLarge: the gate refuses it.
    """
    try:
        return _value(expression, variables or {}, budget or Budget())
    except (NotExact, ZeroDivisionError):
        return None


def _value(node: Expression, variables: Mapping[str, Fraction], budget: Budget) -> Fraction:
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Symbol):
        if node.name in variables:
            return variables[node.name]
        raise NotExact
    if node.name in ("sum", "prod"):
        return _over_range(node, variables, budget)
    rule = _RULES.get(node.name)
    if rule is None:
        raise NotExact
    return _checked(rule(*(_value(arg, variables, budget) for arg in node.args)), budget)


def _checked(value: Fraction, budget: Budget) -> Fraction:
    num_bits = max(value.numerator.bit_length(), value.denominator.bit_length())
    if num_bits > _BITS:
        raise TooLarge
    budget.spend(20 + num_bits // 64)
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


def _over_range(node: Operation, variables: Mapping[str, Fraction], budget: Budget) -> Fraction:
    body, index, *bounds = node.args
    low, high = (_value(bound, variables, budget) for bound in bounds)
    if low.denominator != 1 or high.denominator != 1 or not isinstance(index, Symbol):
        raise NotExact
    if high - low > MAX_TERMS:
        raise TooLarge
    total = Fraction(node.name == "prod")
    for term in range(int(low), int(high) + 1):
        value = _value(body, {**variables, index.name: Fraction(term)}, budget)
        total = _checked(total * value if node.name == "prod" else total + value, budget)
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
