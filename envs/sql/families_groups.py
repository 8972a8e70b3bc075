"""Questions answered by aggregates, groups and subqueries."""

import numpy as np

from .database import FIRST_YEAR, LAST_YEAR, Database, quote
from .question import Question, choose, choose_period


def average(rng: np.random.Generator, db: Database) -> Question:
    """A mean that leaves missing values out."""
    s, status = db.schema, choose(rng, db.schema.statuses)
    period = choose_period(rng, [e for e in db.events if e.status == status and e.amount])
    tail = f"FROM {s.event.table} WHERE {period.holds(s.day)} AND {s.status} = {quote(status)}"
    return Question(
        text=f"What is the mean {s.amount} of the {s.event.many} with the {s.status} '{status}' and a {s.day} "
        f"{period}? Leave out those without a recorded one.",
        query=f"SELECT AVG({s.amount}) {tail}",
        mistakes=(
            f"SELECT SUM({s.amount}) / COUNT(*) {tail}",
            f"SELECT AVG({s.amount}) FROM {s.event.table} WHERE {period.holds(s.day)}",
            f"SELECT AVG({s.amount}) FROM {s.event.table} WHERE {s.status} = {quote(status)}",
        ),
        given={"status": status, "period": period},
        is_value=True,
    )


def median(rng: np.random.Generator, db: Database) -> Question:
    """The middle of sorted values."""
    s, status = db.schema, choose(rng, db.schema.statuses)
    period = choose_period(rng, [e for e in db.events if e.status == status and e.amount])
    chosen = f"FROM {s.event.table} WHERE {period.holds(s.day)} AND {s.status} = {quote(status)}"
    chosen = f"{chosen} AND {s.amount} IS NOT NULL"
    ranked = f"SELECT {s.amount} AS v, ROW_NUMBER() OVER (ORDER BY {s.amount}) AS r, COUNT(*) OVER () AS n {chosen}"
    return Question(
        text=f"What is the median {s.amount} of the {s.event.many} with the {s.status} '{status}' and a {s.day} "
        f"{period}? Leave out those without a recorded one; of an even number, take the mean of the two in the middle.",
        query=f"SELECT AVG(v) FROM ({ranked}) WHERE r IN ((n + 1) / 2, (n + 2) / 2)",
        mistakes=(
            f"SELECT AVG({s.amount}) {chosen}",
            f"SELECT v FROM ({ranked}) WHERE r = (n + 1) / 2",
            f"SELECT v FROM ({ranked}) WHERE r = n / 2 + 1",
        ),
        given={"status": status, "period": period},
        is_value=True,
    )


def share(rng: np.random.Generator, db: Database) -> Question:
    """A ratio of two counts."""
    s, status = db.schema, choose(rng, db.schema.statuses)
    city = choose(rng, [person.city for person in db.people if person.city])
    where = f"FROM {s.events_people} WHERE p.{s.city} = {quote(city)}"
    hits = f"SUM(e.{s.status} = {quote(status)})"
    return Question(
        text=f"What percentage of the {s.event.many} of {s.person.many} with the {s.city} {city} have the {s.status} "
        f"'{status}'?",
        query=f"SELECT 100.0 * {hits} / COUNT(*) {where}",
        mistakes=(
            f"SELECT 100 * {hits} / COUNT(*) {where}",
            f"SELECT 100.0 * {hits} / (SELECT COUNT(*) FROM {s.event.table}) {where}",
            f"SELECT 100.0 * {hits} / COUNT(*) FROM {s.events_people}",
        ),
        given={"city": city, "status": status},
        is_value=True,
    )


def percent_change(rng: np.random.Generator, db: Database) -> Question:
    """The relative difference of two sums."""
    s, year = db.schema, int(rng.integers(FIRST_YEAR, LAST_YEAR))
    months = int(rng.integers(4, 13))

    def total(of: int) -> str:
        until = f"{s.day} LIKE '{of}-%' AND {s.day} < '{of}-{months + 1:02d}'"
        return f"(SELECT SUM({s.amount}) FROM {s.event.table} WHERE {until})"

    return Question(
        text=f"By how many per cent did the total {s.amount} of all {s.event.many} (by {s.day}) change from the first "
        f"{months} months of {year} to the first {months} months of {year + 1}? A fall is a negative number.",
        query=f"SELECT 100.0 * ({total(year + 1)} - {total(year)}) / {total(year)}",
        mistakes=(
            f"SELECT 100.0 * ({total(year + 1)} - {total(year)}) / {total(year + 1)}",
            f"SELECT 100.0 * {total(year + 1)} / {total(year)}",
        ),
        given={"year": year, "months": months},
        is_value=True,
    )


