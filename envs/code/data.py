"""Rows of data sets of programming problems as tasks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmgym.episode import Task, content_key

from .shapes import exercise_of


@dataclass(frozen=True)
class CodeTaskOf:
    """Makes a task of a row, for a `ProblemSet`. Equal ones share their tasks."""

    num_visible: int
    """See `exercise_of`."""

    def __call__(self, where: str, row: Mapping[str, Any], columns: Mapping[str, str]) -> Task:  # noqa: ARG002  shapes tell
        exercise = exercise_of(where, row, num_visible=self.num_visible)
        prompt = "\n".join([exercise.text, *exercise.shown])  # MBPP has equal texts that ask for different functions
        key = content_key(prompt, exercise.solution)
        return Task(key=key, prompt=prompt, answer=exercise.solution, metadata={"exercise": exercise})
