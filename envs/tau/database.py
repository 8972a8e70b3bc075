"""The database of one episode, over records that all episodes share: only what it writes is copied."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import Any, TypeAlias

Record: TypeAlias = dict[str, Any]
Tables: TypeAlias = Mapping[str, Mapping[str, Record]]
"""Records by table and key. Nobody changes them."""


class Snapshot:
    """The records that an episode begins with.

    Args:
        tables: records by table and key.
        reload: a function and its arguments that give this snapshot again: so a copy in this process is the same
            object, and another process reads its own.
    """

    def __init__(self, tables: Tables, reload: tuple[Callable[..., Snapshot], tuple[Any, ...]]) -> None:
        self.tables = tables
        self._reload = reload

    def __reduce__(self) -> tuple[Callable[..., Snapshot], tuple[Any, ...]]:
        return self._reload


class Database:
    """What one episode reads and writes. A record is copied when it is first written.

    Args:
        snapshot: the records to begin with.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._written: dict[str, dict[str, Record]] = {name: {} for name in snapshot.tables}

    def get(self, table: str, key: str) -> Record | None:
        """The record, to read and not to change; None where there is none."""
        written = self._written[table].get(key)
        return written if written is not None else self._snapshot.tables[table].get(key)

    def records(self, table: str) -> Iterator[tuple[str, Record]]:
        """Keys and records of a table in order, to read and not to change; new ones come last."""
        written, given = self._written[table], self._snapshot.tables[table]
        for key, record in given.items():
            yield key, written.get(key, record)
        for key, record in written.items():
            if key not in given:
                yield key, record

    def edit(self, table: str, key: str) -> Record:
        """The episode's own copy of a record, to change."""
        written = self._written[table]
        if key not in written:
            written[key] = copy.deepcopy(self._snapshot.tables[table][key])
        return written[key]

    def put(self, table: str, key: str, record: Record) -> None:
        """Add a record, or replace it."""
        self._written[table][key] = record

    def changes(self) -> dict[tuple[str, str], Record]:
        """The records that are not as they were, by table and key."""
        return {
            (table, key): record
            for table, records in self._written.items()
            for key, record in records.items()
            if state_text(record) != state_text(self._snapshot.tables[table].get(key))
        }

    def is_as(self, other: Database) -> bool:
        """True where both have the same hash, for two databases over one snapshot. Cheap: it looks at changes alone."""
        return {key: state_text(record) for key, record in self.changes().items()} == {
            key: state_text(record) for key, record in other.changes().items()
        }

    def hash(self) -> str:
        """The published hash of a whole database: 1 and 1.0 differ, and so do lists in another order."""
        tables = {table: dict(self.records(table)) for table in self._snapshot.tables}
        return sha256(state_text(tables).encode()).hexdigest()


def state_text(value: Any) -> str:
    """The text of which tau-bench takes the hash: mappings as sorted pairs, lists as tuples."""
    return str(_as_tuples(value))


def _as_tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple((key, _as_tuples(each)) for key, each in sorted(value.items()))
    if isinstance(value, list):
        return tuple(_as_tuples(each) for each in value)
    return value
