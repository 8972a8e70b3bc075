"""Rewards: the end state of the database beside that of the reference actions, and what had to be said."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any, Literal

from llmgym.episode import Task
from llmgym.messages import ToolCall
from llmgym.scoring import Score
from llmgym.tools import ToolError

from .airline import AirlineDesk
from .data import TauData
from .database import Database, state_text
from .desk import TRANSFER, Desk
from .retail import RetailDesk

Rule = Literal["strict", "official"]
RULES: tuple[Rule, ...] = ("strict", "official")
DESKS: Mapping[str, type[Desk]] = {"retail": RetailDesk, "airline": AirlineDesk}
"""By domain."""
MAX_NUMBERS = 50
"""Different numbers in one message; in one with more, the strict rule finds nothing said."""
_NUMBER = r"(?<![\w.])\d+(?:\.\d+)?(?!\w|\.\d)"


def end_state(data: TauData, actions: Sequence[ToolCall]) -> Database:
    """The database after some actions; those that fail change nothing, and a hand-over is left out."""
    desk = DESKS[data.domain](data.version)
    desk.database = Database(data.snapshot())
    for action in actions:
        if action.name in desk.tool_names[data.version] and action.name != TRANSFER:
            with suppress(ToolError):
                getattr(desk, action.name)(**action.arguments)
    return desk.database


def is_checkable(task: Task, reference: Database) -> bool:
    """False where nobody needs to do or say anything, so that doing nothing would be paid."""
    return bool(reference.changes()) or bool(task.metadata["outputs"])


def judge(rule: Rule, task: Task, final: Database, reference: Database, said: Sequence[str]) -> Score:
    """The reward of an episode that has ended.

    Args:
        rule: "official" is the published one. "strict" demands an output as a whole number or whole words, in a message
            that does not recite numbers, and takes amounts that are the same to the cent for the same.
        task: whose outputs must be said.
        final: what the policy made of the database.
        reference: what the reference actions make of it.
        said: the policy's messages to the user.
    """
    outputs: Sequence[str] = task.metadata["outputs"]
    if rule == "official":
        is_state_right = final.is_as(reference)
        asked = outputs if "COMMUNICATE" in task.metadata["basis"] else ()
        missing = [output for output in asked if not any(_holds(text, output) for text in said)]
    else:
        is_state_right = _is_same_to_the_cent(final, reference)
        missing = [output for output in outputs if not any(_says(text, output) for text in said)]
    if not is_state_right:
        reason = "the database is not as it should be"
    else:
        reason = f"not said: {', '.join(missing)}" if missing else "done"
    return Score(
        reward=float(is_state_right and not missing),
        parts={"database": float(is_state_right), "outputs": float(not missing)},
        expected=task.answer,
        reason=reason,
    )


def _is_same_to_the_cent(final: Database, reference: Database) -> bool:
    return all(
        state_text(_to_the_cent(final.get(table, key))) == state_text(_to_the_cent(reference.get(table, key)))
        for table, key in {**final.changes(), **reference.changes()}
    )


def _to_the_cent(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _to_the_cent(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_to_the_cent(each) for each in value]
    return round(float(value), 2) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _holds(text: str, output: str) -> bool:
    """The published rule, which finds "10" in "2100" too."""
    return output.lower() in text.lower().replace(",", "")


def _says(text: str, output: str) -> bool:
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text.lower())
    numbers = {Decimal(number) for number in re.findall(_NUMBER, text)}
    if len(numbers) > MAX_NUMBERS:
        return False
    if re.fullmatch(_NUMBER, output):
        return Decimal(output) in numbers
    return re.search(rf"(?<!\w){re.escape(output.lower())}(?!\w)", text) is not None
