"""Sets of real numbers as sorted intervals: from brackets, unions, differences and inequalities alike."""

# ruff: noqa: RUF001 (mathematical signs are meant)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

from . import probes
from .tree import Brackets, Chain, Expression, Operation, Reading, Symbol, Union, Without, is_expression, variables

_INFINITY = Symbol("∞")
_MINUS_INFINITY = Operation("neg", (_INFINITY,))
_DIRECTION = {"<": 1, "≤": 1, ">": -1, "≥": -1}


@dataclass(frozen=True)
class Interval:
    """An interval, or a point where both ends are the same."""

    low: Expression
    high: Expression
    has_low: bool
    has_high: bool
    start: Fraction | float
    """Approximate value of `low`, for sorting."""
    end: Fraction | float


RealSet = list[Interval]


def is_set(reading: Reading) -> bool:
    """Whether a reading can only be a set of reals: a union, an inequality, ℝ, or brackets that no tuple has."""
    match reading:
        case Union() | Without() | Symbol(name="ℝ"):
            return True
        case Brackets(opening="{"):
            return False
        case Brackets(items=(low, high)) as brackets:
            return (brackets.opening, brackets.closing) in (("(", "]"), ("[", ")")) or any(
                end in (_INFINITY, _MINUS_INFINITY) for end in (low, high)
            )
        case Chain(relations=relations):
            return all(relation in _DIRECTION or relation == "≠" for relation in relations)
    return False


def real_set(reading: Reading) -> tuple[str | None, RealSet] | None:
    """The name of the variable, where one is given, and the intervals; None where it is no set of known ends."""
    match reading:
        case Symbol(name="ℝ"):
            return None, [_interval(_MINUS_INFINITY, _INFINITY, False, False)]
        case Brackets(opening="{", items=items):
            points = [item for item in items if is_expression(item)]
            if len(points) != len(items) or any(probes.approximate(point) is None for point in points):  # type: ignore[arg-type]
                return None
            return None, _merged([_interval(point, point, True, True) for point in points])  # type: ignore[arg-type]
        case Brackets(opening=opening, closing=closing, items=(low, high)):
            return _of_ends(None, low, high, opening == "[", closing == "]")
        case Union(parts=parts):
            found = [real_set(part) for part in parts]
            if any(part is None for part in found):
                return None
            names = {part[0] for part in found if part is not None} - {None}
            every = [interval for part in found if part is not None for interval in part[1]]
            return (names.pop() if names else None, _merged(every)) if len(names) < 2 else None
        case Without(whole=whole, removed=Brackets(opening="{") as removed):
            left, points_out = real_set(whole), real_set(removed)
            return (left[0], _without_points(left[1], points_out[1])) if left and points_out else None
        case Chain():
            return _of_chain(reading)
    return None


def equal(answer: RealSet, reference: RealSet, same: Callable[[Expression, Expression], bool]) -> bool:
    """Whether two sets have the same intervals, with the same ends, by the rule `same`."""
    return len(answer) == len(reference) and all(
        (a.has_low, a.has_high) == (r.has_low, r.has_high) and same(a.low, r.low) and same(a.high, r.high)
        for a, r in zip(answer, reference, strict=True)
    )


def _of_chain(chain: Chain) -> tuple[str | None, RealSet] | None:
    match chain:
        case Chain(members=(Symbol(name=name), inner), relations=("∈",)):
            found = real_set(inner)
            return (name, found[1]) if found else None
        case Chain(members=(left, right), relations=("≠",)):
            symbol, bound = (left, right) if isinstance(left, Symbol) and _is_constant(right) else (right, left)
            if not (isinstance(symbol, Symbol) and _is_constant(bound)):
                return None
            whole = _interval(_MINUS_INFINITY, _INFINITY, False, False)
            return symbol.name, _without_points([whole], [_interval(bound, bound, True, True)])  # type: ignore[arg-type]
        case Chain(members=(left, right), relations=(relation,)) if relation in _DIRECTION:
            if isinstance(right, Symbol) and _is_constant(left):
                left, right, direction = right, left, -_DIRECTION[relation]
            else:
                direction = _DIRECTION[relation]
            if not (isinstance(left, Symbol) and not _is_constant(left)):
                return None
            has_end = relation in "≤≥"
            if direction > 0:
                return _of_ends(left.name, _MINUS_INFINITY, right, False, has_end)
            return _of_ends(left.name, right, _INFINITY, has_end, False)
        case Chain(members=(low, Symbol(name=name) as middle, high), relations=(first, second)):
            if _is_constant(middle) or _DIRECTION.get(first) is None or _DIRECTION.get(first) != _DIRECTION.get(second):
                return None
            if _DIRECTION[first] < 0:
                low, high, first, second = high, low, second, first
            return _of_ends(name, low, high, first in "≤≥", second in "≤≥")
    return None


def _is_constant(reading: Reading) -> bool:
    return is_expression(reading) and not variables(reading)  # type: ignore[arg-type]


def _of_ends(
    name: str | None, low: Reading, high: Reading, has_low: bool, has_high: bool
) -> tuple[str | None, RealSet] | None:
    if not (_is_constant(low) and _is_constant(high)):
        return None
    interval = _interval(low, high, has_low, has_high)  # type: ignore[arg-type]
    return (name, [interval]) if interval.start <= interval.end else None


def _interval(low: Expression, high: Expression, has_low: bool, has_high: bool) -> Interval:
    start, end = _approximate(low), _approximate(high)
    return Interval(low, high, has_low and low != _MINUS_INFINITY, has_high and high != _INFINITY, start, end)


def _approximate(end: Expression) -> Fraction | float:
    if end == _INFINITY:
        return float("inf")
    if end == _MINUS_INFINITY:
        return float("-inf")
    value = probes.approximate(end)
    return float("nan") if value is None else value


def _merged(intervals: RealSet) -> RealSet:
    """The same set as sorted intervals that do not touch."""
    merged: RealSet = []
    for interval in sorted(intervals, key=lambda i: (i.start, not i.has_low)):
        last = merged[-1] if merged else None
        if (
            last is None
            or interval.start > last.end
            or (interval.start == last.end and not (interval.has_low or last.has_high))
        ):
            merged.append(interval)
        elif interval.end > last.end or (interval.end == last.end and interval.has_high):
            merged[-1] = replace(last, high=interval.high, has_high=interval.has_high, end=interval.end)
    return merged


def _without_points(intervals: RealSet, points: RealSet) -> RealSet:
    for point in points:
        split: RealSet = []
        for interval in intervals:
            if not interval.start <= point.start <= interval.end:
                split.append(interval)
                continue
            if interval.start < point.start:
                split.append(replace(interval, high=point.low, has_high=False, end=point.start))
            if point.start < interval.end:
                split.append(replace(interval, low=point.low, has_low=False, start=point.start))
        intervals = split
    return intervals
