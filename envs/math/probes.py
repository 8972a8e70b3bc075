"""Values of expressions to many digits, at fixed points; equal expressions agree at all of them.

The points follow from the names of the variables, so a verdict is the same in every process. Nothing is estimated by
floats: mpmath computes to 60 digits, and to 400 where a sum swallows one of its terms.
"""

from __future__ import annotations

import os
import re
import threading
import zlib
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import mpmath  # type: ignore[import-untyped]

from . import exact
from .exact import Budget, TooLarge
from .tree import Expression, Number, Operation, Symbol, nodes, variables

PRECISIONS = (60, 400)
"""Decimal digits of the first and of the last attempt."""
_AGREEMENT = (45, 380)
"""Digits in which equal values agree, at each precision."""
_MAX_LOG = 20_000
"""Natural logarithm of the largest value, and largest argument of a periodic function, that is computed."""
_MAX_WORK = 1_000_000
"""Of one comparison at all its points: 20 for each operation."""
_WHOLE = frozenset(("!", "!!", "binom", "floor", "ceil", "mod", "sum", "prod", "gcd", "lcm"))
"""Operations whose variables are whole numbers."""
_BENT = frozenset(("abs", "min", "max", "sgn", "root", "floor", "ceil"))
"""Operations that have no effect, or another one, beyond some point."""
_COUNTS = re.compile(r"[i-nN](?:_.*)?")
"""Names of variables that are whole numbers where they are rounded: n/2 is, x/2 is not."""
_ENOUGH = 3
"""Points at which both sides must be defined."""

_context = mpmath.MPContext()
_lock = threading.Lock()
"""A context has one precision at a time, and mpmath's caches are not made for threads."""


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)  # in a fork it may be held by a thread that is not there


class Undefined(Exception):
    """The expression has no value at this point, or none that is understood."""


Point = Mapping[str, Fraction]


def points(*expressions: Expression) -> list[Point]:
    """The fixed points at which these expressions are compared; one empty point where they have no variables."""
    names = sorted(frozenset().union(*map(variables, expressions)))
    if not names:
        return [{}]
    if any(_needs_whole_numbers(expression) for expression in expressions):
        return [{name: _whole_number(name, index) for name in names} for index in range(14)]
    has_bend = any(_has_bend(expression) for expression in expressions)
    return [{name: _rational(name, index) for name in names} for index in range(13 if has_bend else 11)]


def _needs_whole_numbers(expression: Expression) -> bool:
    for node in nodes(expression):
        if isinstance(node, Operation):
            if node.name in ("floor", "ceil") and not all(_COUNTS.fullmatch(name) for name in variables(node)):
                continue
            if node.name in _WHOLE and variables(node):
                return True
            if node.name == "^" and variables(node.args[1]) and _is_negative(node.args[0]):
                return True
    return False


def _has_bend(expression: Expression) -> bool:
    return any(isinstance(node, Operation) and node.name in _BENT for node in nodes(expression))


def _is_negative(base: Expression) -> bool:
    return (isinstance(base, Number) and base.value < 0) or (isinstance(base, Operation) and base.name == "neg")


def _whole_number(name: str, index: int) -> Fraction:
    return Fraction(2 + index + zlib.crc32(f"{name}{index}".encode()) % (3 + 2 * index))


def _rational(name: str, index: int) -> Fraction:
    """Positive at the first seven points, negative at two, of either sign at the next two; of several sizes.

    The last two are large, one of them negative: |x + 9| is not x + 9.
    """
    seed = zlib.crc32(f"{name}{index}".encode())
    size = Fraction(1 + seed % 9973, 9973)
    value = (
        size
        * (Fraction(3), Fraction(1), Fraction(20), Fraction(3, 2), Fraction(7), Fraction(1, 2), Fraction(60))[index % 7]
    )
    if index > 10:
        return (-100 if index % 2 else 100) * (1 + size)
    if index in (7, 8):
        return -value
    return -value if index > 8 and seed % 2 else value


def compare(answer: Expression, reference: Expression, agree: Callable[[Any, Any, Any], bool]) -> bool | None:
    """Whether two expressions agree at every point where both are defined; None where those are too few.

    Args:
        answer: one side.
        reference: the other.
        agree: of two values and the tolerance, whether they are equal enough.

    Raises:
        TooLarge: the gate refuses one of them.
    """
    found, refused = 0, None
    places, budget = points(answer, reference), Budget(_MAX_WORK)
    for point in places:
        try:
            verdict = _agree_at(point, answer, reference, agree, budget)
        except TooLarge as error:  # at this point; at others it may be small
            refused = error
            continue
        if verdict is False:
            return False
        found += verdict is True
    if found >= min(_ENOUGH, len(places)):
        return True
    if refused is not None:
        raise refused
    return None


