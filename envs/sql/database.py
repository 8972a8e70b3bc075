"""A generated database: its rows, and the script that makes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Any

import numpy as np

from .schema import Schema
from .schemas import SCHEMAS

_FIRST_NAMES = (
    *("Ana", "Björn", "Chloé", "Dag", "Eli", "Fatima", "Gus", "Hana", "Ines", "Jun", "Kofi", "Lena", "Mira", "Noor"),
    *("Olga", "Pía", "Quinn", "Ravi", "Søren", "Tove", "Uma", "Vik", "Wen", "Zoë"),
)
_LAST_NAMES = ("Abe", "Ng", "O'Brien", "Łukasik", "García", "Müller", "Okafor", "Smith", "Sato", "de Wit", "王")
_CITIES = ("Bergen", "Cork", "Graz", "København", "Lyon", "Malmö", "Porto")
_ADJECTIVES = ("Blue", "Oak", "Small", "Grand", "Quiet", "Old", "North", "50%", "100%", "Été", "Plain", "Red")
FIRST_YEAR, LAST_YEAR = 2022, 2024
"""Of the events."""


@dataclass(frozen=True)
class Person:
    """A row of the table of people."""

    id: int
    name: str
    city: str | None
    since: str
    sponsor: int | None


@dataclass(frozen=True)
class Thing:
    """A row of the table of things."""

    id: int
    title: str
    price: int | None
    group: int


@dataclass(frozen=True)
class Group:
    """A row of the table of groups."""

    id: int
    name: str
    parent: int | None


@dataclass(frozen=True)
class Event:
    """A row of the table of events."""

    id: int
    person: int
    thing: int
    day: str
    amount: float | None
    status: str


@dataclass(frozen=True, eq=False)
class Database:
    """All rows, each table in the order of its ids."""

    schema: Schema
    people: tuple[Person, ...]
    things: tuple[Thing, ...]
    groups: tuple[Group, ...]
    events: tuple[Event, ...]

    @property
    def script(self) -> str:
        """The statements that make it."""
        s = self.schema
        person = (s.person_id, s.person_name, s.city, s.since, s.sponsor)
        event = (s.event_id, s.event_person, s.event_thing, s.day, s.amount, s.status)
        return "".join(
            (
                s.definition,
                _inserts(s.group.table, (s.group_id, s.group_name, s.parent), self.groups),
                _inserts(s.thing.table, (s.thing_id, s.title, s.price, s.thing_group), self.things),
                _inserts(s.person.table, person, self.people),
                _inserts(s.event.table, event, self.events),
            )
        )


def quote(value: Any) -> str:
    """A value as it is written in SQL."""
    if value is None:
        return "NULL"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


@lru_cache(maxsize=64)
def generate(schema_name: str, seed: int, variant: int = 0) -> Database:
    """The database that a schema and a seed stand for; other variants of it have other rows.

    It has what makes queries go wrong: missing values, ties, two events of one person on a day, people of one name, ids
    with gaps, people and things without events, zeros, apostrophes and characters beyond ASCII.
    """
    rng = np.random.default_rng([seed, variant, sum(schema_name.encode())])
    schema = SCHEMAS[schema_name]
    groups = _groups(rng, schema)
    things = _things(rng, schema, groups)
    people = _people(rng)
    return Database(schema, people, things, groups, _events(rng, schema, people, things))


def _groups(rng: np.random.Generator, schema: Schema) -> tuple[Group, ...]:
    names = [str(name) for name in rng.permutation(schema.group_names)]
    ids = sorted(int(number) for number in rng.choice(30, size=len(names), replace=False) + 1)
    order = [int(place) for place in rng.permutation(len(ids))]  # a parent may have the higher id
    parents = [None if place < 3 else ids[order[int(rng.integers(place))]] for place in range(len(ids))]
    made = [Group(ids[order[place]], names[place], parents[place]) for place in range(len(ids))]
    return tuple(sorted(made, key=lambda group: group.id))


def _things(rng: np.random.Generator, schema: Schema, groups: tuple[Group, ...]) -> tuple[Thing, ...]:
    titles = [f"{adjective} {noun}" for adjective in _ADJECTIVES for noun in schema.nouns]
    chosen = [titles[int(place)] for place in rng.choice(len(titles), size=32, replace=False)]
    cased = [title.title() if rng.random() < 0.3 else title for title in chosen]
    return tuple(
        Thing(
            number,
            title,
            None if rng.random() < 0.1 else int(rng.integers(2, 13)) * 5,
            groups[int(rng.integers(len(groups)))].id,
        )
        for number, title in zip(_ids(rng, len(cased)), cased, strict=True)
    )


def _people(rng: np.random.Generator) -> tuple[Person, ...]:
    people: list[Person] = []
    ids = _ids(rng, 48)
    for place, number in enumerate(ids):
        name = f"{_choice(rng, _FIRST_NAMES)} {_choice(rng, _LAST_NAMES)}"
        if place and rng.random() < 0.1:
            name = people[int(rng.integers(place))].name
        city = None if rng.random() < 0.12 else _choice(rng, _CITIES)
        since = _day(rng, date(2020, 1, 1), date(2023, 6, 30), step=7)
        sponsor = ids[int(rng.integers(place))] if place and rng.random() < 0.6 else None
        people.append(Person(number, name, city, since, sponsor))
    return tuple(people)


def _events(
    rng: np.random.Generator, schema: Schema, people: tuple[Person, ...], things: tuple[Thing, ...]
) -> tuple[Event, ...]:
    people, things = _without(rng, people, 6), _without(rng, things, 3)  # who have no events
    events: list[Event] = []
    weights = np.array([5, 3, 2, 2]) / 12
    for number in _ids(rng, 300):
        person, thing = _choice(rng, people), _choice(rng, things)
        earlier = [event for event in events[-150:] if event.person == person.id]
        if earlier and rng.random() < 0.25:
            day = _choice(rng, earlier).day
        else:
            begin = max(date(FIRST_YEAR, 1, 1), date.fromisoformat(person.since))
            day = _day(rng, begin, date(LAST_YEAR, 12, 31))
        amount: float | None = round(float(rng.integers(0, 400)) / 4, 2)
        if rng.random() < 0.1:
            amount = None
        status = schema.statuses[int(rng.choice(4, p=weights))]
        events.append(Event(number, person.id, thing.id, day, amount, status))
    return tuple(events)


def _ids(rng: np.random.Generator, count: int) -> list[int]:
    """Increasing numbers with gaps."""
    return [int(number) for number in np.cumsum(rng.choice([1, 2, 3], size=count, p=[0.9, 0.07, 0.03])) + 100]


def _day(rng: np.random.Generator, first: date, last: date, *, step: int = 1) -> str:
    return (first + timedelta(days=int(rng.integers((last - first).days // step + 1)) * step)).isoformat()


def _choice(rng: np.random.Generator, items: Any) -> Any:
    return items[int(rng.integers(len(items)))]


def _without(rng: np.random.Generator, items: Any, count: int) -> Any:
    return [items[place] for place in sorted(rng.permutation(len(items))[count:])]


def _inserts(table: str, columns: Iterable[str], rows: Iterable[Any]) -> str:
    values = ",\n".join(f"({', '.join(map(quote, _values(row)))})" for row in rows)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES\n{values};\n"


def _values(row: Any) -> Iterable[Any]:
    fields: Mapping[str, Any] = vars(row)
    return fields.values()
