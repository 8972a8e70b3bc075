"""Questions about order within groups, about neighbours, and about chains and gaps."""

from datetime import date, timedelta

import numpy as np

from .database import FIRST_YEAR, LAST_YEAR, Database, quote
from .question import Question, choose, choose_period


def latest_of_each(rng: np.random.Generator, db: Database) -> Question:
    """The newest row of each group, with a rule for ties."""
    s, period = db.schema, choose_period(rng, db.events)

    def query(order: str) -> str:
        ranked = f"ROW_NUMBER() OVER (PARTITION BY {s.event_person} ORDER BY {order}) AS r FROM {s.event.table}"
        chosen = f"SELECT {s.event_person} AS who, {s.event_id} AS what, {ranked} WHERE {period.holds(s.day)}"
        return f"SELECT who, what FROM ({chosen}) WHERE r = 1"

    return Question(
        text=f"What was the last {s.event.one} with a {s.day} {period} of each {s.person.one} who had one? Of several "
        f"on the same day, take the one with the larger {s.event_id}. Give the id of the {s.person.one} "
        f"({s.person.table}.{s.person_id}) and that of the {s.event.one} ({s.event.table}.{s.event_id}).",
        query=query(f"{s.day} DESC, {s.event_id} DESC"),
        mistakes=(query(f"{s.event_id} DESC"), query(f"{s.day} DESC, {s.event_id}")),
        given={"period": period},
    )


def last_status(rng: np.random.Generator, db: Database) -> Question:
    """A condition on the newest row of each group."""
    s, status = db.schema, choose(rng, db.schema.statuses)
    until = choose(rng, db.events[-100:]).day

    def query(order: str, upto: str = f"AND f.{s.day} <= '{until}'") -> str:
        newest = f"SELECT f.{s.event_id} FROM {s.event.table} f WHERE f.{s.event_person} = e.{s.event_person} {upto}"
        return (
            f"SELECT e.{s.event_person} FROM {s.event.table} e WHERE e.{s.status} = {quote(status)} "
            f"AND e.{s.event_id} = ({newest} ORDER BY {order} LIMIT 1)"
        )

    any_of_them = f"SELECT DISTINCT {s.event_person} FROM {s.event.table} WHERE {s.status} = {quote(status)}"
    any_of_them = f"{any_of_them} AND {s.day} <= '{until}'"
    return Question(
        text=f"Look at no {s.event.one} after {until} (by {s.day}). Which {s.person.many} have the {s.status} "
        f"'{status}' in their last {s.event.one} up to then (of several on the same day, the one with the larger "
        f"{s.event_id})? Give the id ({s.person.table}.{s.person_id}).",
        query=query(f"f.{s.day} DESC, f.{s.event_id} DESC"),
        mistakes=(
            any_of_them,
            query(f"f.{s.event_id} DESC"),
            query(f"f.{s.day}, f.{s.event_id}"),
            query(f"f.{s.day} DESC, f.{s.event_id} DESC", ""),
        ),
        given={"status": status, "until": until},
    )


def dearest_of_each_group(rng: np.random.Generator, db: Database) -> Question:
    """The first few rows of each group, with a rule for ties."""
    s, count, limit = db.schema, choose(rng, (1, 2, 3)), 5 * int(rng.integers(6, 13))

    def query(rank: str, order: str) -> str:
        ranked = f"{rank}() OVER (PARTITION BY g.{s.group_id} ORDER BY {order}) AS r"
        columns = f"g.{s.group_name} AS a, t.{s.thing_id} AS b, t.{s.price} AS c"
        inner = f"SELECT {columns}, {ranked} FROM {s.things_groups} WHERE t.{s.price} <= {limit}"
        return f"SELECT a, b, c FROM ({inner}) WHERE r <= {count}"

    return Question(
        text=f"Among the {s.thing.many} with a {s.price} of at most {limit}, which are the {count} dearest that belong "
        f"directly to each {s.group.one}? Of equal ones, the smaller id comes first; where there are fewer than "
        f"{count}, give them all. Give the {s.group_name}, the id of the {s.thing.one} "
        f"({s.thing.table}.{s.thing_id}) and its {s.price}.",
        query=query("ROW_NUMBER", f"t.{s.price} DESC, t.{s.thing_id}"),
        mistakes=(
            query("RANK", f"t.{s.price} DESC"),
            query("ROW_NUMBER", f"t.{s.price} DESC, t.{s.thing_id} DESC"),
            query("ROW_NUMBER", f"t.{s.price}, t.{s.thing_id}"),
            query("ROW_NUMBER", f"t.{s.price} DESC, t.{s.thing_id}").replace(f"<= {limit}", f"< {limit}"),
        ),
        given={"count": count, "limit": limit},
    )