def _agree_at(
    point: Point,
    answer: Expression,
    reference: Expression,
    agree: Callable[[Any, Any, Any], bool],
    budget: Budget,
) -> bool | None:
    verdict = False
    for digits, agreement in zip(PRECISIONS, _AGREEMENT, strict=True):
        with _lock, _context.workdps(digits):
            try:
                left, right = Evaluation(point, budget), Evaluation(point, budget)
                a, b = left.value(answer), right.value(reference)
            except Undefined:
                return None
            # What is too small even for the last precision makes a difference that nobody can see: no "equal" then.
            has_swallowed = left.has_swallowed or right.has_swallowed
            verdict = agree(a, b, _context.mpf(10) ** -agreement) and not has_swallowed
            if not (left.is_lossy or right.is_lossy):
                break
    return verdict


def ratio_is_constant(answer: Expression, reference: Expression, *, positive: bool) -> bool | None:
    """Whether one expression is the other times a constant that is not 0; None where that cannot be seen."""
    ratios: list[Any] = []
    budget = Budget(_MAX_WORK)
    with _lock, _context.workdps(PRECISIONS[0]):
        for point in points(answer, reference):
            try:
                a, b = Evaluation(point, budget).value(answer), Evaluation(point, budget).value(reference)
            except (Undefined, TooLarge):
                continue
            tiny = _context.mpf(10) ** -_AGREEMENT[0]
            if abs(a) < tiny or abs(b) < tiny:
                if (abs(a) < tiny) != (abs(b) < tiny):
                    return False
                continue
            ratios.append(a / b)
            if not is_close(ratios[-1], ratios[0], tiny):
                return False
    if len(ratios) < _ENOUGH:
        return None
    return not positive or (_context.im(ratios[0]) == 0 and _context.re(ratios[0]) > 0)


def is_close(a: Any, b: Any, tolerance: Any) -> bool:
    """Equal up to a relative tolerance; a real value is no complex one."""
    if a == b:
        return True
    if not (_context.isfinite(a) and _context.isfinite(b)):
        return False
    return bool(abs(a - b) <= tolerance * max(abs(a), abs(b)))


def as_fraction(value: Any) -> Fraction | None:
    """The binary fraction that a real value is; None for a complex or infinite one."""
    if isinstance(value, _context.mpc) or not _context.isfinite(value):
        return None
    sign, mantissa, exponent, _ = value._mpf_
    magnitude = Fraction(mantissa) * (Fraction(2) ** exponent if abs(exponent) < 10**5 else 0)
    return -magnitude if sign else magnitude


def approximate(expression: Expression) -> Fraction | None:
    """A constant to 60 digits; None where it is not real and finite."""
    if variables(expression):
        return None
    value = exact.value_of(expression)
    if value is not None:
        return value
    with _lock, _context.workdps(PRECISIONS[0]):
        try:
            return as_fraction(Evaluation({}, Budget(_MAX_WORK)).value(expression))
        except Undefined:
            return None


