"""Questions answered by choosing, joining and counting rows."""

from datetime import date

import numpy as np

from .database import FIRST_YEAR, LAST_YEAR, Database, quote
from .question import Question, choose, choose_period, choose_two


def two_conditions(rng: np.random.Generator, db: Database) -> Question:
    """A filter on a text and a date."""
    s = db.schema
    person = choose(rng, [person for person in db.people if person.city])
    lived = f"{s.city} = {quote(person.city)}"
    select = f"SELECT {s.person_id}, {s.person_name} FROM {s.person.table} WHERE"
    return Question(
        text=f"Which {s.person.many} have the {s.city} {person.city} and a {s.since} before {person.since}? "
        f"Give {s.person_id} and {s.person_name}.",
        query=f"{select} {lived} AND {s.since} < {quote(person.since)}",
        mistakes=(
            f"{select} {lived} AND {s.since} <= {quote(person.since)}",
            f"{select} {lived}",
            f"{select} {s.since} < {quote(person.since)}",
        ),
        given={"city": person.city, "since": person.since},
    )


def not_from(rng: np.random.Generator, db: Database) -> Question:
    """A negation that must keep missing values."""
    s = db.schema
    city = choose(rng, [person.city for person in db.people if person.city])
    select = f"SELECT {s.person_id} FROM {s.person.table} WHERE"
    return Question(
        text=f"Which {s.person.many} are not known to have the {s.city} {city}? Those without a recorded {s.city} "
        f"belong to them. Give {s.person_id}.",
        query=f"{select} {s.city} IS NOT {quote(city)}",
        mistakes=(f"{select} {s.city} <> {quote(city)}", f"{select} {s.city} IS NULL"),
        given={"city": city},
    )


def missing_value(rng: np.random.Generator, db: Database) -> Question:
    """Rows in which a value is missing."""
    s, status = db.schema, choose(rng, db.schema.statuses)
    period = choose_period(rng, [e for e in db.events if e.amount is None and e.status == status])
    select = f"SELECT {s.event_id} FROM {s.event.table} WHERE {period.holds(s.day)} AND"
    return Question(
        text=f"Which {s.event.many} with a {s.day} {period} and the {s.status} '{status}' have no recorded {s.amount}? "
        f"Give {s.event_id}.",
        query=f"{select} {s.amount} IS NULL AND {s.status} = {quote(status)}",
        mistakes=(
            f"{select} COALESCE({s.amount}, 0) = 0 AND {s.status} = {quote(status)}",
            f"{select} {s.amount} IS NULL",
            f"{select} {s.amount} = '' AND {s.status} = {quote(status)}",
        ),
        given={"status": status, "period": period},
    )


def contains_word(rng: np.random.Generator, db: Database) -> Question:
    """A substring in any case."""
    s, word, price = db.schema, choose(rng, db.schema.nouns), 5 * int(rng.integers(5, 12))
    select = f"SELECT {s.thing_id}, {s.title} FROM {s.thing.table} WHERE {s.price} <= {price} AND"
    return Question(
        text=f"Which {s.thing.many} with a {s.price} of at most {price} have '{word}' in their {s.title}, in capital "
        f"or small letters? Give {s.thing_id} and {s.title}.",
        query=f"{select} {s.title} LIKE '%{word}%'",
        mistakes=(
            f"{select} instr({s.title}, '{word}') > 0",
            f"{select} {s.title} LIKE '{word}%'",
            f"{select.replace('<=', '<')} {s.title} LIKE '%{word}%'",
        ),
        given={"word": word, "price": price},
    )


def contains_sign(rng: np.random.Generator, db: Database) -> Question:
    """A substring that is a wildcard of LIKE, and a bound."""
    s = db.schema
    price = choose(rng, sorted({thing.price for thing in db.things if thing.price}))
    select = f"SELECT {s.thing_id} FROM {s.thing.table} WHERE"
    return Question(
        text=f"Which {s.thing.many} have a per cent sign (%) in their {s.title} and a {s.price} of {price} or more? "
        f"Give {s.thing_id}.",
        query=f"{select} instr({s.title}, '%') > 0 AND {s.price} >= {price}",
        mistakes=(
            f"{select} {s.title} LIKE '%%%' AND {s.price} >= {price}",
            f"{select} instr({s.title}, '%') > 0 AND {s.price} > {price}",
        ),
        given={"price": price},
    )


