"""What an answer can be read as: a small typed tree.

Expressions are numbers, symbols and operations on them. Everything else an answer can say, from a tuple to a time of
day, has a type of its own, and the type of the reference answer decides how the two are compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written."""

    value: Fraction
    places: int | None = None
    """Of a decimal: places after the point, negative where a power of ten moves it; None where it is exact."""
    digits: int = 0
    """Of a decimal: digits from the first one that is not 0."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """A variable or a constant; `x_{1}` is the symbol "x_1"."""

    name: str


@dataclass(frozen=True, slots=True)
class Operation:
    """`name` applied to `args`.

    Names: + * / ^ neg ± ∓ ! !! abs floor ceil root (radicand, degree) binom mod sum and prod (body, index, from, to),
    log (argument, base), apply (f, x: the function f, or f times x), and the functions of `tokens.FUNCTIONS`.
    """

    name: str
    args: tuple[Expression, ...]


Expression = Number | Symbol | Operation


@dataclass(frozen=True, slots=True)
class Quantity:
    """An expression with a unit, a currency or a percent sign."""

    value: Expression
    unit: str


@dataclass(frozen=True, slots=True)
class Brackets:
    """Items in brackets: a tuple, an interval, or a set in braces."""

    opening: str
    items: tuple[Reading, ...]
    closing: str

    @property
    def is_set(self) -> bool:
        return self.opening == "{"


@dataclass(frozen=True, slots=True)
class Union:
    """Sets joined by a union sign, or conditions joined by "or"."""

    parts: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Without:
    """A set without the elements of another."""

    whole: Reading
    removed: Reading


@dataclass(frozen=True, slots=True)
class Items:
    """Answers with commas or "and" between them and no brackets around them: they have no order."""

    items: tuple[Reading, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """Members with relations between them: `x = 3`, `0 < x \\le 1`, `x \\in [0, 1)`."""

    members: tuple[Reading, ...]
    relations: tuple[str, ...]
    """= ≠ < > ≤ ≥ ∈ ≈ ≡ and "mod" before the modulus of a congruence."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of cells."""

    rows: tuple[tuple[Reading, ...], ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    """`a:b` or `a:b:c`."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Clock:
    """A time of day; `half` is "am", "pm" or nothing."""

    fields: tuple[int, ...]
    half: str


@dataclass(frozen=True, slots=True)
class Numeral:
    """Digits in a base other than ten."""

    digits: str
    base: int


@dataclass(frozen=True, slots=True)
class Text:
    """Words, in one way of writing."""

    words: str


Reading = Expression | Quantity | Brackets | Union | Without | Items | Chain | Matrix | Ratio | Clock | Numeral | Text

CONSTANTS = ("π", "e", "i", "∞")
"""Symbols that stand for one number."""


def integer(value: int) -> Number:
    return Number(Fraction(value))


def negated(value: Expression) -> Expression:
    """`-value`; a number takes the sign itself."""
    if isinstance(value, Number):
        return Number(-value.value, value.places, value.digits)
    return Operation("neg", (value,))


def is_expression(reading: Reading) -> bool:
    return isinstance(reading, Number | Symbol | Operation)


def nodes(expression: Expression) -> Iterator[Expression]:
    """The expression and all expressions in it."""
    pending: list[Expression] = [expression]
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, Operation):
            pending.extend(node.args)


def variables(expression: Expression) -> frozenset[str]:
    """Names of the symbols that are no constants and not bound by a sum or product."""
    if isinstance(expression, Symbol):
        return frozenset() if expression.name in CONSTANTS else frozenset((expression.name,))
    if isinstance(expression, Number):
        return frozenset()
    if expression.name in ("sum", "prod"):
        body, index, *bounds = expression.args
        inside = variables(body) - variables(index)
        return inside.union(*map(variables, bounds))
    return frozenset().union(*map(variables, expression.args))
