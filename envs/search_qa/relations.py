"""The relations of the made-up world: how articles tell them, and how questions ask for them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Relation:
    """What a fact says."""

    kind: str
    """Of the entities that have it."""
    to: str
    """Kind of its value; "number" or "text" where that has no article."""
    asked: str
    """A phrase for the value, with {x} for whom it is about."""
    told: tuple[str, ...]
    """Sentences of which articles choose one, with {x} and the value {y}."""


RELATIONS = {
    "birthplace": Relation(
        "person",
        "town",
        "the town where {x} was born",
        ("{x} was born in {y}.", "{x} came into the world in {y}.", "A native of {y}, {x} never lost its accent."),
    ),
    "birth_year": Relation(
        "person",
        "number",
        "the year in which {x} was born",
        ("The year of birth is {y}.", "Parish books give the birth as {y}.", "The birth fell into the year {y}."),
    ),
    "employer": Relation(
        "person",
        "company",
        "the company that employed {x}",
        ("Most of those years were spent in the service of {y}.", "{x} was employed by {y}.", "{y} employed {x}."),
    ),
    "teacher": Relation(
        "person",
        "person",
        "the teacher of {x}",
        ("{x} was a pupil of {y}.", "The teacher who mattered most was {y}.", "{y} taught {x} everything."),
    ),
    "river": Relation(
        "town",
        "river",
        "the river that flows through {x}",
        ("{x} lies on the river {y}.", "The river {y} flows through {x}.", "The old quarter looks over the river {y}."),
    ),
    "mayor": Relation(
        "town",
        "person",
        "the mayor of {x}",
        ("Its mayor is {y}.", "The town is governed by its mayor, {y}.", "{y} holds the office of mayor in {x}."),
    ),
    "town_founded": Relation(
        "town",
        "number",
        "the year in which {x} was founded",
        ("It was founded in {y}.", "The charter of foundation dates from {y}.", "Settlers founded {x} in {y}."),
    ),
    "population": Relation(
        "town",
        "number",
        "the number of inhabitants of {x}",
        ("It has {y} inhabitants.", "The last census counted {y} inhabitants.", "{x} is home to {y} people."),
    ),
    "headquarters": Relation(
        "company",
        "town",
        "the town where {x} has its headquarters",
        ("{x} has its headquarters in {y}.", "Its offices stand in {y}.", "The firm is run from {y}."),
    ),
    "founder": Relation(
        "company",
        "person",
        "the founder of {x}",
        ("It was founded by {y}.", "{y} founded the company.", "The firm goes back to its founder, {y}."),
    ),
    "company_founded": Relation(
        "company",
        "number",
        "the year in which {x} was founded",
        ("It was registered in {y}.", "The first ledger was opened in {y}, when the company was founded."),
    ),
    "author": Relation(
        "work",
        "person",
        "the author of {x}",
        ("{x} is a novel by {y}.", "The novel {x} was written by {y}.", "{y} is the author of {x}, a novel."),
    ),
    "setting": Relation(
        "work",
        "town",
        "the town in which {x} is set",
        ("The story is set in {y}.", "Its scenes take the reader to {y}.", "All of it is set in {y}."),
    ),
    "work_year": Relation(
        "work",
        "number",
        "the year in which {x} was published",
        ("It was published in {y}.", "It came out in {y}.", "Printers finished it in {y}."),
    ),
    "place": Relation(
        "event",
        "town",
        "the town where {x} took place",
        ("{x} took place in {y}.", "The streets of {y} saw {x}.", "It was held in {y}."),
    ),
    "leader": Relation(
        "event",
        "person",
        "the person who led {x}",
        ("It was led by {y}.", "At its head stood {y}.", "{y} was its leader."),
    ),
    "event_year": Relation(
        "event",
        "number",
        "the year in which {x} took place",
        ("This happened in {y}.", "Chronicles put it in the year {y}.", "The year was {y}."),
    ),
    "length": Relation(
        "river",
        "number",
        "the length in kilometers of {x}",
        ("It is {y} kilometers long.", "Over its {y} kilometers it drops slowly."),
    ),
    "source": Relation(
        "river",
        "text",
        "the mountain where {x} rises",
        ("{x} rises on {y}.", "Its springs lie on {y}."),
    ),
}
"""Name -> relation. Where "it" stands in a sentence, the article's first sentence has named the entity."""

MENTIONS = {
    "person": "{x}",
    "town": "{x}",
    "company": "{x}",
    "river": "the river {x}",
    "work": 'the novel "{x}"',
    "event": "the {x}",
}
"""How questions mention an entity of each kind."""
