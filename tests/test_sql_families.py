"""Every family's reference query against a slow computation over the rows."""

import sqlite3
import statistics
from collections import Counter
from contextlib import closing
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest
from llmgym.envs.sql import FAMILIES, SQLEnv
from llmgym.envs.sql.database import generate
from llmgym.envs.sql.families import VALUE_FAMILIES
from llmgym.envs.sql.generate import _wrong_bounds, generated_task
from llmgym.envs.sql.question import Question
from llmgym.envs.sql.results import same_rows
from llmgym.envs.sql.schemas import SCHEMAS

from llmgym.episode import split_of


def within(period, event):
    return period.first <= event.day <= period.last


def person_of(db, event):
    return next(person for person in db.people if person.id == event.person)


def thing_of(db, event):
    return next(thing for thing in db.things if thing.id == event.thing)


def group_of(db, thing):
    return next(group for group in db.groups if group.id == thing.group)


def by_day(events):
    return sorted(events, key=lambda event: (event.day, event.id))


def events_of(db, person):
    return [event for event in db.events if event.person == person.id]


def days_between(first, last):
    return (date.fromisoformat(last) - date.fromisoformat(first)).days


def total(events):
    return sum(event.amount or 0 for event in events)


def two_conditions(db, city, since):
    return [(p.id, p.name) for p in db.people if p.city == city and p.since < since]


def not_from(db, city):
    return [(p.id,) for p in db.people if p.city != city]


def missing_value(db, status, period):
    return [(e.id,) for e in db.events if within(period, e) and e.amount is None and e.status == status]


def contains_word(db, word, price):
    return [(t.id, t.title) for t in db.things if t.price and t.price <= price and word in t.title.lower()]


def contains_sign(db, price):
    return [(t.id,) for t in db.things if t.price and t.price >= price and "%" in t.title]


def month_of_events(db, month):
    return [(e.id, person_of(db, e).name, thing_of(db, e).title) for e in db.events if e.day[:7] == month]


def never_with_status(db, status, period):
    def has_one(person):
        return any(e.status == status and within(period, e) for e in events_of(db, person))

    return [(p.id,) for p in db.people if not has_one(p)]


def count_with_zero(db, period):
    return [(t.id, sum(e.thing == t.id and within(period, e) for e in db.events)) for t in db.things]


def long_wait(db, days):
    firsts = {p: min(e.day for e in events_of(db, p)) for p in db.people if events_of(db, p)}
    return [(p.id,) for p, first in firsts.items() if days_between(p.since, first) > days]


def same_city_and_since(db, since):
    people = [p for p in db.people if p.since >= since and p.city is not None]
    pairs = [(a, b) for a in people for b in people if a.id < b.id]
    return [(a.id, b.id) for a, b in pairs if a.city == b.city and a.since[:4] == b.since[:4]]


def city_of_sponsor(db, is_same, since):
    pairs = [(a, b) for a in db.people for b in db.people if a.sponsor == b.id and a.since >= since]
    return [(a.id,) for a, b in pairs if None not in (a.city, b.city) and (a.city == b.city) == is_same]


def in_one_but_not_other(db, one, other):
    def names(person):
        return {group_of(db, thing_of(db, e)).name for e in events_of(db, person)}

    return [(p.id,) for p in db.people if one in names(p) and other not in names(p)]


def every_status(db, start):
    def seen(person):
        return {e.status for e in events_of(db, person) if e.day >= start}

    return [(p.id,) for p in db.people if seen(p) == set(db.schema.statuses)]


def amounts(db, status, period):
    return [e.amount for e in db.events if e.status == status and within(period, e) and e.amount is not None]


def average(db, status, period):
    found = amounts(db, status, period)
    return [(sum(found) / len(found) if found else None,)]


def median(db, status, period):
    found = amounts(db, status, period)
    return [(statistics.median(found) if found else None,)]


def share(db, city, status):
    events = [e for e in db.events if person_of(db, e).city == city]
    return [(100 * sum(e.status == status for e in events) / len(events) if events else None,)]


def percent_change(db, year, months):
    before, after = (
        total(e for e in db.events if int(e.day[:4]) == year + add and int(e.day[5:7]) <= months) for add in (0, 1)
    )
    return [(100 * (after / before - 1),)]


def different_pairs(db, period, price):
    dear = [e for e in db.events if within(period, e) and (thing_of(db, e).price or 0) > price]
    return [(len({(e.person, e.thing) for e in dear}),)]


