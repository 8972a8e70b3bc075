"""Tasks from families of questions, such that each usual misreading of a question is found out."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from typing import Any

import numpy as np

from llmgym.episode import Task, split_of
from llmgym.errors import DataError

from .database import generate
from .families import FAMILIES
from .question import Question
from .results import Row, same_rows
from .schemas import SCHEMAS

VARIANTS = (0, 1, 2)
"""Of each database: the one that is shown, and the hidden ones."""
_SEEDS = 100_000
"""Of databases of one schema."""
_DRAWS = 40
"""Questions of one family that are tried on one database."""


def generated_task(rng: np.random.Generator, *, families: Sequence[str], forms: Sequence[str], split: str) -> Task:
    """A question of one of the families, about a database of its own, whose prompt falls into the split.

    Args:
        rng: all randomness comes from it.
        families: names of families to choose from.
        forms: "query", "value" or both: what the policy is asked for. A question with many rows asks for a query.
        split: "train" or "test".
    """
    family = families[int(rng.integers(len(families)))]
    for _ in range(100):
        schema = tuple(SCHEMAS)[int(rng.integers(len(SCHEMAS)))]
        seed = int(rng.integers(_SEEDS))
        with _connections(schema, seed) as connections:
            for _ in range(_DRAWS):
                question = FAMILIES[family](rng, generate(schema, seed))
                form = str(rng.choice(list(forms))) if question.is_value else "query"
                prompt = prompt_of(question, form)
                if split_of(prompt) != split or form not in forms:
                    continue
                answer = _answer_if_sound(question, form, connections)
                if answer is not None:
                    metadata = {
                        "family": family,
                        "schema": schema,
                        "seed": seed,
                        "form": form,
                        "query": question.query,
                        "is_ordered": question.is_ordered,
                        "given": question.given,
                    }
                    return Task(key="", prompt=prompt, answer=answer, metadata=metadata)
    raise DataError(f"No question of the family {family!r} came out sound for the split {split!r} in 100 databases.")


def prompt_of(question: Question, form: str) -> str:
    """The question, and what to answer with."""
    if form == "value":
        return f"{question.text}\nAnswer with the number alone, exact to two decimal places."
    order = "in the order that the question asks for" if question.is_ordered else "in any order"
    columns = "one value" if question.is_value else "the columns in the order in which the question names them"
    rows = "" if question.is_value else f", the rows {order}, none of them twice"
    return f"{question.text}\nAnswer with one SQLite query whose result is this: {columns}{rows}, no number rounded."


def _answer_if_sound(question: Question, form: str, connections: Sequence[sqlite3.Connection]) -> str | None:
    """The reference answer; None where guessing, or one of the usual mistakes, would earn the reward too."""
    judged = connections[:1] if form == "value" else connections
    results = [_rows(connection, question.query) for connection in judged]
    if not results[0]:
        return None
    for mistake in (*question.mistakes, *_wrong_bounds(question)):
        others = (_rows(connection, mistake) for connection in judged)
        same = (same_rows(*pair, is_ordered=question.is_ordered) for pair in zip(results, others, strict=True))
        if all(same):
            return None
    if form == "value":
        return _number_if_hard_to_guess(results[0][0][0])
    is_constant = any(same_rows(results[0], result, is_ordered=False) for result in results[1:])
    return None if is_constant or not any(results[1:]) else question.query


def _wrong_bounds(question: Question) -> list[str]:
    """The query with each of its bounds in time left out where it belongs in, or the other way round."""
    period, query = question.given.get("period"), question.query
    wrong = [] if period is None else [*period.mistakes(query)]
    for day in (question.given.get("since"), question.given.get("until")):
        others = {f">= '{day}'": f"> '{day}'", f"<= '{day}'": f"< '{day}'", f" < '{day}'": f" <= '{day}'"}
        wrong += [query.replace(bound, other) for bound, other in others.items() if bound in query]
    return wrong


def _number_if_hard_to_guess(value: Any) -> str | None:
    """A number as it is written; None where it is whole and small, or no number."""
    if value is None or (float(value).is_integer() and abs(value) < 20):
        return None
    return str(value) if isinstance(value, int) else f"{value:.6f}".rstrip("0").rstrip(".")


def _rows(connection: sqlite3.Connection, query: str) -> list[Row]:
    return connection.execute(query).fetchall()


@contextmanager
def _connections(schema: str, seed: int) -> Iterator[list[sqlite3.Connection]]:
    """The database and its variants."""
    connections = [sqlite3.connect(":memory:") for _ in VARIANTS]
    try:
        for variant, connection in zip(VARIANTS, connections, strict=True):
            connection.deserialize(_content(schema, seed, variant))
        yield connections
    finally:
        for connection in connections:
            connection.close()


@lru_cache(maxsize=64)
def _content(schema: str, seed: int, variant: int) -> bytes:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(generate(schema, seed, variant).script)
        return connection.serialize()