def month_of_events(rng: np.random.Generator, db: Database) -> Question:
    """A join of three tables with a filter on the month."""
    s, month = db.schema, choose(rng, db.events).day[:7]
    columns = f"e.{s.event_id}, p.{s.person_name}, t.{s.title}"
    joined = f"{s.events_people} JOIN {s.thing.table} t ON t.{s.thing_id} = e.{s.event_thing}"
    return Question(
        text=f"Which {s.event.many} have a {s.day} in the month {month}? For each, give {s.event_id}, the "
        f"{s.person_name} of its {s.person.one} and the {s.title} of its {s.thing.one}.",
        query=f"SELECT {columns} FROM {joined} WHERE e.{s.day} LIKE '{month}-%'",
        mistakes=(
            f"SELECT {columns} FROM {joined} WHERE strftime('%m', e.{s.day}) = '{month[5:]}'",
            f"SELECT {columns} FROM {joined} WHERE e.{s.day} LIKE '{month}-%' GROUP BY p.{s.person_id}",
        ),
        given={"month": month},
    )


def never_with_status(rng: np.random.Generator, db: Database) -> Question:
    """Rows without a partner of a kind."""
    s, status = db.schema, choose(rng, db.schema.statuses)
    period = choose_period(rng, [e for e in db.events if e.status == status])
    select, events = f"SELECT {s.person_id} FROM {s.person.table} WHERE {s.person_id}", s.event.table
    where = f"WHERE {period.holds(s.day)}"
    return Question(
        text=f"Which {s.person.many} have no {s.event.one} with the {s.status} '{status}' and a {s.day} {period}? "
        f"Those without any {s.event.one} belong to them. Give {s.person_id}.",
        query=f"{select} NOT IN (SELECT {s.event_person} FROM {events} {where} AND {s.status} = {quote(status)})",
        mistakes=(
            f"{select} NOT IN (SELECT {s.event_person} FROM {events} {where})",
            f"{select} NOT IN (SELECT {s.event_person} FROM {events} WHERE {s.status} = {quote(status)})",
            f"{select} IN (SELECT {s.event_person} FROM {events} {where} AND {s.status} <> {quote(status)})",
        ),
        given={"status": status, "period": period},
    )


def count_with_zero(rng: np.random.Generator, db: Database) -> Question:
    """An outer join, whose condition does not belong into WHERE."""
    s, period = db.schema, choose_period(rng, db.events)
    of_period = period.holds(f"e.{s.day}")
    on = f"e.{s.event_thing} = t.{s.thing_id} AND {of_period}"
    select, join = f"SELECT t.{s.thing_id},", f"FROM {s.thing.table} t LEFT JOIN {s.event.table} e ON"
    group = f"GROUP BY t.{s.thing_id}"
    return Question(
        text=f"How many {s.event.many} with a {s.day} {period} does each {s.thing.one} have? Give {s.thing_id} "
        "and the number, 0 where there are none.",
        query=f"{select} COUNT(e.{s.event_id}) {join} {on} {group}",
        mistakes=(
            f"{select} COUNT(*) {join} {on} {group}",
            f"{select} COUNT(e.{s.event_id}) {join} e.{s.event_thing} = t.{s.thing_id} WHERE {of_period} {group}",
        ),
        given={"period": period},
    )