def top_overall(rng: np.random.Generator, db: Database) -> Question:
    """The first few sums, in order."""
    s, count, period = db.schema, choose(rng, (4, 5, 6, 7)), choose_period(rng, db.events)
    of_period = period.holds(f"e.{s.day}")

    def query(value: str, order: str) -> str:
        joined = f"FROM {s.events_things} WHERE {of_period} GROUP BY t.{s.thing_id}"
        return f"SELECT t.{s.title}, {value} AS v {joined} ORDER BY {order} LIMIT {count}"

    total = f"COALESCE(SUM(e.{s.amount}), 0)"
    return Question(
        text=f"Which {count} {s.thing.many} have the largest total {s.amount} in their {s.event.many} with a {s.day} "
        f"{period}? Only {s.thing.many} with such {s.event.many} count; a missing {s.amount} counts as 0. "
        f"Give {s.title} and the total, the largest total first; of equal ones, the smaller id comes first.",
        query=query(total, f"v DESC, t.{s.thing_id}"),
        mistakes=(
            query(total, f"v, t.{s.thing_id}"),
            query("COUNT(*)", f"v DESC, t.{s.thing_id}"),
            query(total, f"t.{s.thing_id}"),
        ),
        given={"count": count, "period": period},
        is_ordered=True,
    )


def running_total(rng: np.random.Generator, db: Database) -> Question:
    """A sum that grows from row to row."""
    s, thing = db.schema, choose(rng, sorted({event.thing for event in db.events}))
    tail = f"FROM {s.event.table} WHERE {s.event_thing} = {thing} ORDER BY {s.day}, {s.event_id}"
    select, amount = f"SELECT {s.event_id}, {s.day},", f"COALESCE({s.amount}, 0)"
    return Question(
        text=f"List the {s.event.many} of the {s.thing.one} with {s.thing_id} {thing} by {s.day}, those of one day by "
        f"{s.event_id}. Give {s.event_id} of the {s.event.one}, {s.day} and the total {s.amount} from the first "
        f"{s.event.one} up to this one, where a missing {s.amount} counts as 0.",
        query=f"{select} SUM({amount}) OVER (ORDER BY {s.day}, {s.event_id}) {tail}",
        mistakes=(
            f"{select} SUM({amount}) OVER (ORDER BY {s.event_id}) {tail}",
            f"{select} {amount} {tail}",
            f"{select} SUM({amount}) OVER (ORDER BY {s.day}, {s.event_id}) "
            f"FROM {s.event.table} WHERE {s.event_thing} = {thing} ORDER BY {s.event_id}",
        ),
        given={"thing": thing},
        is_ordered=True,
    )


def more_than_before(rng: np.random.Generator, db: Database) -> Question:
    """A comparison with the row before, within a group."""
    s, period = db.schema, choose_period(rng, db.events)

    def query(window: str, where: str = "") -> str:
        lagged = f"LAG({s.amount}) OVER ({window}ORDER BY {s.day}, {s.event_id}) AS before"
        inner = f"SELECT {s.event_id} AS what, {s.day} AS d, {s.amount} AS v, {lagged} FROM {s.event.table}{where}"
        return f"SELECT what FROM ({inner}) WHERE v > before AND {period.holds('d')}"

    by_person = f"PARTITION BY {s.event_person} "
    return Question(
        text=f"Put the {s.event.many} of each {s.person.one} in order by {s.day}, those of one day by {s.event_id}. "
        f"Which {s.event.many} with a {s.day} {period} have a larger {s.amount} than the {s.event.one} of the same "
        f"{s.person.one} directly before, of whatever {s.day}? Where either {s.amount} is missing, it is not larger. "
        f"Give {s.event_id}.",
        query=query(by_person),
        mistakes=(
            query(""),
            query(by_person, f" WHERE {s.amount} IS NOT NULL"),
            query(by_person, f" WHERE {period.holds(s.day)}"),
        ),
        given={"period": period},
    )