class Evaluation:
    """The value of an expression at one point, at the precision of the context. Used under the lock."""

    def __init__(self, point: Point, budget: Budget) -> None:
        self.point = point
        self.budget = budget
        self.is_lossy = False
        """A sum lost digits to a term that is far smaller, or to cancellation: more digits are needed."""
        self.has_swallowed = False
        """A sum lost such a term altogether."""

    def value(self, node: Expression) -> Any:
        """Raises Undefined, or TooLarge where the gate refuses it."""
        try:
            value = self._value(node)
            if isinstance(value, _context.mpc) and self.point and not any(part == Symbol("i") for part in nodes(node)):
                raise Undefined("complex")  # which of several roots is meant depends on how it is written
            return value
        except (ZeroDivisionError, ValueError, OverflowError, mpmath.libmp.ComplexResult) as error:
            raise Undefined(str(error)) from error

    def _value(self, node: Expression) -> Any:
        if isinstance(node, Number):
            return _number(node.value)
        if isinstance(node, Symbol):
            return self._symbol(node.name)
        if node.name in _WHOLE:
            whole = exact.value_of(node, self.point, self.budget)
            if whole is not None:
                return _number(whole)
            if node.name in ("sum", "prod"):
                return self._over_range(node)
            if node.name not in ("floor", "ceil"):
                raise Undefined(node.name)
        self.budget.spend(20)
        values = [self._value(arg) for arg in node.args]
        result = self._apply(node.name, values)
        if isinstance(result, _context.mpc) and result.imag == 0:
            return result.real
        return result

    def _symbol(self, name: str) -> Any:
        if name in self.point:
            return _number(self.point[name])
        match name:
            case "π":
                return +_context.pi
            case "e":
                return +_context.e
            case "i":
                return _context.mpc(0, 1)
            case "∞":
                return _context.inf
        raise Undefined(name)

    def _apply(self, name: str, values: list[Any]) -> Any:
        match name, values:
            case "+", [a, b]:
                return self._sum(a, b)
            case "*", [a, b]:
                return a * b
            case "/", [a, b]:
                return a / b
            case "neg", [a]:
                return -a
            case "^", [a, b]:
                return _power(a, b)
            case "root", [a, b]:
                return _root(a, b)
            case "abs", [a]:
                return abs(a)
            case (("floor" | "ceil"), [a]):
                return self._rounded(name, a)
            case "log", [a, base]:
                return _context.log(a) / _context.log(base)
            case (("min" | "max"), _):
                if any(isinstance(value, _context.mpc) for value in values):
                    raise Undefined(name)
                return min(values) if name == "min" else max(values)
            case _, [a] if name in _FUNCTIONS:
                if not _context.isfinite(a):
                    raise Undefined(name)
                if abs(a) > _MAX_LOG and name not in ("ln", "arctan"):
                    raise TooLarge
                return _FUNCTIONS[name](a)
        raise Undefined(name)

    def _sum(self, a: Any, b: Any) -> Any:
        total = a + b
        if a and b and _context.isfinite(total):
            small, large = sorted((abs(a), abs(b)))
            # One that is too small to be seen, or two that cancel: the rest has fewer digits than it seems to have.
            if min(small, abs(total) or small) < large * _context.mpf(10) ** (_AGREEMENT[0] - _context.dps):
                self.is_lossy = True
            rounding = large * _context.mpf(10) ** (5 - _context.dps)
            self.has_swallowed |= small < rounding
            if abs(total) < rounding:
                return _context.mpf(0)
        return total

    def _rounded(self, name: str, value: Any) -> Any:
        if isinstance(value, _context.mpc) or abs(value) > _context.mpf(10) ** 40:
            raise Undefined(name)
        nearest = _context.nint(value)
        if abs(value - nearest) < _context.mpf(10) ** -30:
            return nearest  # a whole number, computed with rounding
        return _context.floor(value) if name == "floor" else _context.ceil(value)

    def _over_range(self, node: Operation) -> Any:
        body, index, *bounds = node.args
        low, high = (exact.value_of(bound, self.point, self.budget) for bound in bounds)
        if (
            low is None
            or high is None
            or low.denominator != 1
            or high.denominator != 1
            or not isinstance(index, Symbol)
        ):
            raise Undefined(node.name)
        if high - low > 200:
            raise TooLarge
        total = _context.mpf(node.name == "prod")
        for term in range(int(low), int(high) + 1):
            inner = Evaluation({**self.point, index.name: Fraction(term)}, self.budget)
            value = inner._value(body)
            total = total * value if node.name == "prod" else self._sum(total, value)
        return total


def _number(value: Fraction) -> Any:
    if value.denominator == 1:
        return _context.mpf(value.numerator)
    return _context.mpf(value.numerator) / value.denominator


def _power(base: Any, exponent: Any) -> Any:
    if base == 0:
        if _context.re(exponent) <= 0:
            raise Undefined("^") if exponent != 0 else ZeroDivisionError
        return base
    if not (_context.isfinite(base) and _context.isfinite(exponent)):
        raise Undefined("^")
    if abs(exponent) * abs(_context.mag(base) + 1) > 1.5 * _MAX_LOG * max(1, _context.dps // 60):
        raise TooLarge
    return _context.power(base, exponent)


def _root(radicand: Any, degree: Any) -> Any:
    """The real root where there is one: that of odd degree of a negative number is negative."""
    if not isinstance(radicand, _context.mpc) and radicand < 0 and _context.isint(degree) and degree % 2 == 1:
        return -_root(-radicand, degree)
    return _context.sqrt(radicand) if degree == 2 else _power(radicand, 1 / degree)


_FUNCTIONS: Mapping[str, Callable[[Any], Any]] = {
    "sin": _context.sin, "cos": _context.cos, "tan": _context.tan, "cot": _context.cot, "sec": _context.sec,
    "csc": _context.csc, "arcsin": _context.asin, "arccos": _context.acos, "arctan": _context.atan,
    "arccot": _context.acot, "arcsec": _context.asec, "arccsc": _context.acsc, "sinh": _context.sinh,
    "cosh": _context.cosh, "tanh": _context.tanh, "coth": _context.coth, "sech": _context.sech, "csch": _context.csch,
    "arcsinh": _context.asinh, "arccosh": _context.acosh, "arctanh": _context.atanh, "ln": _context.ln,
    "sgn": _context.sign, "Re": _context.re, "Im": _context.im,
}  # fmt: skip
