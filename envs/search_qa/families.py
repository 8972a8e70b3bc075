"""All families of questions about a made-up world.

None of them can be answered by yes or no, or by one of the names in the question.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from .question import Family, Question, asked, begin_chain, follow, listed, mention, query_for, question_of, walk
from .relations import RELATIONS
from .world import Entity, World, choose

_COMPARED = {
    "birth_year": ("was born earliest", "was born latest"),
    "town_founded": ("was founded earliest", "was founded latest"),
    "company_founded": ("was founded earliest", "was founded latest"),
    "population": ("has the fewest inhabitants", "has the most inhabitants"),
    "length": ("is the shortest", "is the longest"),
    "work_year": ("was published earliest", "was published latest"),
    "event_year": ("took place earliest", "took place latest"),
}
_YEARS = {"birth_year": "the birth of {x}", "town_founded": "the foundation of {x}", "event_year": "{x}"}


def _bridge(rng: np.random.Generator, world: World, num_steps: int) -> Question | None:
    chain = walk(rng, world, begin_chain(choose(rng, list(world.entities.values()))), num_steps)
    return None if chain is None else question_of(world, asked(world, chain), chain)


def lookup(rng: np.random.Generator, world: World) -> Question | None:
    """One fact."""
    return _bridge(rng, world, 1)


def bridge_two(rng: np.random.Generator, world: World) -> Question | None:
    """A fact about what another fact names."""
    return _bridge(rng, world, 2)


def bridge_three(rng: np.random.Generator, world: World) -> Question | None:
    """Three facts in a row."""
    return _bridge(rng, world, 3)


def bridge_four(rng: np.random.Generator, world: World) -> Question | None:
    """Four facts in a row."""
    return _bridge(rng, world, 4)


def alias(rng: np.random.Generator, world: World) -> Question | None:
    """Two facts about somebody who is called by another name, which one article explains."""
    entity = choose(rng, [entity for entity in world.entities.values() if entity.alias])
    told = f"{'the town once called' if entity.kind == 'town' else 'the person known as'} {entity.alias}"
    chain = walk(rng, world, begin_chain(entity, told), 2)
    if chain is None:
        return None
    queries = (f"{entity.alias} {'town former name' if entity.kind == 'town' else 'nickname called'}", *chain.queries)
    question = question_of(world, asked(world, chain), chain)
    return Question(text=question.text, answers=question.answers, support=question.support, queries=queries)


def comparison(rng: np.random.Generator, world: World) -> Question | None:
    """A fact about whichever of four comes first or last in something."""
    relation = choose(rng, tuple(_COMPARED))
    place = int(rng.integers(2))
    entities = _some(rng, world.of_kind(RELATIONS[relation].kind), 4)
    values = [int(world.facts[entity.name][relation]) for entity in entities]
    extreme = (min, max)[place](values)
    if values.count(extreme) > 1:
        return None
    chosen = entities[values.index(extreme)]
    chain = walk(rng, world, begin_chain(chosen, "that one"), 1)
    if chain is None or chain.queries[0] == query_for(chosen.name, relation):
        return None
    which = listed([mention(entity) for entity in entities])
    queries = (*(query_for(entity.name, relation) for entity in entities), *chain.queries)
    return Question(
        text=f"Find out which of these {_COMPARED[relation][place]}: {which}. {asked(world, chain)}",
        answers=world.names_of(chain.value),
        support=tuple(entity.name for entity in entities),
        queries=queries,
    )


_INTERSECTIONS = (
    ("person", "birthplace", "employer", "Which person was born in {x} and employed by {y}?"),
    ("person", "teacher", "employer", "Which pupil of {x} was employed by {y}?"),
    ("work", "author", "setting", "Which novel by {x} is set in {y}?"),
    ("town", "river", "mayor", "Which town lies on {x} and has {y} as its mayor?"),
    ("event", "place", "leader", "Which event took place in {x} and was led by {y}?"),
    ("company", "headquarters", "founder", "Which company has its headquarters in {x} and was founded by {y}?"),
)


def intersection(rng: np.random.Generator, world: World) -> Question | None:
    """The only one of which two facts are true."""
    kind, one, other, text = choose(rng, _INTERSECTIONS)
    facts = world.facts[choose(rng, world.of_kind(kind)).name]
    if one not in facts:
        return None
    found = world.having(kind, **{one: facts[one], other: facts[other]})
    if len(found) != 1:
        return None
    x, y = (world.entities[str(facts[relation])] for relation in (one, other))
    return Question(
        text=text.format(x=mention(x), y=mention(y)),
        answers=found[0].names,
        support=(found[0].name,),
        queries=(f"{query_for(x.name, one)} {query_for(y.name, other)}",),
    )


def population_of_river(rng: np.random.Generator, world: World) -> Question | None:
    """A sum over all towns on a river."""
    river = choose(rng, world.of_kind("river"))
    towns = world.having("town", river=river.name)
    if not 2 <= len(towns) <= 4:
        return None
    total = sum(int(world.facts[town.name]["population"]) for town in towns)
    return Question(
        text=f"How many inhabitants do the towns on {mention(river)} have altogether?",
        answers=(str(total),),
        support=tuple(town.name for town in towns),
        queries=(
            f"town on the river {river.name}",
            f"{river.name} flows through",
            *(query_for(town.name, "population") for town in towns),
        ),
    )


def most_novels(rng: np.random.Generator, world: World) -> Question | None:
    """Whoever has most of something, counted over several articles, among the people of a company or a town."""
    relation, told = choose(rng, (("employer", "employed by {x}"), ("birthplace", "born in {x}")))
    place = choose(rng, world.of_kind(RELATIONS[relation].to))
    people = world.having("person", **{relation: place.name})
    works = {person.name: world.having("work", author=person.name) for person in people}
    ranked = sorted(people, key=lambda person: -len(works[person.name]))
    if not 2 <= len(people) <= 5 or len(works[ranked[0].name]) == len(works[ranked[1].name]):
        return None
    written = [work.name for person in people for work in works[person.name]]
    if len(written) < 3:
        return None
    return Question(
        text=f"Of the people {told.format(x=mention(place))}, who wrote the most novels?",
        answers=ranked[0].names,
        support=(*(person.name for person in people), *written),
        queries=(query_for(place.name, relation), place.name, *(f"novel by {person.name}" for person in people)),
    )


def next_novel(rng: np.random.Generator, world: World) -> Question | None:
    """The neighbor in time among the works of one author."""
    author = choose(rng, world.of_kind("person"))
    works = sorted(world.having("work", author=author.name), key=lambda work: _year_of(world, work))
    years = [_year_of(world, work) for work in works]
    if not 3 <= len(works) <= 4 or len(set(years)) < len(years):
        return None
    place, step = int(rng.integers(1, len(works) - 1)), choose(rng, (-1, 1))
    when = "after" if step == 1 else "before"
    chosen, found = works[place], works[place + step]
    return Question(
        text=f"Which novel by {author.name} was published next {when} {mention(chosen)}?",
        answers=found.names,
        support=tuple(work.name for work in works),
        queries=(f"novel by {author.name}", f"{author.name} author of a novel", f"novel written by {author.name}"),
    )


def last_event(rng: np.random.Generator, world: World) -> Question | None:
    """The last thing that happened in a place, or the first."""
    town = choose(rng, world.of_kind("town"))
    events = sorted(world.having("event", place=town.name), key=lambda event: _year_of(world, event))
    years = [_year_of(world, event) for event in events]
    if not 2 <= len(events) <= 4 or len(set(years)) < len(years):
        return None
    which = choose(rng, ("first", "last"))
    found = events[0 if which == "first" else -1]
    start = follow(world, begin_chain(found, f"the {which} of the events that took place in {town.name}"), "leader")
    if start is None or len({world.facts[event.name]["leader"] for event in events}) == 1:
        return None
    return Question(
        text=asked(world, start),
        answers=world.names_of(start.value),
        support=tuple(event.name for event in events),
        queries=(query_for(town.name, "place"), f"event held in {town.name}", *start.queries),
    )


def years_between(rng: np.random.Generator, world: World) -> Question | None:
    """The time between two things, of which the second is only described."""
    first, second = choose(rng, tuple(_YEARS)), choose(rng, tuple(_YEARS))
    one = choose(rng, world.of_kind(RELATIONS[first].kind))
    two = walk(rng, world, begin_chain(choose(rng, list(world.entities.values()))), 1)
    if two is None or str(two.value) not in world.entities or two.value == one.name:
        return None
    end = follow(world, two, second)
    if end is None:
        return None
    gap = abs(int(world.facts[one.name][first]) - int(end.value))
    if gap < 10:
        return None
    what = (_YEARS[first].format(x=mention(one)), _YEARS[second].format(x=two.phrase))
    return Question(
        text=f"How many years lie between {what[0]} and {what[1]}?",
        answers=(str(gap),),
        support=(one.name, *end.support),
        queries=(query_for(one.name, first), *end.queries),
    )


def _year_of(world: World, entity: Entity) -> int:
    return int(world.facts[entity.name][f"{entity.kind}_year"])


def _some(rng: np.random.Generator, entities: list[Entity], count: int) -> list[Entity]:
    return [entities[int(place)] for place in rng.permutation(len(entities))[:count]]


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        family.__name__: family
        for family in (
            lookup,
            bridge_two,
            bridge_three,
            bridge_four,
            alias,
            comparison,
            intersection,
            population_of_river,
            most_novels,
            next_novel,
            last_event,
            years_between,
        )
    }
)
"""Name -> family."""