def monthly_change(rng: np.random.Generator, db: Database) -> Question:
    """The difference between neighbouring groups."""
    s, status = db.schema, choose(rng, db.schema.statuses)
    year = int(rng.integers(FIRST_YEAR, LAST_YEAR + 1))
    of_status = f"{s.status} = {quote(status)}"

    def query(change: str, where: str) -> str:
        months = f"SELECT substr({s.day}, 1, 7) AS m, COUNT(*) AS n FROM {s.event.table} WHERE {where} GROUP BY m"
        return f"SELECT m, n, {change} FROM ({months}) ORDER BY m"

    of_year, change = f"{of_status} AND {s.day} LIKE '{year}-%'", "n - LAG(n) OVER (ORDER BY m)"
    return Question(
        text=f"Count the {s.event.many} with the {s.status} '{status}' in each month of {year} (by {s.day}) that has "
        "any. Give the month as YYYY-MM, the count, and the count minus that of the month listed before it (NULL for "
        "the first one), in the order of the months.",
        query=query(change, of_year),
        mistakes=(
            query("n - LAG(n, 1, 0) OVER (ORDER BY m)", of_year),
            query("LAG(n) OVER (ORDER BY m) - n", of_year),
            query(change, f"{s.day} LIKE '{year}-%'"),
        ),
        given={"status": status, "year": year},
        is_ordered=True,
    )


def usual_status(rng: np.random.Generator, db: Database) -> Question:
    """The most frequent value of each group, with a rule for ties."""
    s = db.schema
    city = choose(rng, [person.city for person in db.people if person.city])

    def query(order: str, where: str = f"WHERE p.{s.city} = {quote(city)}") -> str:
        counts = f"SELECT p.{s.person_id} AS who, e.{s.status} AS what, COUNT(*) AS n FROM {s.events_people} {where}"
        ranked = f"SELECT who, what, ROW_NUMBER() OVER (PARTITION BY who ORDER BY {order}) AS r"
        return f"SELECT who, what FROM ({ranked} FROM ({counts} GROUP BY 1, 2)) WHERE r = 1"

    return Question(
        text=f"Which {s.status} is the most frequent among the {s.event.many} of each {s.person.one} with the {s.city} "
        f"{city} who has any? Of equally frequent ones, take the one that comes first in the alphabet. Give "
        f"{s.person_id} and {s.status}.",
        query=query("n DESC, what"),
        mistakes=(query("n DESC, what DESC"), query("what"), query("n DESC, what", "")),
        given={"city": city},
    )


def within_group(rng: np.random.Generator, db: Database) -> Question:
    """All that belongs to a node of a tree, at any depth."""
    s = db.schema
    root = choose(rng, [group for group in db.groups if any(child.parent == group.id for child in db.groups)])
    named = f"SELECT {s.group_id} FROM {s.group.table} WHERE {s.group_name} = {quote(root.name)}"
    children = f"SELECT g.{s.group_id} FROM {s.group.table} g JOIN below ON g.{s.parent} = below.id"
    select = f"SELECT {s.thing_id} FROM {s.thing.table} WHERE {s.thing_group} IN"
    one_step = f"SELECT {s.group_id} FROM {s.group.table} WHERE {s.parent} = ({named})"
    return Question(
        text=f"Which {s.thing.many} belong to the {s.group.one} '{root.name}' or to any {s.group.one} below it, at any "
        f"depth ({s.group.table}.{s.parent} names the {s.group.one} above)? Give the id "
        f"({s.thing.table}.{s.thing_id}).",
        query=f"WITH RECURSIVE below(id) AS ({named} UNION {children}) {select} (SELECT id FROM below)",
        mistakes=(f"{select} ({named})", f"{select} ({named} UNION {one_step})", f"{select} ({one_step})"),
        given={"group": root.name},
    )


