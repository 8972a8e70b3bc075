"""Multiple-choice questions: rows of a data set, and generated ones, as tasks whose options have no letters yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from llmgym.episode import Task, content_key
from llmgym.errors import DataError

from .math.families import FAMILIES
from .math.problem import decimal, number, pick
from .math.rows import prompt_of
from .multiple_choice_letters import LETTERS

_OPTION_COLUMNS = ("options", "choices")
_ANSWER_COLUMNS = ("answer_index", "answer")


def question_task(where: str, row: Mapping[str, Any], columns: Mapping[str, str]) -> Task:
    """The question that a row asks; its options and the place of the right one are in the metadata.

    The answer is the right option's place, its letter or its text.

    Raises:
        DataError: the row lacks a column, has fewer than two or more than ten options, or its answer is none of them.
    """
    question = prompt_of(where, row, columns)
    column = columns.get("options") or next((name for name in _OPTION_COLUMNS if name in row), "options")
    options = [str(option).strip() for option in _list_of(where, row, column)]
    if not 2 <= len(options) <= len(LETTERS) or len(set(options)) != len(options) or not all(options):
        raise DataError(
            f"{where}: column {column!r} holds {options!r:.80}, but a question has 2 to {len(LETTERS)} different "
            "options, none of them empty. Mend the row, or leave it out."
        )
    answer_column = columns.get("answer") or next((name for name in _ANSWER_COLUMNS if name in row), "answer")
    return task_of_options(question, options, _place_of(where, row.get(answer_column), options, answer_column))


def task_of_options(question: str, options: Sequence[str], place: int) -> Task:
    """A question with its options in the order in which they are written."""
    prompt = "\n".join((question, *options))
    metadata = {"question": question, "options": tuple(options), "place": place}
    return Task(key=content_key(prompt, options[place]), prompt=prompt, answer=options[place], metadata=metadata)


def generated_task(rng: np.random.Generator, *, difficulty: int, num_options: int) -> Task:
    """A generated mathematics problem, with numbers near the right one as further options."""
    problem = FAMILIES[pick(rng, tuple(FAMILIES))](rng, difficulty)
    options = _distractors(rng, problem.answer, num_options - 1)
    place = int(rng.integers(num_options))
    return task_of_options(problem.text, [*options[:place], problem.answer, *options[place:]], place)


def _distractors(rng: np.random.Generator, answer: str, count: int) -> list[str]:
    """Different wrong numbers near `answer`, written as it is; none is negative where it is not."""
    value, places = Fraction(answer), len(answer.partition(".")[2])
    step = Fraction(1, value.denominator) if "/" in answer else Fraction(1, 10**places)
    reach = count + 8
    near = [value + offset * step for offset in range(-reach, reach + 1) if offset]
    candidates = [wrong for wrong in near if wrong >= 0 or value < 0]
    chosen = rng.choice(len(candidates), size=count, replace=False)
    write = decimal if places else number
    return [write(candidates[int(index)]) for index in chosen]


def _list_of(where: str, row: Mapping[str, Any], column: str) -> Sequence[Any]:
    options = row.get(column)
    if not isinstance(options, list | tuple):
        raise DataError(
            f"{where}: the row has the columns {', '.join(map(repr, row)) or 'none'}, but a list of options was "
            f'expected in {column!r}. Name the column with columns={{"options": ...}}.'
        )
    return options


def _place_of(where: str, answer: Any, options: Sequence[str], column: str) -> int:
    places = range(len(options))
    if isinstance(answer, int) and not isinstance(answer, bool) and answer in places:
        return answer
    if isinstance(answer, str):
        written = answer.strip()
        if written in options:
            return options.index(written)
        letter = written.strip("().").upper()
        if len(letter) == 1 and letter in LETTERS[: len(options)]:
            return LETTERS.index(letter)
    raise DataError(
        f"{where}: column {column!r} holds {answer!r:.60}, but it must be the place (from 0), the letter or the text "
        f"of one of the {len(options)} options. Mend the row."
    )
