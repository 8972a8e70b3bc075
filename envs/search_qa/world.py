"""A made-up world: who and what there is, and the facts about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

import numpy as np

from .scoring import normalized

T = TypeVar("T")

COUNTS = {"river": 6, "town": 18, "person": 48, "company": 12, "work": 36, "event": 16}
"""Articles of each kind."""
_STARTS = ("Ba", "Bel", "Cor", "Dra", "El", "Fen", "Gar", "Hol", "Il", "Jor", "Kes", "Lor", "Mar", "Nem", "Or", "Pel")
_MIDDLES = ("", "a", "i", "la", "ne", "ri", "so", "tu")
_ENDS = ("bek", "dan", "fel", "gor", "lin", "mar", "nik", "ra", "sten", "tov", "vik", "zen")
_TOWN_PREFIXES = ("", "", "", "Upper ", "New ", "Port ")
_COMPANY_FORMS = ("{} Mills", "{} & Sons", "{} Works", "{} Trading House", "{} Press")
_ADJECTIVES = ("Silent", "Amber", "Hollow", "Last", "Broken", "Distant", "Winter", "Golden", "Second", "Blind")
_WORK_NOUNS = ("Orchard", "Letter", "Harbor", "Mirror", "Staircase", "Lantern", "Journey", "Clock", "Wedding", "Bridge")
_EVENT_NOUNS = ("Regatta", "Uprising", "Flood", "Congress", "Fair", "Strike", "Expedition", "Tournament")
_NICKNAMES = ("Heron", "Fox", "Weaver", "Lark", "Otter", "Candle", "Badger", "Crane", "Flint", "Raven", "Wren", "Elk")


@dataclass(frozen=True)
class Entity:
    """Somebody or something that has an article."""

    name: str
    kind: str
    alias: str | None = None
    """Another name, which its own article tells."""

    @property
    def names(self) -> tuple[str, ...]:
        """All its names."""
        return (self.name,) if self.alias is None else (self.name, self.alias)


@dataclass(frozen=True, eq=False)
class World:
    """Entities by name, and of each its facts by relation: another entity's name, or a text or number."""

    entities: Mapping[str, Entity]
    facts: Mapping[str, Mapping[str, str | int]] = field(repr=False)

    def of_kind(self, kind: str) -> list[Entity]:
        """All entities of a kind."""
        return [entity for entity in self.entities.values() if entity.kind == kind]

    def having(self, kind: str, **facts: str | int) -> list[Entity]:
        """The entities of a kind that have these facts."""
        return [e for e in self.of_kind(kind) if facts.items() <= self.facts[e.name].items()]

    def names_of(self, value: str | int) -> tuple[str, ...]:
        """All names of a fact's value."""
        entity = self.entities.get(str(value))
        return entity.names if entity is not None else (str(value),)


def choose(rng: np.random.Generator, items: Sequence[T]) -> T:
    """One of `items`."""
    return items[int(rng.integers(len(items)))]


@lru_cache(maxsize=32)
def generate_world(seed: int) -> World:
    """The world that a seed stands for."""
    rng = np.random.default_rng([seed, 7])
    taken: set[str] = set()

    def new(make: Callable[[], str]) -> str:
        while True:  # there are many more names than entities
            name = make()
            if normalized(name) not in taken:
                taken.add(normalized(name))
                return name

    surnames = [_word(rng) for _ in range(16)]
    bases = [_word(rng) for _ in range(12)]
    makers: dict[str, Callable[[], str]] = {
        "river": lambda: _word(rng),
        "town": lambda: choose(rng, _TOWN_PREFIXES) + choose(rng, bases),
        "person": lambda: f"{_word(rng)} {choose(rng, surnames)}",
        "company": lambda: choose(rng, _COMPANY_FORMS).format(choose(rng, surnames)),
        "work": lambda: f"The {choose(rng, _ADJECTIVES)} {choose(rng, _WORK_NOUNS)}",
        "event": lambda: f"{choose(rng, _ADJECTIVES)} {choose(rng, _EVENT_NOUNS)}",
    }
    names = {kind: [new(makers[kind]) for _ in range(count)] for kind, count in COUNTS.items()}
    nicknames = [f"the {nickname}" for nickname in rng.permutation(_NICKNAMES)]
    entities: dict[str, Entity] = {}
    for kind, of_kind in names.items():
        for place, name in enumerate(of_kind):
            alias = None
            if kind == "person" and place % 4 == 0:
                alias = nicknames[place // 4]
            elif kind == "town" and place % 3 == 0:
                alias = new(lambda: f"{_word(rng)}{choose(rng, ('burg', 'ford', 'haven'))}")
            entities[name] = Entity(name, kind, alias)
    return World(entities, {name: _facts(rng, entities[name], names) for name in entities})


def _word(rng: np.random.Generator) -> str:
    return choose(rng, _STARTS) + choose(rng, _MIDDLES) + choose(rng, _ENDS)


def _facts(rng: np.random.Generator, entity: Entity, names: Mapping[str, Sequence[str]]) -> dict[str, str | int]:
    people, towns = names["person"], names["town"]
    if entity.kind == "person":
        place = people.index(entity.name)
        facts: dict[str, str | int] = {
            "birthplace": choose(rng, towns),
            "birth_year": 1500 + 4 * place + int(rng.integers(4)),  # nobody was born in the year of another
            "employer": choose(rng, names["company"]),
        }
        if place >= 8:
            facts["teacher"] = people[int(rng.integers(place - 5))]
        return facts
    if entity.kind == "town":
        return {
            "river": choose(rng, names["river"]),
            "mayor": choose(rng, people),
            "town_founded": int(rng.integers(900, 1480)),
            "population": int(rng.integers(1200, 98000)),
        }
    if entity.kind == "company":
        return {
            "headquarters": choose(rng, towns),
            "founder": choose(rng, people),
            "company_founded": int(rng.integers(1520, 1760)),
        }
    if entity.kind == "work":
        # A few people write nearly everything, so that they have several works to put in order.
        return {
            "author": choose(rng, people[10:22]),
            "setting": choose(rng, towns),
            "work_year": int(rng.integers(1600, 1790)),
        }
    if entity.kind == "event":
        return {"place": choose(rng, towns), "leader": choose(rng, people), "event_year": int(rng.integers(1560, 1800))}
    return {"length": int(rng.integers(60, 900)), "source": f"Mount {_word(rng)}"}
