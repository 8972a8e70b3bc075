"""The contract of a tool: a schema that the policy reads, and a call whose failure is a result."""

from __future__ import annotations

import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ..messages import ToolCall
from ..threads import TookTooLong, in_thread, in_time
from .validation import problem_with


class ToolError(Exception):
    """Raised by a tool for what the policy did wrong; its message is the tool's answer."""


@dataclass(frozen=True)
class ToolResult:
    """What a tool answered. A policy's mistake is an answer too."""

    content: str
    is_error: bool = False
    is_final: bool = False
    """True: `content` is the policy's answer to the task."""


class Tool(ABC):
    """Something that the policy may call by name with arguments.

    A tool that holds something of an episode overrides `begin`. Any other is shared by all episodes that run at once.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON schema of the arguments, an object with `properties` and `required`."""
    timeout_s: float | None = None
    """Seconds that a call may take, off the event loop; then the policy is told so and the episode goes on.

    The thread of such a call is left behind, for threads cannot be killed: what the policy could make endless belongs
    into a sandbox. None: the tool is quick by itself, and runs at once where it is called.
    """
    max_output_chars: int = 20_000
    """Longer answers are cut in the middle."""
    is_concurrent: bool = False
    """True: several calls of one turn may run at once. Else they run one after another, in order."""
    is_final: bool = False
    """True: what the tool returns is the policy's answer to the task, which `ToolEnv` gives to its `answer`."""
    _was_given_up = False

    @abstractmethod
    def run(self, *args: Any, **arguments: Any) -> Any:
        """Do it, with arguments by name that fit the schema. May be `async def`.

        Returns:
            The answer: text, or what is written to the policy as JSON.

        Raises:
            ToolError: the policy asked for something impossible.
        """

    def begin(self, rng: np.random.Generator) -> Tool:  # noqa: ARG002  for subclasses
        """The tool for one episode, as its first call finds it. What an earlier episode left is closed and forgotten.

        Args:
            rng: of the episode; all of the tool's randomness comes from it.
        """
        return self

    def close(self) -> None:  # noqa: B027  most tools hold nothing
        """Free what the tool holds. Calling it twice is harmless."""

    @property
    def schema(self) -> dict[str, Any]:
        """The tool in the form that chat templates take."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}

    @property
    def has_state(self) -> bool:
        """True where each episode needs a tool of its own."""
        return type(self).begin is not Tool.begin

    @property
    def is_async(self) -> bool:
        """True where `run` must be awaited."""
        return inspect.iscoroutinefunction(self.run)

    @property
    def is_quick(self) -> bool:
        """True where `call` answers at once instead of being awaited."""
        return self.timeout_s is None and not self.is_async

    def call(self, call: ToolCall) -> ToolResult | Awaitable[ToolResult]:
        """Validate the arguments, run the tool, and turn the policy's mistakes into answers.

        Await what a tool that is not quick answers. Any error but `ToolError` is the tool's own, and passes through.
        """
        return self._call(call) if self.is_quick else self._call_later(call)

    def _call(self, call: ToolCall) -> ToolResult:
        problem = problem_with(call.arguments, self.parameters, tool=self.name)
        if problem:
            return self._error(problem)
        try:
            return self._result(self.run(**call.arguments))
        except ToolError as error:
            return self._error(str(error))

    async def _call_later(self, call: ToolCall) -> ToolResult:
        problem = problem_with(call.arguments, self.parameters, tool=self.name)
        if not problem and self._was_given_up:
            problem = f"{self.name} cannot be used any more: an earlier call did not end"
        if problem:
            return self._error(problem)
        run = partial(self.run, **call.arguments)
        try:
            if self.is_async:
                return self._result(await in_time(run(), self.timeout_s))
            return self._result(await in_thread(run, timeout_s=self.timeout_s))
        except ToolError as error:
            return self._error(str(error))
        except TookTooLong:
            self._was_given_up = self.has_state and not self.is_async  # its thread may still be at work on that state
            return self._error(f"{self.name} took longer than {self.timeout_s:g} seconds and was given up")

    def _result(self, answer: Any) -> ToolResult:
        text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
        return ToolResult(_cut(text, self.max_output_chars), is_final=self.is_final)

    def _error(self, problem: str) -> ToolResult:
        return ToolResult(_cut(f"error: {problem}", self.max_output_chars), is_error=True)


def _cut(text: str, max_chars: int) -> str:
    """Beginning and end of a long text, with a line between them that counts what is missing."""
    if len(text) <= max_chars:
        return text
    num_head = (max_chars + 1) // 2
    num_tail = max_chars - num_head
    num_cut = len(text) - max_chars
    return f"{text[:num_head]}\n[... {num_cut} characters left out ...]\n{text[len(text) - num_tail :]}"
