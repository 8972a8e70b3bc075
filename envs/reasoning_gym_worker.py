"""Problems of the package reasoning-gym and their scorers, as a worker process runs them.

A problem is named by its task, its configuration and a number, its seed, and made anew from these. Some tasks draw from
sets, so that a number is another problem in another process; but all workers order sets alike.
"""

import ast
import copy
import json
import re
import sys
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any

import reasoning_gym

from llmgym.episode import split_of

Entry = dict[str, Any]
"""As the package has it: question, answer, metadata."""

_COSTLY = ("arc_agi", "rearc")
"""Making one of these reads much, and any index of it is a problem. Of others not: some make all problems at first."""
_MAX_TRIES = 300
"""Problems that are made to find one of a split; one in ten questions is of the test split."""
_NONSENSE = ("?", "~")
"""Answers to nothing. What a scorer pays for them, it pays for any text."""
_OTHER_REFERENCES = ("example_correct_answer", "example_answer", "possible_answer")
"""Where the metadata hold a right answer, for tasks that have no single one."""


def problem(name: str, config: Mapping[str, Any], first: int, split: str) -> dict[str, Any] | None:
    """The first problem of the split from a number on: "number", "question", and "answer", where there is a single one.

    None where many numbers have none: the task has too few questions.
    """
    for number in range(first, first + _MAX_TRIES):
        entry = _problem(name, json.dumps(config), number)[1]
        if split_of(question := str(entry["question"])) == split:
            answer = entry["answer"] if isinstance(entry["answer"], str) else None
            return {"number": number, "question": question, "answer": answer}
    return None


def reference(name: str, config: Mapping[str, Any], number: int) -> str | None:
    """An answer that the scorer pays in full; None where the package tells none."""
    entry = _problem(name, json.dumps(config), number)[1]
    for told in (entry["answer"], *(entry["metadata"].get(place) for place in _OTHER_REFERENCES)):
        answer = told if isinstance(told, str) or told is None else json.dumps(told)
        if answer is not None and _paid(name, config, number, answer) >= 1.0:
            return answer
    return None


def score(name: str, config: Mapping[str, Any], number: int, answer: str) -> dict[str, float]:
    """What the package's scorer pays for an answer, and what it pays for any text: "paid" and "floor", from 0 to 1."""
    paid = _paid(name, config, number, answer)
    floor = max(_paid(name, config, number, nonsense) for nonsense in _NONSENSE) if 0 < paid < 1 else 0.0
    return {"paid": paid, "floor": floor}


def _paid(name: str, config: Mapping[str, Any], number: int, answer: str) -> float:
    dataset, entry = _problem(name, json.dumps(config), number)
    if name in _FORMULA_TASKS and not _is_formula(answer):
        return 0.0
    try:
        if name in _ALSO and not _ALSO[name](answer, entry):
            return 0.0
        paid = float(dataset.score_answer(answer, copy.deepcopy(entry)))
    except MemoryError:
        raise
    except Exception:  # the scorers of some tasks raise on answers that they cannot read, and those are wrong
        return 0.0
    return min(max(paid, 0.0), 1.0)


@lru_cache(maxsize=64)
def _problem(name: str, config: str, number: int) -> tuple[Any, Entry]:
    if name in _COSTLY:
        dataset = _dataset(name, config, 0)
        return dataset, dataset[number]
    dataset = _dataset(name, config, number)
    return dataset, dataset[0]


@lru_cache(maxsize=16)
def _dataset(name: str, config: str, seed: int) -> Any:
    dataset = reasoning_gym.create_dataset(name, **json.loads(config), seed=seed, size=1)
    _disarm(dataset)
    return dataset


# -- what the package's scorers leave open -----------------------------------------------------------------------

_EVALUATING = ("binary_matrix", "n_queens", "spiral_matrix", "string_insertion")
_FORMULA_TASKS = (
    "countdown",
    "intermediate_integration",
    "polynomial_multiplication",
    "puzzle24",
    "simple_integration",
)
_FUNCTIONS = {
    *("sin", "cos", "tan", "sec", "csc", "cot", "asin", "acos", "atan", "sinh", "cosh", "tanh", "exp", "log", "ln"),
    *("sqrt", "pi", "Abs", "erf", "gamma", "Rational"),
}


def _disarm(dataset: Any) -> None:
    """Some scorers call `eval` on the answer: theirs may read literals only."""
    module = type(dataset).__module__
    if module.rpartition(".")[2] in _EVALUATING:
        vars(sys.modules[module])["eval"] = ast.literal_eval


def _is_formula(answer: str) -> bool:
    """Whether an answer is arithmetic and nothing else: SymPy's parser, which some scorers use, runs it as Python."""
    if len(answer) > 1000 or not re.fullmatch(r"[A-Za-z0-9_+\-*/^(). ,=\n]*", answer):
        return False
    if re.search(r"\.\s*[A-Za-z_]", answer):
        return False
    return all(len(word) == 1 or word in _FUNCTIONS for word in re.findall(r"[A-Za-z_]+", answer))


def _uses_its_numbers(answer: str, entry: Entry) -> bool:
    return sorted(map(int, re.findall(r"\d+", answer))) == sorted(entry["metadata"]["numbers"])


def _says_the_same(answer: str, entry: Entry) -> bool:
    return answer.strip().lower() == str(entry["answer"]).lower()


def _is_as_near_as_its_scorer_says(answer: str, entry: Entry) -> bool:
    return abs(Fraction(answer) - Fraction(entry["answer"])) <= Fraction(1, 10_000)


_ALSO: Mapping[str, Callable[[str, Entry], bool]] = {
    "puzzle24": _uses_its_numbers,  # its scorer takes any four numbers, so 6+6+6+6 would always do
    "coin_flip": _is_as_near_as_its_scorer_says,  # its scorer pays in full for a prefix, such as 0 for 0.25
    "game_of_life_halting": _says_the_same,  # its scorer takes any text
}
"""What a right answer must be as well."""