def different_pairs(rng: np.random.Generator, db: Database) -> Question:
    """A count of different values."""
    s, period, price = db.schema, choose_period(rng, db.events), choose(rng, (15, 20, 25, 30))
    of_period = period.holds(f"e.{s.day}")
    where = f"FROM {s.events_things} WHERE {of_period} AND t.{s.price} > {price}"
    pairs = f"SELECT DISTINCT e.{s.event_person}, e.{s.event_thing}"
    return Question(
        text=f"How many different pairs of a {s.person.one} and a {s.thing.one} with a {s.price} above {price} have at "
        f"least one {s.event.one} with a {s.day} {period}?",
        query=f"SELECT COUNT(*) FROM ({pairs} {where})",
        mistakes=(
            f"SELECT COUNT(*) {where}",
            f"SELECT COUNT(*) FROM ({pairs} {where.replace('>', '>=')})",
            f"SELECT COUNT(DISTINCT e.{s.event_person}) {where}",
        ),
        given={"period": period, "price": price},
        is_value=True,
    )


def people_per_city(rng: np.random.Generator, db: Database) -> Question:
    """Counts by group, without the group of missing values."""
    s, since = db.schema, choose(rng, [person for person in db.people if person.city]).since
    select = f"SELECT {s.city}, COUNT(*) FROM {s.person.table} WHERE"
    return Question(
        text=f"How many {s.person.many} with a {s.since} before {since} are there for each recorded {s.city}? Give "
        f"{s.city} and the number, where there is at least one.",
        query=f"{select} {s.city} IS NOT NULL AND {s.since} < '{since}' GROUP BY {s.city}",
        mistakes=(
            f"{select} {s.since} < '{since}' GROUP BY {s.city}",
            f"{select} {s.city} IS NOT NULL GROUP BY {s.city}",
        ),
        given={"since": since},
    )


