"""Copying and reversing short texts: the smallest tasks, with a known optimum of 1."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from llmgym.episode import (
    EnvResponse,
    FiniteTasks,
    GeneratedTasks,
    InitialMessages,
    Limits,
    MessageEnv,
    Task,
    TaskSource,
    content_key,
)
from llmgym.errors import ConfigError
from llmgym.messages import AssistantMessage
from llmgym.scoring import Score

from .prompt import PromptWording


class TextEnv(MessageEnv):
    """One text in, one text out; the exact answer earns 1, anything else 0.

    Args:
        text: the only task, in every split; None generates texts without end.
        min_length: characters of the shortest generated text.
        max_length: characters of the longest one.
        alphabet: the characters that generated texts are made of.
        system_prompt: the system message; "" for none.
        prompt_template: the user message, with "{prompt}" where the text goes; None for the environment's own.

    Raises:
        ConfigError: no text can be made of these settings.
    """

    own_template: ClassVar[str]
    default_limits = Limits(turns=1, turn_tokens=64, episode_tokens=64, context_tokens=256)

    def __init__(
        self,
        text: str | None = None,
        *,
        min_length: int = 1,
        max_length: int = 8,
        alphabet: str = "abcdefghijklmnopqrstuvwxyz",
        system_prompt: str = "",
        prompt_template: str | None = None,
    ) -> None:
        if text == "":
            raise ConfigError('text is "", but there must be something to answer. Leave it out to generate texts.')
        if not 1 <= min_length <= max_length:
            raise ConfigError(
                f"min_length is {min_length} and max_length {max_length}, but 1 <= min_length <= max_length must hold."
            )
        if not alphabet:
            raise ConfigError("alphabet is empty. Name at least one character that texts are made of.")
        self.text, self.min_length, self.max_length, self.alphabet = text, min_length, max_length, alphabet
        self.wording = PromptWording(system_prompt, self.own_template if prompt_template is None else prompt_template)
        self._task: Task | None = None

    @abstractmethod
    def answer_to(self, text: str) -> str:
        """The right answer to a text."""

    def tasks(self, split: str) -> TaskSource:
        if self.text is None:
            return GeneratedTasks(self._make_task, split=split)
        return FiniteTasks([self._task_of(self.text)])

    def reset(self, task: Task, rng: np.random.Generator) -> InitialMessages:  # noqa: ARG002
        self._task = task
        return self.wording.initial_messages(task)

    def step(self, message: AssistantMessage) -> EnvResponse:
        assert self._task is not None, "step follows reset"
        is_exact = message.content == self._task.answer
        score = Score(
            reward=float(is_exact),
            extracted=message.content,
            expected=self._task.answer,
            reason="exact" if is_exact else "not the expected text",
        )
        return EnvResponse(score=score, terminated=True)

    def solve(self, task: Task) -> Sequence[str]:
        return [self.answer_to(task.prompt)]

    def _make_task(self, rng: np.random.Generator) -> Task:
        length = int(rng.integers(self.min_length, self.max_length + 1))
        return self._task_of("".join(self.alphabet[i] for i in rng.integers(len(self.alphabet), size=length)))

    def _task_of(self, text: str) -> Task:
        return Task(key=content_key(text), prompt=text, answer=self.answer_to(text))


class CopyEnv(TextEnv):
    """Say the text again."""

    own_template = "Copy: {prompt}"

    def answer_to(self, text: str) -> str:
        return text


class ReverseEnv(TextEnv):
    """Say the text backwards."""

    own_template = "Reverse: {prompt}"

    def answer_to(self, text: str) -> str:
        return text[::-1]