def people_per_city(db, since):
    return list(Counter(p.city for p in db.people if p.city is not None and p.since < since).items())


def busy_people(db, status, least):
    counts = [(p.id, p.name, sum(e.status == status for e in events_of(db, p))) for p in db.people]
    return [row for row in counts if row[2] >= least]


def namesakes(db, since):
    return [row for row in Counter(p.name for p in db.people if p.since >= since).items() if row[1] > 1]


def prices(things):
    return [t.price for t in things if t.price is not None]


def dearer_than_all_on_average(db, word, margin):
    wordy = prices(t for t in db.things if word in t.title.lower())
    return [(t.id,) for t in db.things if wordy and t.price and t.price - margin > statistics.mean(wordy)]


def dearer_than_own_group(db, margin):
    of = {g.id: prices(t for t in db.things if t.group == g.id) for g in db.groups}
    return [(t.id, t.price) for t in db.things if t.price and t.price - margin > statistics.mean(of[t.group])]


def statuses_by_year(db, one, other, city):
    events = [e for e in db.events if person_of(db, e).city == city]
    counts = Counter((e.day[:4], e.status) for e in events)
    return [(year, counts[year, one], counts[year, other]) for year in {e.day[:4] for e in events}]


def price_bands(db, low, high):
    def band(price):
        return "unknown" if price is None else "high" if price >= high else "middle" if price >= low else "low"

    return list(Counter(band(t.price) for t in db.things).items())


def share_of_groups(db, period):
    events = [e for e in db.events if within(period, e) and e.amount is not None]
    of = {g: [e for e in events if thing_of(db, e).group == g.id] for g in db.groups}
    return [(g.name, 100 * total(own) / total(events)) for g, own in of.items() if own]


def latest_of_each(db, period):
    of = {p.id: by_day(e for e in events_of(db, p) if within(period, e)) for p in db.people}
    return [(number, events[-1].id) for number, events in of.items() if events]


def last_status(db, status, until):
    of = {p.id: by_day(e for e in events_of(db, p) if e.day <= until) for p in db.people}
    return [(number,) for number, events in of.items() if events and events[-1].status == status]


def dearest_of_each_group(db, count, limit):
    rows = []
    for group in db.groups:
        things = [t for t in db.things if t.group == group.id and t.price and t.price <= limit]
        rows += [(group.name, t.id, t.price) for t in sorted(things, key=lambda t: (-t.price, t.id))[:count]]
    return rows


def top_overall(db, count, period):
    of = {t: [e for e in db.events if e.thing == t.id and within(period, e)] for t in db.things}
    ranked = sorted((t for t in of if of[t]), key=lambda t: (-total(of[t]), t.id))
    return [(t.title, total(of[t])) for t in ranked[:count]]


def running_total(db, thing):
    events = by_day(e for e in db.events if e.thing == thing)
    return [(e.id, e.day, total(events[: place + 1])) for place, e in enumerate(events)]


def neighbours(db):
    for person in db.people:
        events = by_day(events_of(db, person))
        yield from pairwise(events)


def more_than_before(db, period):
    pairs = [(a.amount, b.amount, b) for a, b in neighbours(db) if within(period, b)]
    return [(e.id,) for before, after, e in pairs if None not in (before, after) and after > before]


def monthly_change(db, status, year):
    counts = Counter(e.day[:7] for e in db.events if e.status == status and e.day[:4] == str(year))
    months = sorted(counts)
    before = [None, *(counts[month] for month in months)]
    return [(m, counts[m], None if b is None else counts[m] - b) for m, b in zip(months, before, strict=False)]


def usual_status(db, city):
    of = {p.id: Counter(e.status for e in events_of(db, p)) for p in db.people if p.city == city}
    return [(number, min(c, key=lambda status: (-c[status], status))) for number, c in of.items() if c]


def within_group(db, group):
    def is_below(other):
        return other.name == group or any(is_below(up) for up in db.groups if up.id == other.parent)

    return [(t.id,) for t in db.things if is_below(group_of(db, t))]


def chain_of_sponsors(db, person):
    sponsor, rows = {p.id: p.sponsor for p in db.people}, []
    while (person := sponsor.get(person)) is not None:
        rows.append((person, len(rows) + 1))
    return rows