def long_wait(rng: np.random.Generator, db: Database) -> Question:
    """Days between two dates."""
    s = db.schema
    first = {event.person: min(e.day for e in db.events if e.person == event.person) for event in db.events}
    waits = sorted(_days(person.since, first[person.id]) for person in db.people if person.id in first)
    days = choose(rng, waits[len(waits) // 4 : -len(waits) // 4])
    wait = f"julianday(MIN(e.{s.day})) - julianday(p.{s.since})"
    select, group = f"SELECT p.{s.person_id} FROM {s.events_people}", f"GROUP BY p.{s.person_id}, p.{s.since}"
    return Question(
        text=f"Which {s.person.many} had their first {s.event.one} (by {s.day}) more than {days} days after their "
        f"{s.since}? Give {s.person_id}.",
        query=f"{select} {group} HAVING {wait} > {days}",
        mistakes=(
            f"{select} {group} HAVING {wait} >= {days}",
            f"{select} WHERE julianday(e.{s.day}) - julianday(p.{s.since}) > {days} {group}",
        ),
        given={"days": days},
    )


def same_city_and_since(rng: np.random.Generator, db: Database) -> Question:
    """Pairs of rows of one table."""
    s, since = db.schema, choose(rng, db.people).since
    joined = f"SELECT a.{s.person_id}, b.{s.person_id} FROM {s.person.table} a JOIN {s.person.table} b"
    later = f"a.{s.since} >= '{since}' AND b.{s.since} >= '{since}'"
    same = f"a.{s.city} = b.{s.city} AND {later}"
    year = f"substr(a.{s.since}, 1, 4) = substr(b.{s.since}, 1, 4)"
    return Question(
        text=f"Among the {s.person.many} with a {s.since} of {since} or later, which pairs have the same recorded "
        f"{s.city} and a {s.since} in the same year? Give both {s.person_id}, the smaller one first; each pair once.",
        query=f"{joined} ON {same} AND {year} AND a.{s.person_id} < b.{s.person_id}",
        mistakes=(
            f"{joined} ON {same} AND {year} AND a.{s.person_id} <> b.{s.person_id}",
            f"{joined} ON {same} AND a.{s.person_id} < b.{s.person_id}",
            f"{joined} ON a.{s.city} IS b.{s.city} AND {later} AND {year} AND a.{s.person_id} < b.{s.person_id}",
        ),
        given={"since": since},
    )


def city_of_sponsor(rng: np.random.Generator, db: Database) -> Question:
    """A table joined with itself along a reference."""
    s, is_same, since = db.schema, bool(rng.integers(2)), choose(rng, db.people).since
    joined = f"SELECT a.{s.person_id} FROM {s.person.table} a JOIN {s.person.table} b"
    sponsor = f"b.{s.person_id} = a.{s.sponsor} AND a.{s.since} >= '{since}'"
    operator = "=" if is_same else "<>"
    return Question(
        text=f"Which {s.person.many} with a {s.since} of {since} or later have "
        f"{'the same' if is_same else 'another'} {s.city} "
        f"{'as' if is_same else 'than'} the {s.person.one} that their {s.sponsor} refers to? Leave out those where "
        f"either {s.city} is not recorded. Give {s.person_id}.",
        query=f"{joined} ON {sponsor} WHERE a.{s.city} {operator} b.{s.city}",
        mistakes=(
            f"{joined} ON {sponsor} WHERE a.{s.city} IS {'' if is_same else 'NOT '}b.{s.city}",
            f"SELECT b.{s.person_id} FROM {s.person.table} a JOIN {s.person.table} b "
            f"ON {sponsor} WHERE a.{s.city} {operator} b.{s.city}",
        ),
        given={"is_same": is_same, "since": since},
    )


def in_one_but_not_other(rng: np.random.Generator, db: Database) -> Question:
    """A difference of sets."""
    s = db.schema
    one, other = (group.name for group in choose_two(rng, db.groups))
    select = f"SELECT e.{s.event_person} FROM {s.events_things} JOIN {s.group.table} g"
    select = f"{select} ON g.{s.group_id} = t.{s.thing_group} WHERE g.{s.group_name}"
    both = f"SELECT DISTINCT {s.event_person} FROM ({select} = {quote(one)})"
    return Question(
        text=f"Which {s.person.many} have {s.event.many} of {s.thing.many} that belong directly to the {s.group.one} "
        f"'{one}', but none of {s.thing.many} that belong directly to '{other}'? Give {s.person_id}, each once.",
        query=f"{select} = {quote(one)} EXCEPT {select} = {quote(other)}",
        mistakes=(
            f"{both} WHERE 1",
            f"{select} = {quote(other)} EXCEPT {select} = {quote(one)}",
            f"{select} = {quote(one)} INTERSECT {select} <> {quote(other)}",
        ),
        given={"one": one, "other": other},
    )


def every_status(rng: np.random.Generator, db: Database) -> Question:
    """A division: rows that have a partner of every kind."""
    s = db.schema
    year = int(rng.integers(FIRST_YEAR, LAST_YEAR + 1))
    since = f"{year}-{int(rng.integers(1, 7)):02d}-01"
    select = f"SELECT {s.event_person} FROM {s.event.table}"
    group, four = f"GROUP BY {s.event_person} HAVING COUNT", f"(SELECT COUNT(DISTINCT {s.status}) FROM {s.event.table})"
    later = f"WHERE {s.day} >= '{since}'"
    return Question(
        text=f"Each {s.event.one} has one of the {s.status} values {', '.join(map(repr, s.statuses))}. Which "
        f"{s.person.many} have at least one {s.event.one} with a {s.day} of {since} or later for each of these values? "
        f"Give {s.person_id}.",
        query=f"{select} {later} {group}(DISTINCT {s.status}) = {four}",
        mistakes=(f"{select} {later} {group}(*) >= {four}", f"{select} {group}(DISTINCT {s.status}) = {four}"),
        given={"start": since},
    )


def _days(first: str, last: str) -> int:
    return (date.fromisoformat(last) - date.fromisoformat(first)).days
