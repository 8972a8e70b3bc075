"""The articles that tell a world's facts."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from llmgym.tools import Corpus, Document

from .relations import RELATIONS
from .world import Entity, World, choose, generate_world

_OPENINGS = {
    "person": ("{x} is remembered in many letters.", "{x} left few papers.", "Of {x} one portrait is known."),
    "town": ("{x} is a town of old houses.", "{x} is a market town.", "{x} is a quiet town."),
    "company": ("{x} is a trading company.", "{x} is a company of modest size.", "{x} is an old firm."),
    "river": ("{x} is a river.", "The river {x} is known for its mist.", "The {x} is a river with few bridges."),
    "work": ("{x} is a novel in three parts.", "{x} is a novel that was often reprinted.", "{x} is a short novel."),
    "event": ("The {x} is told of in songs.", "The {x} lasted a few days.", "Much has been written about the {x}."),
}
_ALIASES = {
    "person": ("Friends said only {y}.", "Everybody called this person {y}.", "The nickname was {y}."),
    "town": ("In older books it is called {y}.", "Its former name is {y}.", "Until a fire it was named {y}."),
}
_CLOSINGS = (
    "Little else is certain.",
    "Scholars disagree about the details.",
    "A plaque was put up later.",
    "The archives burned long ago.",
    "Visitors still ask about it.",
    "More is told than is known.",
)


@lru_cache(maxsize=32)
def corpus_of(seed: int) -> Corpus:
    """The searchable articles of the world with this seed, in an order that means nothing.

    Raises:
        MissingExtraError: bm25s is not installed.
    """
    world, rng = generate_world(seed), np.random.default_rng([seed, 8])
    names = [str(name) for name in rng.permutation(list(world.entities))]
    return Corpus(
        Document(id=str(number), title=name, text=_article(rng, world, world.entities[name]))
        for number, name in enumerate(names, start=1)
    )


def _article(rng: np.random.Generator, world: World, entity: Entity) -> str:
    sentences = [
        choose(rng, RELATIONS[relation].told).format(x=entity.name, y=value)
        for relation, value in world.facts[entity.name].items()
    ]
    if entity.alias is not None:
        sentences.append(choose(rng, _ALIASES[entity.kind]).format(y=entity.alias))
    sentences.append(choose(rng, _CLOSINGS))
    order = [sentences[int(place)] for place in rng.permutation(len(sentences))]
    return " ".join([choose(rng, _OPENINGS[entity.kind]).format(x=entity.name), *order])