def unused_numbers(db, first, last):
    return [(number,) for number in range(first, last + 1) if number not in {e.id for e in db.events}]


def long_pauses(db, days):
    return [(b.person, a.day, b.day) for a, b in neighbours(db) if days_between(a.day, b.day) > days]


def longest_streak(db, least, period):
    seen, rows = {date.fromisoformat(e.day) for e in db.events if within(period, e)}, []
    for first in (day for day in seen if day - timedelta(days=1) not in seen):
        last = first
        while last + timedelta(days=1) in seen:
            last += timedelta(days=1)
        if (last - first).days + 1 >= least:
            rows.append((first.isoformat(), last.isoformat()))
    return rows


SPARE = 3
"""Databases that belong to no task: the definition is compared there too."""


def rows_of(database, query):
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(database.script)
        return connection.execute(query).fetchall()


def assert_agrees(family, seed):
    split = ("train", "test")[seed % 2]
    task = generated_task(np.random.default_rng(seed), families=[family], forms=("query", "value"), split=split)
    meta = task.metadata
    for variant in range(SPARE + 1):
        database = generate(meta["schema"], meta["seed"], variant)
        expected, found = globals()[family](database, **meta["given"]), rows_of(database, meta["query"])
        assert len(set(found)) == len(found)
        assert same_rows(expected, found, is_ordered=meta["is_ordered"]), (task.prompt, expected, found)
    assert split_of(task.prompt) == split


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(2))
def test_reference_query_gives_what_its_definition_gives(family, seed):
    assert_agrees(family, seed)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_reference_query_gives_what_its_definition_gives_for_many_seeds(family):
    for seed in range(2, 6):
        assert_agrees(family, seed)


@pytest.mark.parametrize("family", ["latest_of_each", "missing_value", "last_status", "people_per_city"])
def test_a_bound_on_the_wrong_side_gives_other_rows_on_some_database(family):
    task = generated_task(np.random.default_rng(0), families=[family], forms=("query",), split="train")
    meta = task.metadata
    right = [rows_of(generate(meta["schema"], meta["seed"], variant), meta["query"]) for variant in range(3)]

    question = Question(text="", query=meta["query"], given=meta["given"])
    for wrong in _wrong_bounds(question):
        assert [rows_of(generate(meta["schema"], meta["seed"], v), wrong) for v in range(3)] != right
    assert len(_wrong_bounds(question)) == (2 if "period" in meta["given"] else 1)


def test_values_are_asked_for_where_the_result_is_one_number():
    database, rng = generate("shop", 1), np.random.default_rng(0)

    single = {family for family in FAMILIES if FAMILIES[family](rng, database).is_value}

    assert single == set(VALUE_FAMILIES)


@pytest.mark.slow
def test_no_count_is_so_frequent_that_always_saying_it_pays():
    tasks = SQLEnv(families=["different_pairs"], form="value").tasks("train")

    answers = Counter(tasks[index].answer for index in range(60))

    assert answers.most_common(1)[0][1] <= 4


def test_whether_the_bounds_of_a_sequence_belong_to_it_is_said_and_matters():
    task = generated_task(np.random.default_rng(0), families=["unused_numbers"], forms=("query",), split="train")
    (first, last), meta = task.metadata["given"].values(), task.metadata
    databases = [generate(meta["schema"], meta["seed"], variant) for variant in range(3)]

    unused = [row for database in databases for row in rows_of(database, meta["query"])]

    assert f"from {first} to {last} (both included)" in task.prompt
    assert (first,) in unused or (last,) in unused


@pytest.mark.parametrize("schema", SCHEMAS)
def test_databases_hold_what_makes_queries_go_wrong(schema):
    db = generate(schema, 3)
    names, days = Counter(p.name for p in db.people), Counter((e.person, e.day) for e in db.events)

    assert all(None in found for found in ({p.city for p in db.people}, {e.amount for e in db.events}))
    assert min(max(names.values()), max(days.values())) > 1
    assert {p.id for p in db.people} > {e.person for e in db.events}
    assert {t.id for t in db.things} > {e.thing for e in db.events}
    assert not all(name.isascii() for name in names)
    assert any("'" in name for name in names)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_databases_are_whole_and_the_same_each_time(schema):
    generate.cache_clear()
    script = generate(schema, 5, 1).script
    generate.cache_clear()

    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(script)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert generate(schema, 5, 1).script == script
    assert generate(schema, 5, 2).script != script