def busy_people(rng: np.random.Generator, db: Database) -> Question:
    """Groups chosen by their size."""
    s, status = db.schema, choose(rng, db.schema.statuses)
    counts = sorted(sum(e.person == p.id and e.status == status for e in db.events) for p in db.people)
    least = max(2, choose(rng, counts[len(counts) // 2 : -3]))
    select = f"SELECT p.{s.person_id}, p.{s.person_name}, COUNT(*) FROM {s.events_people}"
    where = f"WHERE e.{s.status} = {quote(status)}"
    return Question(
        text=f"Which {s.person.many} have {least} or more {s.event.many} with the {s.status} '{status}'? Give "
        f"{s.person_id}, {s.person_name} and the number of these {s.event.many}.",
        query=f"{select} {where} GROUP BY p.{s.person_id} HAVING COUNT(*) >= {least}",
        mistakes=(
            f"{select} {where} GROUP BY p.{s.person_id} HAVING COUNT(*) > {least}",
            f"{select} GROUP BY p.{s.person_id} HAVING COUNT(*) >= {least}",
        ),
        given={"status": status, "least": least},
    )


def namesakes(rng: np.random.Generator, db: Database) -> Question:
    """Values that occur more than once."""
    s, since = db.schema, choose(rng, db.people).since
    select, later = f"SELECT {s.person_name}, COUNT(*) FROM {s.person.table}", f"WHERE {s.since} >= '{since}'"
    group = f"GROUP BY {s.person_name} HAVING COUNT(*)"
    return Question(
        text=f"Which {s.person_name} do two or more {s.person.many} with a {s.since} of {since} or later have in "
        f"common? Give {s.person_name} and the number of these {s.person.many}.",
        query=f"{select} {later} {group} >= 2",
        mistakes=(f"{select} {later} {group} > 2", f"{select} {later} {group} >= 1"),
        given={"since": since},
    )


def dearer_than_all_on_average(rng: np.random.Generator, db: Database) -> Question:
    """A comparison with an aggregate of the whole table."""
    s, word, margin = db.schema, choose(rng, db.schema.nouns), int(rng.integers(1, 11))
    select, mean = f"SELECT {s.thing_id} FROM {s.thing.table} WHERE", f"FROM {s.thing.table}"
    wordy = f"{s.title} LIKE '%{word}%'"
    return Question(
        text=f"Which {s.thing.many} have a {s.price} that is by more than {margin} above the mean {s.price} of the "
        f"{s.thing.many} that have '{word}' (in capital or small letters) in their {s.title}? "
        f"{s.thing.many.capitalize()} without a {s.price} "
        f"count in neither. Give {s.thing_id}.",
        query=f"{select} {s.price} > {margin} + (SELECT AVG({s.price}) {mean} WHERE {wordy})",
        mistakes=(
            f"{select} {s.price} > {margin} + (SELECT AVG({s.price}) {mean})",
            f"{select} {wordy} AND {s.price} > {margin} + (SELECT AVG({s.price}) {mean} WHERE {wordy})",
        ),
        given={"word": word, "margin": margin},
    )


def dearer_than_own_group(rng: np.random.Generator, db: Database) -> Question:
    """A comparison with an aggregate of the row's own group."""
    s, margin = db.schema, int(rng.integers(1, 21))
    select = f"SELECT t.{s.thing_id}, t.{s.price} FROM {s.thing.table} t WHERE t.{s.price} >"
    others, own = f"FROM {s.thing.table} u", f"WHERE u.{s.thing_group} = t.{s.thing_group}"
    return Question(
        text=f"Which {s.thing.many} have a {s.price} that is by more than {margin} above the mean {s.price} of all "
        f"{s.thing.many} (itself included) that belong directly to the same {s.group.one}? Those without a {s.price} "
        f"count in neither. Give {s.thing_id} and {s.price}.",
        query=f"{select} {margin} + (SELECT AVG(u.{s.price}) {others} {own})",
        mistakes=(
            f"{select} {margin} + (SELECT AVG(u.{s.price}) {others})",
            f"{select} {margin} + (SELECT AVG(COALESCE(u.{s.price}, 0)) {others} {own})",
            f"{select} (SELECT AVG(u.{s.price}) {others} {own})",
        ),
        given={"margin": margin},
    )


def statuses_by_year(rng: np.random.Generator, db: Database) -> Question:
    """A pivot: one column for each value."""
    s = db.schema
    one, other = (s.statuses[int(place)] for place in rng.choice(4, size=2, replace=False))
    city = choose(rng, [person.city for person in db.people if person.city])

    def counts(first: str, second: str) -> str:
        sums = (f"SUM(e.{s.status} = {quote(status)})" for status in (first, second))
        return f"SELECT substr(e.{s.day}, 1, 4), {', '.join(sums)} FROM {s.events_people}"

    tail = f"WHERE p.{s.city} = {quote(city)} GROUP BY 1"
    return Question(
        text=f"Take the {s.event.many} of {s.person.many} with the {s.city} {city}. For each year (by {s.day}) with "
        f"any of them, give the year as a text of four digits, the number with the {s.status} '{one}' and the number "
        f"with the {s.status} '{other}'.",
        query=f"{counts(one, other)} {tail}",
        mistakes=(
            f"{counts(other, one)} {tail}",
            f"{counts(one, other)} GROUP BY 1",
            f"{counts(one, other)} WHERE p.{s.city} = {quote(city)} AND e.{s.status} = {quote(one)} GROUP BY 1",
        ),
        given={"one": one, "other": other, "city": city},
    )


def price_bands(rng: np.random.Generator, db: Database) -> Question:
    """Groups by a computed value."""
    s = db.schema
    low, high = 5 * int(rng.integers(2, 6)), 5 * int(rng.integers(7, 12))

    def query(below: str, is_guarded: bool = True) -> str:
        unknown = f"WHEN {s.price} IS NULL THEN 'unknown' " if is_guarded else ""
        case = f"CASE {unknown}WHEN {s.price} {below} {low} THEN 'low' WHEN {s.price} {below} {high} THEN 'middle'"
        return f"SELECT {case} ELSE 'high' END AS band, COUNT(*) FROM {s.thing.table} GROUP BY band"

    return Question(
        text=f"Sort the {s.thing.many} into bands: 'low' has a {s.price} below {low}, 'middle' from {low} to below "
        f"{high}, 'high' {high} or more, and 'unknown' none. Give each band that is not empty, and how many "
        f"{s.thing.many} it has.",
        query=query("<"),
        mistakes=(query("<="), query("<", is_guarded=False)),
        given={"low": low, "high": high},
    )


def share_of_groups(rng: np.random.Generator, db: Database) -> Question:
    """Each group's share of the whole."""
    s, period = db.schema, choose_period(rng, [e for e in db.events if e.amount])
    joined = f"{s.events_things} JOIN {s.group.table} g ON g.{s.group_id} = t.{s.thing_group}"
    of_period, total = period.holds(f"e.{s.day}"), f"SELECT SUM(e.{s.amount}) FROM {s.event.table} e"
    tail = f"FROM {joined} WHERE {of_period} AND e.{s.amount} IS NOT NULL GROUP BY g.{s.group_id}"
    return Question(
        text=f"What percentage of the total {s.amount} of the {s.event.many} with a {s.day} {period} falls to each "
        f"{s.group.one}, by the {s.group.one} that the {s.thing.one} belongs to directly? Give {s.group_name} and the "
        f"percentage, where any {s.amount} of these was recorded.",
        query=f"SELECT g.{s.group_name}, 100.0 * SUM(e.{s.amount}) / ({total} WHERE {of_period}) {tail}",
        mistakes=(
            f"SELECT g.{s.group_name}, SUM(e.{s.amount}) / ({total} WHERE {of_period}) {tail}",
            f"SELECT g.{s.group_name}, 100.0 * SUM(e.{s.amount}) / ({total}) {tail}",
            f"SELECT g.{s.group_name}, 100.0 * COUNT(*) / (SELECT COUNT(*) FROM {s.event.table} e WHERE {of_period}) "
            f"FROM {joined} WHERE {of_period} GROUP BY g.{s.group_id}",
        ),
        given={"period": period},
    )
