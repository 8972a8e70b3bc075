"""What a user is to an environment, and what user and policy say to each other."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from typing import Protocol

import numpy as np

from llmgym.episode import EnvResponse, Task
from llmgym.messages import AssistantMessage, Message

END = "###STOP###"
"""At the end of what a user says: nothing more will follow. It is not shown to the policy."""


class UserSimulator(Protocol):
    """Plays the user of one episode at a time.

    What it remembers of an episode is set anew in `first` and never changed in place: each episode has a shallow copy
    (`copy.copy`) of the simulator that an environment was given.
    """

    def first(self, task: Task, rng: np.random.Generator) -> str:
        """What the user says first. Begins an episode, all of whose randomness comes from `rng`."""

    def reply(self, messages: Sequence[Message]) -> str | Awaitable[str]:
        """What the user says next, with `END` behind it where nothing more will follow.

        Args:
            messages: what user and policy said so far; the last is the policy's.

        Raises:
            InfrastructureError: the user could not answer. That is never the policy's fault, and no reward.
        """


class Conversation:
    """What a user and the policy say to each other in one episode.

    Args:
        user: is copied, so that episodes which run at once may share it.
    """

    def __init__(self, user: UserSimulator) -> None:
        self.user = copy.copy(user)
        self.messages: list[Message] = []

    def begin(self, task: Task, rng: np.random.Generator) -> Message:
        """The user's first message."""
        self.messages = [Message("user", self.user.first(task, rng))]
        return self.messages[0]

    def say(
        self, message: AssistantMessage, respond: Callable[[Message, bool], EnvResponse]
    ) -> EnvResponse | Awaitable[EnvResponse]:
        """Tell the user what the policy said, and what `respond(answer, is_last)` makes of the answer.

        A user that answers later is awaited, and the environment's `step` with it.
        """
        self.messages.append(message)
        answer = self.user.reply(tuple(self.messages))
        return self._later(answer, respond) if isawaitable(answer) else respond(*self._heard(answer))

    async def _later(self, answer: Awaitable[str], respond: Callable[[Message, bool], EnvResponse]) -> EnvResponse:
        return respond(*self._heard(await answer))

    def _heard(self, answer: str) -> tuple[Message, bool]:
        said = Message("user", answer.replace(END, "").strip())
        self.messages.append(said)
        return said, END in answer