def chain_of_sponsors(rng: np.random.Generator, db: Database) -> Question:
    """A chain of references, with the distance."""
    s = db.schema
    person = choose(rng, [person for person in db.people if person.sponsor is not None])
    own = f"SELECT {s.sponsor}, 1 FROM {s.person.table} WHERE {s.person_id} = {person.id} AND {s.sponsor} IS NOT NULL"
    table = f"{s.person.table} p JOIN up ON p.{s.person_id} = up.id"
    step = f"SELECT p.{s.sponsor}, up.n + 1 FROM {table} WHERE p.{s.sponsor} IS NOT NULL"

    def query(first: str, last: str) -> str:
        return f"WITH RECURSIVE up(id, n) AS ({first} UNION ALL {step}) SELECT p.{s.person_id}, {last} FROM {table}"

    return Question(
        text=f"Follow the {s.sponsor} of the {s.person.one} with {s.person_id} {person.id}, then that one's, and so on "
        f"to the end. Give the {s.person_id} of each {s.person.one} on the way (without {person.id}) and the number of "
        "steps to it, 1 for the first.",
        query=query(own, "up.n"),
        mistakes=(query(own, "up.n - 1"), own),
        given={"person": person.id},
    )


def unused_numbers(rng: np.random.Generator, db: Database) -> Question:
    """What is missing from a sequence."""
    s = db.schema
    ids = [event.id for event in db.events]
    first, last = sorted(ids[int(place)] for place in rng.choice(len(ids), size=2, replace=False))
    numbers = f"WITH RECURSIVE every(n) AS (SELECT {first} UNION ALL SELECT n + 1 FROM every WHERE n < {last})"
    used = f"SELECT {s.event_id} FROM {s.event.table}"
    between = f"{s.event_id} + 1 BETWEEN {first} AND {last} AND {s.event_id} + 1 NOT IN ({used})"
    return Question(
        text=f"Which whole numbers from {first} to {last} (both included) are the {s.event_id} of no {s.event.one}? "
        "Give each number.",
        query=f"{numbers} SELECT n FROM every WHERE n NOT IN ({used})",
        mistakes=(
            f"SELECT {s.event_id} + 1 FROM {s.event.table} WHERE {between}",
            f"{numbers} SELECT n FROM every WHERE n NOT IN ({used}) AND n NOT IN ({first}, {last})",
        ),
        given={"first": first, "last": last},
    )


def long_pauses(rng: np.random.Generator, db: Database) -> Question:
    """Gaps between neighbouring dates of a group."""
    s, days = db.schema, int(rng.integers(100, 300))

    def query(window: str, operator: str = ">") -> str:
        lagged = f"LAG({s.day}) OVER ({window}ORDER BY {s.day}) AS before"
        inner = f"SELECT {s.event_person} AS who, {s.day} AS d, {lagged} FROM {s.event.table}"
        return f"SELECT who, before, d FROM ({inner}) WHERE julianday(d) - julianday(before) {operator} {days}"

    by_person = f"PARTITION BY {s.event_person} "
    ends = f"SELECT {s.event_person}, MIN({s.day}), MAX({s.day}) FROM {s.event.table} GROUP BY 1"
    return Question(
        text=f"Where do more than {days} days lie between the {s.day} of one {s.event.one} and that of the next "
        f"{s.event.one} of the same {s.person.one}? Give the id ({s.person.table}.{s.person_id}), the earlier "
        "and the later of the two dates.",
        query=query(by_person),
        mistakes=(f"{ends} HAVING julianday(MAX({s.day})) - julianday(MIN({s.day})) > {days}", query("")),
        given={"days": days},
    )


def longest_streak(rng: np.random.Generator, db: Database) -> Question:
    """Islands of consecutive dates."""
    s, least = db.schema, choose(rng, (2, 3))
    days = {date.fromisoformat(event.day) for event in db.events}
    in_runs = {day.isoformat() for day in days if days & {day - timedelta(1), day + timedelta(1)}}
    period = choose_period(rng, [event for event in db.events if event.day in in_runs])

    def query(days: str, condition: str) -> str:
        island = f"SELECT d, julianday(d) - ROW_NUMBER() OVER (ORDER BY d) AS island FROM ({days})"
        return f"SELECT MIN(d), MAX(d) FROM ({island}) GROUP BY island HAVING {condition} {least}"

    every = f"SELECT {s.day} AS d FROM {s.event.table} WHERE {period.holds(s.day)}"
    different = every.replace("SELECT", "SELECT DISTINCT")
    return Question(
        text=f"Look at the {s.event.many} with a {s.day} {period} alone. Find the longest possible runs of consecutive "
        f"calendar days with at least one of them on each day. "
        f"Give the first and the last day of each run of {least} days or more.",
        query=query(different, "COUNT(*) >="),
        mistakes=(query(every, "COUNT(*) >="), query(different, "COUNT(*) >")),
        given={"least": least, "period": period},
    )
