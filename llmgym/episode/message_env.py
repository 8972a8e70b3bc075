"""The contract of an environment: messages in, scores out."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np

from ..errors import EnvironmentFailure
from ..messages import AssistantMessage, Message, ToolCall
from ..scoring import Score
from ..tools import Tool
from .limits import Limits
from .tasks import Task, TaskSource


@dataclass(frozen=True)
class InitialMessages:
    """What an episode starts with: system, few-shot and user messages."""

    messages: tuple[Message, ...]
    prefill: str = ""
    """Text that the policy's first turn starts with; it is not sampled and earns no credit."""


@dataclass(frozen=True, kw_only=True)
class EnvResponse:
    """The environment's answer to one turn of the policy."""

    messages: tuple[Message, ...] = ()
    """Tool or user messages to append, never assistant ones."""
    score: Score | None = None
    """The turn's reward, paid on its last token."""
    terminated: bool = False
    """The task ended."""
    truncated: bool = False
    """An outside limit of the world's own ended the episode, and not the task; it stops with TIME_LIMIT."""
    num_tool_errors: int = 0
    """Calls of the turn that could not be read, named no tool, or were answered with an error; for metrics."""


T = TypeVar("T")


def require_kind(kind: type[T], given: T, method: Callable[..., object]) -> T:
    """What an environment's method returned, where it is of the kind that it should be.

    Raises:
        EnvironmentFailure: it is not, or its score is none.
    """
    name = getattr(method, "__qualname__", repr(method))
    if not isinstance(given, kind):
        raise EnvironmentFailure(f"{name}() must return {kind.__name__}(...), but returned {given!r:.100}.")
    score = getattr(given, "score", None)
    if score is not None and not isinstance(score, Score):
        raise EnvironmentFailure(f"{name}() must give its score as Score(reward=...), but gave {score!r:.100}.")
    return given


class MessageEnv(ABC):
    """A task told in messages; the framework turns it into a token-level Gymnasium environment.

    Construct cheaply: data sets and services load on first use. One instance runs one episode at a time.
    """

    tools: Sequence[Tool] = ()
    """What the policy may call. Their schemas go into the prompt where the chat template knows tools."""
    reward_range: tuple[float, float] = (0.0, 1.0)
    """Bounds of an episode's reward."""
    default_limits: ClassVar[Limits] = Limits()
    """Budgets that fit this task."""

    @abstractmethod
    def tasks(self, split: str) -> TaskSource:
        """The tasks of a split. Splits never overlap."""

    @abstractmethod
    def reset(self, task: Task, rng: np.random.Generator) -> InitialMessages:
        """Begin `task`. All randomness of the episode comes from `rng`."""

    @abstractmethod
    def step(self, message: AssistantMessage) -> EnvResponse | Awaitable[EnvResponse]:
        """Answer one turn of the policy. May be `async def`.

        What the policy does wrong is answered or scored; an error raised here means that our machinery failed.
        """

    def tools_of(self, task: Task) -> Sequence[Tool]:  # noqa: ARG002  for subclasses
        """What the policy may call on `task`. An environment whose tools differ by task overrides it."""
        return self.tools

    def solve(self, task: Task) -> Sequence[str | ToolCall | Sequence[ToolCall]] | None:  # noqa: ARG002
        """Reference turns that earn the full reward, without end tokens; None where none is known.

        A turn that calls tools is the call itself, or the calls; `TokenEnv.solve` writes them in the form that the
        episode reads.
        """
        return None

    def fork(self) -> MessageEnv:
        """An independent copy in the same state, to try several continuations."""
        return copy.deepcopy(self)

    def close(self) -> None:  # noqa: B027  most environments hold nothing
        """Free what the environment holds. Calling it twice is harmless."""
