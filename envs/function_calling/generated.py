"""Generated requests with one right answer each: some orders, and functions to choose from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmgym.episode import Task

from .drawing import Draw, Wish
from .families import DOMAINS, Family
from .request import task_of

_OPENINGS = ("", "Please ", "Could you ", "I would like you to ", "Hi! Please ")
_BETWEEN = (" Also ", " Then ", " After that, ", " And ")


def generated_task(rng: np.random.Generator, *, irrelevance: float = 0.0) -> Task:
    """A request of one of the categories "simple_python", "multiple", "parallel", "parallel_multiple", "irrelevance".

    Args:
        rng: all randomness comes from it.
        irrelevance: share of requests that no function fits.
    """
    draw = Draw(rng)
    if draw.chance(irrelevance):
        return _irrelevant(draw)
    category = draw.one(("simple_python", "multiple", "parallel", "parallel_multiple"))
    own_domain = draw.one(list(DOMAINS))
    if category.startswith("parallel"):
        count = draw.whole(2, 4)
        families = draw.some(DOMAINS[own_domain], 1) * count
        if category == "parallel_multiple":
            families = [draw.one(DOMAINS[draw.one(list(DOMAINS))]) for _ in range(count)]
        wishes = _distinct(draw, families)
    else:
        wishes = [draw.one(DOMAINS[own_domain])(draw)]
    functions = {wish.function["name"]: wish.function for wish in wishes}
    if "multiple" in category:
        others = [*DOMAINS[own_domain], draw.one(DOMAINS[draw.one(list(DOMAINS))])]
        functions |= {(other := family(draw).function)["name"]: other for family in others}
    return _task(draw, wishes, list(functions.values()), category)


def _distinct(draw: Draw, families: list[Family]) -> list[Wish]:
    """A wish of each family, no two of them alike."""
    wishes: list[Wish] = []
    for family in families:
        wish = family(draw)
        if all((wish.function, wish.allowed) != (other.function, other.allowed) for other in wishes):
            wishes.append(wish)
    return wishes if len(wishes) > 1 else _distinct(draw, families)


def _irrelevant(draw: Draw) -> Task:
    """A request whose function is not among those of its domain that are offered."""
    own_domain, other_domain = draw.some(list(DOMAINS), 2)
    family, *_ = draw.some(DOMAINS[own_domain], 1)
    wish = family(draw)
    offered = [each(draw).function for each in DOMAINS[other_domain]]
    return _task(draw, [wish], draw.some(offered, draw.whole(1, 3)), "irrelevance")


def _task(draw: Draw, wishes: list[Wish], functions: Sequence[Mapping[str, Any]], category: str) -> Task:
    opening, first = draw.one(_OPENINGS), wishes[0].text
    text = opening + (first if opening else first[0].upper() + first[1:])
    text += "?" if opening.startswith("Could") else "."
    for wish in wishes[1:]:
        text += f"{draw.one(_BETWEEN)}{wish.text}."
    expected = [(wish.function["name"], wish.allowed) for wish in wishes] if category != "irrelevance" else []
    return task_of(
        key="",  # the source names it
        messages=[("user", text)],
        functions=draw.some(functions, len(functions)),
        expected=expected,
        category=category,
    )
