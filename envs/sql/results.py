"""Whether two queries have the same result, on one database after another."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from llmgym.errors import VerifierError
from llmgym.tools import Sql, ToolError

Row = tuple[Any, ...]

MAX_ROWS = 20_000
"""Of a reference result."""


def why_wrong(query: str, reference: str, databases: Iterable[Sql], *, is_ordered: bool) -> str:
    """Why a query is no answer, or "" where it has the reference's result on all databases.

    Raises:
        VerifierError: the reference itself cannot be run.
    """
    for place, database in enumerate(databases):
        try:
            columns, expected = database.fetch(reference, max_rows=MAX_ROWS + 1)
        except ToolError as error:
            raise VerifierError(f"The reference query {reference!r:.200} cannot be run: {error}") from error
        where = "the database" if place == 0 else "another database of the same kind"
        try:
            given_columns, given = database.fetch(query, max_rows=len(expected) + 1, max_columns=len(columns))
        except ToolError as error:
            return f"on {where}: {error}"
        if len(given_columns) != len(columns):
            return f"on {where}: {len(given_columns)} columns instead of {len(columns)}"
        if not same_rows(expected, given, is_ordered=is_ordered):
            return f"on {where}: other rows than the reference's"
    return ""


def same_rows(expected: Sequence[Row], given: Sequence[Row], *, is_ordered: bool) -> bool:
    """True where the rows are the same: as often, and in the same order where `is_ordered`.

    NULL equals NULL alone. Numbers are equal within 1e-6, relative or absolute, whether whole or not. A text never
    equals a number, and letters are compared as they are.
    """
    if len(expected) != len(given):
        return False
    if is_ordered:
        return all(map(_same_row, expected, given))
    missing = Counter(map(_typed, expected))
    missing.subtract(map(_typed, given))
    # What is not equal to the last bit is paired off, among rows that differ in nothing but numbers.
    left: dict[Any, tuple[list[Row], list[Row]]] = defaultdict(lambda: ([], []))
    for typed, count in missing.items():
        row = tuple(value for _, value in typed)
        left[_without_numbers(row)][count < 0].extend([row] * abs(count))
    return all(_pairs_off(*rows) for rows in left.values())


def _pairs_off(expected: list[Row], given: list[Row]) -> bool:
    if len(expected) != len(given):
        return False
    given = sorted(given)
    for row in sorted(expected):
        place = next((place for place, other in enumerate(given) if _same_row(row, other)), None)
        if place is None:
            return False
        del given[place]
    return True


def _same_row(one: Row, other: Row) -> bool:
    return len(one) == len(other) and all(map(_same_value, one, other))


def _same_value(one: Any, other: Any) -> bool:
    if isinstance(one, float | int) and isinstance(other, float | int):
        return one == other or math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-6)
    return type(one) is type(other) and bool(one == other)


def _typed(row: Row) -> tuple[tuple[str, Any], ...]:
    """The row as a key; 1 and 1.0 are one key, and '1' is another."""
    return tuple(("number" if isinstance(value, float | int) else type(value).__name__, value) for value in row)


def _without_numbers(row: Row) -> Row:
    return tuple(None if isinstance(value, float | int) else (type(value).__name__, value) for value in row)
