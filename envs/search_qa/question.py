"""What a family of questions produces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .relations import MENTIONS, RELATIONS
from .world import Entity, World, choose


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question about a world."""

    text: str
    answers: tuple[str, ...]
    """All that is right: the names of one and the same thing."""
    support: tuple[str, ...]
    """Names of the articles that tell what the answer follows from."""
    queries: tuple[str, ...]
    """Searches that find them, one after another; each names what the question or an article found before it names."""


Family = Callable[[np.random.Generator, World], Question | None]
"""Makes a question about a world from a generator; None where what was drawn makes none."""


@dataclass(frozen=True)
class Chain:
    """A walk from entity to entity along relations, told as a phrase."""

    phrase: str
    value: str | int
    """Where it ends."""
    support: tuple[str, ...]
    """Whose articles tell the way."""
    queries: tuple[str, ...]


def mention(entity: Entity) -> str:
    """How a question names an entity."""
    return MENTIONS[entity.kind].format(x=entity.name)


def begin_chain(entity: Entity, phrase: str | None = None) -> Chain:
    """A walk that has not left its beginning, which may be told otherwise than by name."""
    return Chain(phrase or mention(entity), entity.name, (), ())


def follow(world: World, chain: Chain, relation: str) -> Chain | None:
    """The walk, one relation further; None where its end has no such fact, or is a place where it has been."""
    at = str(chain.value)
    value = world.facts.get(at, {}).get(relation)
    if value is None or value == at or value in chain.support:
        return None
    asked = RELATIONS[relation].asked.format(x=chain.phrase)
    return Chain(asked, value, (*chain.support, at), (*chain.queries, query_for(at, relation)))


def walk(rng: np.random.Generator, world: World, chain: Chain, num_steps: int) -> Chain | None:
    """The walk, so many random relations further, through entities up to the last step; None where it gets stuck."""
    for step in range(num_steps):
        at = world.entities[str(chain.value)]
        is_last = step == num_steps - 1
        relations = [
            name
            for name, relation in RELATIONS.items()
            if relation.kind == at.kind and (is_last or relation.to not in ("number", "text"))
        ]
        if not relations:
            return None
        further = follow(world, chain, choose(rng, relations))
        if further is None:
            return None
        chain = further
    return chain


def query_for(name: str, relation: str) -> str:
    """What a reader would search for to learn a fact about somebody."""
    return f"{name} {_KEYWORDS.get(relation, relation.replace('_', ' '))}"


_KEYWORDS = {
    "birthplace": "born in",
    "birth_year": "year of birth",
    "employer": "employed by",
    "teacher": "teacher pupil",
    "river": "river flows",
    "town_founded": "town founded",
    "population": "town inhabitants",
    "company_founded": "company founded",
    "author": "novel author",
    "setting": "novel set in",
    "work_year": "novel published",
    "place": "took place",
    "leader": "led leader",
    "event_year": "year",
    "length": "river kilometers",
    "source": "river rises mountain",
}


def question_of(world: World, text: str, chain: Chain) -> Question:
    """The question for the end of a walk."""
    return Question(text=text, answers=world.names_of(chain.value), support=chain.support, queries=chain.queries)


def asked(world: World, chain: Chain) -> str:
    """The question for where a walk ends."""
    entity = world.entities.get(str(chain.value))
    return f"{'Who' if entity is not None and entity.kind == 'person' else 'What'} is {chain.phrase}?"


def listed(names: Sequence[str]) -> str:
    """ "A, B or C"."""
    return f"{', '.join(names[:-1])} or {names[-1]}"
