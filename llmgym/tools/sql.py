"""SQL on a copy of a database, in memory."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataNotFoundError
from .sql_expansion import num_subqueries
from .tool import Tool, ToolError

_INSTRUCTIONS_A_BEAT = 100
"""SQLite counts the instructions of its virtual machine in beats of so many. One of them may be slow."""
_MAX_SUBQUERIES = 500
_MAX_STATEMENT = 20_000
"""Bytes."""
_LIMITS = {
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: _MAX_STATEMENT,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 100,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 10,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
}
_READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_CHANGEABLE = ("TABLE", "INDEX", "VIEW", "TRIGGER")
_WRITING = {
    getattr(sqlite3, f"SQLITE_{action}")
    for action in (
        *("INSERT", "UPDATE", "DELETE", "ALTER_TABLE", "REINDEX", "ANALYZE"),
        *(f"{verb}_{what}" for verb in ("CREATE", "DROP") for what in _CHANGEABLE),
    )
}
_DESCRIBING = {"table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list"}
"""Pragmas that only tell of the schema."""
_FORBIDDEN = {
    *("random", "randomblob"),  # not of the episode's seed
    *("printf", "format"),  # as slow as a number in them says
    "load_extension",
}
_OUR_FAILURES = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}


class Sql(Tool):
    """Runs one SQL statement at a time on a SQLite database of the episode's own.

    The database is copied into memory, so that nothing reaches a file. A statement may read it and, unless it is
    read-only, change rows and tables; it can neither open another database nor set anything, and is stopped after so
    many instructions of SQLite's virtual machine, which are the same on every machine. What it sorts or compares may go
    to temporary files: one made to do harm can fill some GiB of them for some seconds, at the default limits.

    Args:
        database: file of a SQLite database, which is only read; None for an empty one.
        script: SQL statements that are run on the copy when the episode begins.
        is_read_only: False: the policy may change its copy.
        max_rows: rows that are shown.
        max_value_chars: length of each text, blob or row, in the database and on the way to an answer.
        max_instructions: for one statement; five million take about half a second.
        max_mib: size that the database may grow to.

    Raises:
        DataNotFoundError: there is no such file.
    """

    name = "sql"
    timeout_s = 60.0
    """Of which a statement has a third, where `max_instructions` do not end it much sooner."""

    def __init__(
        self,
        database: str | Path | None = None,
        *,
        script: str = "",
        is_read_only: bool = True,
        max_rows: int = 50,
        max_value_chars: int = 10_000,
        max_instructions: int = 5_000_000,
        max_mib: int = 64,
    ) -> None:
        if database is not None and not Path(database).is_file():
            raise DataNotFoundError(f"There is no database {str(database)!r}. Give the path of a SQLite file.")
        self._settings: dict[str, Any] = {
            "database": database,
            "script": script,
            "is_read_only": is_read_only,
            "max_rows": max_rows,
            "max_value_chars": max_value_chars,
            "max_instructions": max_instructions,
            "max_mib": max_mib,
        }
        self._is_read_only, self._max_rows, self._max_instructions = is_read_only, max_rows, max_instructions
        self._limits = {**_LIMITS, sqlite3.SQLITE_LIMIT_LENGTH: max_value_chars}
        kind = "reads the database" if is_read_only else "reads or changes the database"
        self.description = f"Runs one SQLite statement, which {kind}."
        statement = {"type": "string", "description": "One SQLite statement."}
        self.parameters = {"type": "object", "properties": {"statement": statement}, "required": ["statement"]}
        self._connection: sqlite3.Connection | None = None

    @property
    def connection(self) -> sqlite3.Connection:
        """The episode's database without any restriction, to look at what the policy made of it."""
        if self._connection is None:
            connection, database = _connection(), self._settings["database"]
            if database is not None:
                with closing(sqlite3.connect(f"{Path(database).resolve().as_uri()}?mode=ro", uri=True)) as file:
                    file.backup(connection)
            connection.executescript(self._settings["script"])
            self._connection = connection  # only where all of it is there
        return self._connection

    def begin(self, rng: np.random.Generator) -> Sql:  # noqa: ARG002
        self.close()
        return Sql(**self._settings)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def run(self, *, statement: str) -> str:
        num_before = self.connection.total_changes
        columns, rows = self.fetch(statement, max_rows=self._max_rows + 1)
        if not columns:
            return f"rows changed: {self.connection.total_changes - num_before}"
        return _table(columns, rows, self._max_rows)

    def fetch(
        self, statement: str, *, max_rows: int, max_columns: int | None = None
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """The columns and first rows of a statement, run as the policy's are; no column where it changes something.

        Raises:
            ToolError: it cannot be run, takes too long, or has more columns than `max_columns`.
        """
        if len(statement) > _MAX_STATEMENT:  # said here, as nothing longer should be read at all
            raise ToolError(f"the statement is longer than {_MAX_STATEMENT} characters")
        if num_subqueries(statement) > _MAX_SUBQUERIES:
            raise ToolError(f"the expressions after WITH are named more than {_MAX_SUBQUERIES} times in all")
        connection = self.connection
        page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {(self._settings['max_mib'] << 20) // page_bytes}")
        try:
            with self._restricted(connection), closing(connection.execute(statement)) as cursor:
                columns = [column[0] for column in cursor.description or ()]
                if max_columns is not None and len(columns) > max_columns:
                    raise ToolError(f"the result has {len(columns)} columns, more than {max_columns}")
                return columns, cursor.fetchmany(max_rows)
        except UnicodeEncodeError as error:
            raise ToolError("the statement holds half of a character") from error
        except (sqlite3.Error, sqlite3.Warning) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _OUR_FAILURES:
                raise
            raise ToolError(self._what_went_wrong(error)) from error

    @contextmanager
    def _restricted(self, connection: sqlite3.Connection) -> Iterator[None]:
        allowed = _READING if self._is_read_only else _READING | _WRITING

        is_altering = False

        def authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
            nonlocal is_altering
            is_altering |= action == sqlite3.SQLITE_ALTER_TABLE  # in which SQLite itself uses forbidden functions
            if action == sqlite3.SQLITE_PRAGMA:
                is_allowed = first in _DESCRIBING
            elif action == sqlite3.SQLITE_FUNCTION:
                is_allowed = second not in _FORBIDDEN or is_altering
            else:
                is_allowed = action in allowed
            return sqlite3.SQLITE_OK if is_allowed else sqlite3.SQLITE_DENY

        beats_left, deadline = self._max_instructions // _INSTRUCTIONS_A_BEAT, time.monotonic() + self.timeout_s / 3

        def is_too_much() -> bool:
            nonlocal beats_left
            beats_left -= 1
            return beats_left < 0 or time.monotonic() > deadline

        own_limits = {limit: connection.setlimit(limit, value) for limit, value in self._limits.items()}
        connection.set_authorizer(authorize)
        connection.set_progress_handler(is_too_much, _INSTRUCTIONS_A_BEAT)
        try:
            yield
        finally:
            connection.set_progress_handler(None, 0)
            connection.set_authorizer(None)
            for limit, value in own_limits.items():
                connection.setlimit(limit, value)

    def _what_went_wrong(self, error: Exception) -> str:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_INTERRUPT:
            return "the statement takes too long"
        if code == sqlite3.SQLITE_AUTH:
            may = "only read the database" if self._is_read_only else "only read and change the database"
            return f"{error}: a statement may {may}"
        return str(error)

    def __getstate__(self) -> dict[str, Any]:
        content = None if self._connection is None else self._connection.serialize()
        return {**self.__dict__, "_connection": content}

    def __setstate__(self, state: dict[str, Any]) -> None:
        content = state["_connection"]
        self.__dict__.update(state, _connection=None)
        if content is not None:
            self._connection = _connection()
            self._connection.deserialize(content)


def _connection() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.text_factory = lambda text: text.decode("utf-8", "replace")
    return connection


def _table(columns: list[str], rows: list[tuple[Any, ...]], max_rows: int) -> str:
    lines = [columns, *([_shown(value) for value in row] for row in rows[:max_rows])]
    count = f"rows: {len(rows)}" if len(rows) <= max_rows else f"rows: the first {max_rows} of more"
    return "\n".join([*(" | ".join(line) for line in lines), f"({count})"])


def _shown(value: Any) -> str:
    if value is None:
        return "NULL"
    return f"x'{value.hex()}'" if isinstance(value, bytes) else str(value)
