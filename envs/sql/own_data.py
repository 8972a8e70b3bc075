"""Questions of one's own, over SQLite files of one's own."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any

from llmgym.episode import Task, content_key
from llmgym.errors import DataError, DataNotFoundError

from ..math.rows import prompt_of

_SUFFIXES = (".sqlite", ".db", ".sqlite3")
_QUERY_COLUMNS = ("query", "sql", "SQL")
_DATABASE_COLUMNS = ("db_id", "database")


def question_task(where: str, row: Mapping[str, Any], columns: Mapping[str, str]) -> Task:
    """The task of a row: a question with a reference query, or else with a plain answer; the database by its name.

    Raises:
        DataError: the row lacks the question, or has neither query nor answer.
    """
    question = prompt_of(where, row, columns)
    query = _first(row, columns, "query", _QUERY_COLUMNS)
    answer = query if query is not None else _first(row, columns, "answer", ("answer",))
    if answer is None or not str(answer).strip():
        raise DataError(
            f"{where}: the row has the columns {', '.join(map(repr, row)) or 'none'}, but a reference query was "
            f"expected in {' or '.join(map(repr, _QUERY_COLUMNS))}, or an answer in 'answer'. Name the column with "
            'columns={"query": ...} or columns={"answer": ...}.'
        )
    name = str(_first(row, columns, "database", _DATABASE_COLUMNS) or "")
    ordered = _first(row, columns, "ordered", ("ordered",))
    metadata = {
        "database": name,
        "form": "query" if query is not None else "value",
        "query": query,
        "is_ordered": ends_in_an_order(str(query)) if ordered is None else bool(ordered),
    }
    instruction = _INSTRUCTIONS[str(metadata["form"])]
    # One question may be asked of several databases.
    key = content_key(f"{name}\n{question}", str(answer))
    return Task(key=key, prompt=f"{question}\n{instruction}", answer=str(answer), metadata=metadata)


_INSTRUCTIONS = {
    "query": "Answer with one SQLite query whose result is the answer.",
    "value": "Answer with the value alone.",
}


def database_file(database: str, name: str) -> Path:
    """The file of the database that a row names.

    Args:
        database: a SQLite file, or a folder with NAME.sqlite or NAME/NAME.sqlite (or .db, .sqlite3) for each database.
        name: what the row calls it; "" where it calls it nothing.

    Raises:
        DataNotFoundError: there is no such file.
    """
    path = Path(database).expanduser()
    if path.is_file():
        return path
    places = [path / part / f"{name}{suffix}" for part in ("", name) for suffix in _SUFFIXES]
    found = next((place for place in places if name and place.is_file()), None)
    if found is None:
        raise DataNotFoundError(
            f"There is no SQLite database {name!r} in {database!r}. Give a file, or a folder that holds NAME.sqlite or "
            'NAME/NAME.sqlite for each name in the column "db_id", or in the one that columns={"database": ...} names.'
        )
    return found


@lru_cache(maxsize=64)
def thinning(path: str, variant: int) -> str:
    """Statements that leave out about two in five rows of each table that no other table refers to.

    So a copy is made on which a query that lists the right rows, instead of finding them, is found out. References stay
    whole, because tables that others refer to stay as they are.

    Raises:
        DataError: the file is no SQLite database.
    """
    try:
        with closing(sqlite3.connect(f"{Path(path).resolve().as_uri()}?mode=ro", uri=True)) as connection:
            listed = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall()
            tables = [name for name, sql in listed if not name.startswith("sqlite_") and sql]
            references = 'SELECT lower("table") FROM pragma_foreign_key_list(?)'
            referred = {row[0] for name in tables for row in connection.execute(references, (name,))}
            without_rowid = {row[1] for row in connection.execute("PRAGMA table_list") if row[4]}
    except sqlite3.DatabaseError as error:
        raise DataError(f"{path} is not a SQLite database: {error}. Name another file in `database`.") from error
    thinned = [name for name in tables if name.lower() not in referred and name not in without_rowid]
    names = ('"' + name.replace('"', '""') + '"' for name in thinned)
    return "".join(f"DELETE FROM {name} WHERE (rowid * 7919 + {variant * 31}) % 97 < 39;\n" for name in names)


def ends_in_an_order(query: str) -> bool:
    """True where a query orders its result: it has ORDER BY outside of all parentheses and quotes."""
    depth, quoted, kept = 0, "", []
    for letter in query:
        if quoted:
            quoted = "" if letter == quoted else quoted
        elif letter in "'\"`":
            quoted = letter
        else:
            depth += (letter == "(") - (letter == ")")
            if depth == 0:
                kept.append(letter)
    return " order by " in f" {' '.join(''.join(kept).lower().split())} "


def _first(row: Mapping[str, Any], columns: Mapping[str, str], what: str, names: tuple[str, ...]) -> Any:
    column = columns.get(what) or next((name for name in names if name in row), None)
    return None if column is None else row.get(column)
