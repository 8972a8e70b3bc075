"""Questions of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmgym.episode import Task, content_key
from llmgym.errors import DataError

from ..math.rows import prompt_of

_ANSWER_COLUMNS = ("answers", "answer")


def question_task(where: str, row: Mapping[str, Any], columns: Mapping[str, str]) -> Task:
    """The task of a row: a question with an answer, or with a list of answers that are all right.

    Raises:
        DataError: the row lacks one of them, or an answer is empty.
    """
    question = prompt_of(where, row, columns)
    column = columns.get("answer") or next((name for name in _ANSWER_COLUMNS if name in row), "answer")
    found = row.get(column)
    given = found if isinstance(found, list | tuple) else [found]
    answers = tuple(str(answer).strip() for answer in given if answer is not None)
    if not answers or not all(answers):
        raise DataError(
            f"{where}: column {column!r} holds {found!r:.80}, but an answer, or a list of answers that are all right, "
            'was expected. Mend the row, or name the column with columns={"answer": ...}.'
        )
    return Task(
        key=content_key(question, answers[0]), prompt=question, answer=answers[0], metadata={"answers": answers}
    )
