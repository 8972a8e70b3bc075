"""One form of an expression whatever the order of its sums and products: equal forms are equal expressions."""

from __future__ import annotations

from fractions import Fraction

from .tree import Expression, Number, Operation, Symbol

Key = tuple[object, ...]


def key(expression: Expression) -> Key:
    """A key that two expressions share where they differ only in the order of terms and factors, or in notation."""
    if isinstance(expression, Number):
        return ("number", hex(expression.value.numerator), hex(expression.value.denominator))  # of any length
    if isinstance(expression, Symbol):
        return ("symbol", expression.name)
    if expression.name in ("+", "neg"):
        return ("+", *_sorted(_terms(expression, Fraction(1))))
    if expression.name in ("*", "/"):
        return ("*", *_sorted(_factors(expression, 1)))
    return (expression.name, *map(key, expression.args))


def _sorted(keys: list[Key]) -> list[Key]:
    return sorted(keys, key=repr)


def _terms(expression: Expression, sign: Fraction) -> list[Key]:
    if isinstance(expression, Operation) and expression.name == "+":
        return [term for arg in expression.args for term in _terms(arg, sign)]
    if isinstance(expression, Operation) and expression.name == "neg":
        return _terms(expression.args[0], -sign)
    if isinstance(expression, Number):
        return [key(Number(sign * expression.value))]
    return [(str(sign), key(expression))]


def _factors(expression: Expression, exponent: int) -> list[Key]:
    if isinstance(expression, Operation) and expression.name == "*":
        return [factor for arg in expression.args for factor in _factors(arg, exponent)]
    if isinstance(expression, Operation) and expression.name == "/":
        top, bottom = expression.args
        return _factors(top, exponent) + _factors(bottom, -exponent)
    return [(exponent, key(expression))]
