"""Any environment with more to its reward than its own score."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from inspect import isawaitable

import numpy as np

from ..errors import ConfigError
from ..messages import AssistantMessage, ToolCall
from ..scoring import Part, Rubric, Score
from ..tools import Tool
from .message_env import EnvResponse, InitialMessages, MessageEnv
from .tasks import Task, TaskSource

_OWN = "task"


class RubricEnv(MessageEnv):
    """An environment whose turns are scored by rubrics.

    Args:
        env: the environment.
        final: parts of the reward of the turn that ends the episode, beside the environment's own score, which is
            the part "task" of weight 1. A gate among them can close that one too.
        every_turn: parts of the reward of each turn, the last one included (process rewards).
        reward_range: bounds of an episode's reward with all that.

    Raises:
        ConfigError: there is no part, or one is called "task" or twice the same.
    """

    def __init__(
        self,
        env: MessageEnv,
        *,
        final: Sequence[Part] = (),
        every_turn: Sequence[Part] = (),
        reward_range: tuple[float, float],
    ) -> None:
        if not final and not every_turn:
            raise ConfigError("A rubric environment without parts is the environment itself. Give final or every_turn.")
        self._env, self._final, self._every_turn = env, tuple(final), tuple(every_turn)
        Rubric([_part(Score(reward=0.0)), *self._final, *self._every_turn])  # names are checked here, not in a step
        self.tools, self.reward_range = env.tools, reward_range
        self.default_limits = env.default_limits  # type: ignore[misc]  # of this one, as it wraps one
        self._task: Task | None = None

    def tasks(self, split: str) -> TaskSource:
        return self._env.tasks(split)

    def reset(self, task: Task, rng: np.random.Generator) -> InitialMessages:
        self._task = task
        initial = self._env.reset(task, rng)
        self.tools = self._env.tools
        return initial

    def step(self, message: AssistantMessage) -> EnvResponse | Awaitable[EnvResponse]:
        response = self._env.step(message)
        return self._later(message, response) if isawaitable(response) else self._scored(message, response)

    def tools_of(self, task: Task) -> Sequence[Tool]:
        return self._env.tools_of(task)

    def solve(self, task: Task) -> Sequence[str | ToolCall | Sequence[ToolCall]] | None:
        return self._env.solve(task)

    def fork(self) -> RubricEnv:
        """A copy around a fork of the environment; verifiers are pure, and shared."""
        fork = copy.copy(self)
        fork._env = self._env.fork()
        return fork

    def close(self) -> None:
        self._env.close()

    async def _later(self, message: AssistantMessage, response: Awaitable[EnvResponse]) -> EnvResponse:
        scored = self._scored(message, await response)
        return await scored if isawaitable(scored) else scored

    def _scored(self, message: AssistantMessage, response: EnvResponse) -> EnvResponse | Awaitable[EnvResponse]:
        own = [_part(response.score)] if response.score is not None else []
        parts = [*own, *(self._final if response.terminated else ()), *self._every_turn]
        if not parts:
            return response
        score = Rubric(parts)(message, self._task)
        return _with_later(response, score) if isawaitable(score) else replace(response, score=score)


async def _with_later(response: EnvResponse, score: Awaitable[Score]) -> EnvResponse:
    return replace(response, score=await score)


def _part(score: Score) -> Part:
    return Part(name=_OWN, verifier=lambda message, task: score)  # noqa: ARG005  the contract of a verifier
