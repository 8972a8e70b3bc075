"""What a family of generated problems produces, and the few things all families share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import numpy as np

T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """A generated problem."""

    text: str
    answer: str
    """A single number: an integer, a finite decimal or a fraction in lowest terms."""
    steps: tuple[str, ...]
    """A worked solution, one line a step; the last one yields the answer."""


Family = Callable[[np.random.Generator, int], Problem]
"""Makes a problem from a generator and a difficulty from 1 (easiest) to 5."""


def randint(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number from `low` to `high`, both included."""
    return int(rng.integers(low, high + 1))


def nonzero(rng: np.random.Generator, size: int) -> int:
    """A whole number from -size to size other than 0."""
    return randint(rng, 1, size) * pick(rng, (1, -1))


def pick(rng: np.random.Generator, items: Sequence[T]) -> T:
    """One of `items`."""
    return items[int(rng.integers(len(items)))]


def distinct(rng: np.random.Generator, low: int, high: int, count: int) -> list[int]:
    """`count` different whole numbers from `low` to `high`, in random order."""
    return [low + int(offset) for offset in rng.choice(high - low + 1, size=count, replace=False)]


def number(value: Fraction | int) -> str:
    """A value as an integer or as a fraction in lowest terms."""
    return str(Fraction(value))


def decimal(value: Fraction) -> str:
    """A value with finitely many decimal places, written as a decimal."""
    scale = 1
    while (value * scale).denominator != 1:
        scale *= 10
        assert scale < 10**30, f"{value} has no finite decimal expansion"
    if scale == 1:
        return str(value.numerator)
    digits = str(abs(int(value * scale))).rjust(len(str(scale)), "0")
    places = len(str(scale)) - 1
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"


def sum_text(terms: Sequence[tuple[int, str]]) -> str:
    """A sum of terms as it is written: [(2, "x"), (-1, "y"), (3, "")] is "2x - y + 3"; zeros are left out."""
    text = ""
    for coefficient, symbol in terms:
        if coefficient == 0:
            continue
        size = "" if abs(coefficient) == 1 and symbol else str(abs(coefficient))
        sign = ("-" if coefficient < 0 else "") if not text else (" - " if coefficient < 0 else " + ")
        text += sign + size + symbol
    return text or "0"
