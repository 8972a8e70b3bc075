"""Tasks from families of questions, each of which the search can answer."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from llmgym.episode import Task, split_of
from llmgym.errors import DataError

from .articles import corpus_of
from .families import FAMILIES
from .question import Question
from .scoring import normalized
from .world import generate_world

_NUM_WORLDS = 1000
"""Of each split."""
_DRAWS = 60
"""Questions of one family that are tried in one world."""


def generated_task(rng: np.random.Generator, *, families: Sequence[str], top_k: int, split: str) -> Task:
    """A question about a world of the split, whose articles are found by searches such as a reader would try.

    No world is in both splits, so that nothing about the test worlds can be learned from training tasks.

    Args:
        rng: all randomness comes from it.
        families: names of families to choose from.
        top_k: documents that a search shows.
        split: "train" or "test".
    """
    family = families[int(rng.integers(len(families)))]
    for _ in range(100):
        seed = 2 * int(rng.integers(_NUM_WORLDS)) + (split == "test")
        world = generate_world(seed)
        for _ in range(_DRAWS):
            question = FAMILIES[family](rng, world)
            if question is None or split_of(question.text) != split or not is_sound(question, seed, top_k):
                continue
            metadata = {
                "family": family,
                "world": seed,
                "answers": question.answers,
                "support": question.support,
                "queries": question.queries,
            }
            return Task(key="", prompt=question.text, answer=question.answers[0], metadata=metadata)
    raise DataError(f"No question of the family {family!r} came out sound for the split {split!r} in 100 worlds.")


def is_sound(question: Question, seed: int, top_k: int) -> bool:
    """True where the text does not name the answer, and the question's searches find all supporting articles.

    No search names what is not known by then, from the question or from an article found before.
    """
    asked = f" {normalized(question.text)} "
    if any(f" {normalized(answer)} " in asked for answer in question.answers):
        return False
    corpus, seen = corpus_of(seed), set(_names(question.text))
    found: set[str] = set()
    for query in question.queries:
        if not seen.issuperset(_names(query)):
            return False
        for document in corpus.search(query, top_k=top_k):
            found.add(document.title)
            seen.update(_names(f"{document.title} {document.text}"))
    return found.issuperset(question.support)


def _names(text: str) -> list[str]:
    """The words with a capital letter."""
    return re.findall(r"[A-Z]\w*", text)
