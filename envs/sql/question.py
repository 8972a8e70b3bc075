"""What a family of questions produces."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from .database import FIRST_YEAR, Database, Event

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question about a database, with the query that answers it."""

    text: str
    query: str
    mistakes: tuple[str, ...] = ()
    """Queries that read the question wrongly. Tasks are such that each of them gives another result somewhere."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """The values that the text names."""
    is_ordered: bool = False
    """True where the order of the rows is asked for."""
    is_value: bool = False
    """True where the result is a single number."""


Family = Callable[[np.random.Generator, Database], Question]
"""Makes a question about a database from a generator."""


def choose(rng: np.random.Generator, items: Sequence[T]) -> T:
    """One of `items`."""
    return items[int(rng.integers(len(items)))]


def choose_two(rng: np.random.Generator, items: Sequence[T]) -> tuple[T, T]:
    """Two different places of `items`."""
    first, second = (int(place) for place in rng.choice(len(items), size=2, replace=False))
    return items[first], items[second]


@dataclass(frozen=True)
class Period:
    """Days from the first to the last, both included."""

    first: str
    last: str

    def holds(self, column: str) -> str:
        """The condition that a day is in it."""
        return f"{column} BETWEEN '{self.first}' AND '{self.last}'"

    def mistakes(self, query: str) -> tuple[str, ...]:
        """The query, with the first day left out, and with the last one left out."""
        before = f"{self.last[:-1]}{chr(ord(self.last[-1]) - 1)}~"  # later than any day before the last
        return (
            query.replace(f"BETWEEN '{self.first}'", f"BETWEEN '{self.first}~'"),
            query.replace(f"AND '{self.last}'", f"AND '{before}'"),
        )

    def __str__(self) -> str:
        return f"from {self.first} to {self.last} (both days included)"


def choose_period(rng: np.random.Generator, events: Sequence[Event]) -> Period:
    """From the day of one of these events to that of another, so that it matters whether both days are included."""
    days = sorted({event.day for event in events}) or [f"{FIRST_YEAR}-01-01"]
    first, last = sorted(int(place) for place in rng.integers(len(days), size=2))
    return Period(days[first], days[last])
