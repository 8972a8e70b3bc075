"""The user where no language model plays one."""

from collections.abc import Sequence

import numpy as np

from llmgym.episode import Task
from llmgym.messages import Message

from ..users import END
from ..users.phrases import (
    DONE,
    REFUSES,
    asks_to_confirm,
    found,
    waits_for_answer,
    without_announcements,
    without_offers,
)

_YES = "Yes, please go ahead."
_LOST = "I told you all that I know."
_PATIENCE = 3


class InstructedUser:
    """Says the whole instruction at once, and yes to every question.

    Leaves when the policy says that it has done something or will not, or only asks whether there is anything else, or
    at the third message that leads nowhere.
    """

    def first(self, task: Task, rng: np.random.Generator) -> str:  # noqa: ARG002  the instruction is all there is
        return f"Hello. This is what I was asked to tell you, word for word: {task.prompt}"

    def reply(self, messages: Sequence[Message]) -> str:
        said = without_offers(messages[-1].content)
        if "?" in said or asks_to_confirm(said):
            return _YES
        has_ended = found(f"{DONE}|{REFUSES}", without_announcements(said)) and not waits_for_answer(said)
        if has_ended or (messages[-1].content and not said):
            return f"Thank you, that is all. Goodbye. {END}"
        num_lost = 1 + sum(message.content == _LOST for message in messages)
        return f"This leads nowhere. Goodbye. {END}" if num_lost >= _PATIENCE else _LOST
