"""The part that environments with tools have in common."""

import asyncio
import copy
from abc import abstractmethod
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import replace
from inspect import isawaitable
from itertools import groupby

import numpy as np

from ..errors import ConfigError
from ..messages import AssistantMessage, Message, ToolCall
from ..tools import Tool, ToolResult
from .message_env import EnvResponse, MessageEnv

_MAX_AT_ONCE = 8
"""Calls of one turn that run at once, where the tools allow it."""


class ToolEnv(MessageEnv):
    """Answers tool calls with what the tools say, and malformed calls with what is wrong with them.

    Any other message goes to `answer`, and so does what a final tool, such as `Submit`, was called with. A tool's own
    failure (any error but `ToolError`) is not caught: it is not the policy's doing.
    """

    _begun: Sequence[Tool] = ()

    @abstractmethod
    def answer(self, message: AssistantMessage) -> EnvResponse | Awaitable[EnvResponse]:
        """Answer a message that calls no tool: most often the final answer. May be `async def`.

        What a final tool returned comes as the `content` of a message whose only call is the one of that tool.
        """

    def begin_tools(self, rng: np.random.Generator) -> None:
        """Begin all tools anew. `reset` does so where one of them holds anything of an episode."""
        for tool in self._begun:
            if not any(tool is other for other in self.tools):
                tool.close()
        if "tools" not in vars(self):  # those of the class are shared by its instances
            own = iter(copy.deepcopy([tool for tool in self.tools if tool.has_state]))
            self.tools = [next(own) if tool.has_state else tool for tool in self.tools]
        self.tools = self._begun = tuple(tool.begin(rng) for tool in self.tools)

    def step(self, message: AssistantMessage) -> EnvResponse | Awaitable[EnvResponse]:
        if not message.tool_calls and not message.malformed_calls:
            return self.answer(message)
        if not all(self._is_quick(call) for call in message.tool_calls):
            return self._step_later(message)
        results: list[ToolResult] = []
        for call in message.tool_calls:
            result = self._run(call)
            assert isinstance(result, ToolResult), "a quick tool answers at once"
            results.append(result)
            if result.is_final:
                break
        return self._respond(message, results)

    def close(self) -> None:
        for tool in self.tools:
            tool.close()

    async def _step_later(self, message: AssistantMessage) -> EnvResponse:
        response = self._respond(message, await self._run_all(message.tool_calls))
        return await response if isawaitable(response) else response

    async def _run_all(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        """The results in order; after a final one, no call is run."""
        results: list[ToolResult] = []
        for is_concurrent, some_calls in groupby(calls, self._is_concurrent):
            if is_concurrent:
                results += await _at_once(self._run(call) for call in some_calls)
                continue
            for call in some_calls:
                result = self._run(call)
                results.append(await result if isawaitable(result) else result)
                if results[-1].is_final:
                    return results
        return results

    def _respond(
        self, message: AssistantMessage, results: Sequence[ToolResult]
    ) -> EnvResponse | Awaitable[EnvResponse]:
        calls = message.tool_calls[: len(results)]
        answers = [
            Message("tool", result.content, name=call.name, tool_call_id=call.id)
            for call, result in zip(calls, results, strict=True)
        ]
        problems = [Message("tool", f"error: {malformed.problem}") for malformed in message.malformed_calls]
        num_errors = sum(result.is_error for result in results) + len(problems)
        response = EnvResponse(messages=(*answers, *problems), num_tool_errors=num_errors)
        if not results or not results[-1].is_final:
            return response
        answer = replace(message, content=results[-1].content, tool_calls=calls[-1:], malformed_calls=())
        judged = self.answer(answer)
        return _joined_later(response, judged) if isawaitable(judged) else _joined(response, judged)

    def _run(self, call: ToolCall) -> ToolResult | Awaitable[ToolResult]:
        tool = self._tool(call)
        if tool is None:
            known = ", ".join(tool.name for tool in self.tools)
            return ToolResult(f"error: there is no tool {call.name!r}; there are {known}", is_error=True)
        if tool.has_state and self._begun is not self.tools:
            raise ConfigError(
                f"The tool {tool.name!r} holds the state of an episode, but was not begun for this one. Call "
                f"self.begin_tools(rng) in {type(self).__name__}.reset."
            )
        return tool.call(call)

    def _tool(self, call: ToolCall) -> Tool | None:
        return next((tool for tool in self.tools if tool.name == call.name), None)

    def _is_quick(self, call: ToolCall) -> bool:
        tool = self._tool(call)
        return tool is None or tool.is_quick

    def _is_concurrent(self, call: ToolCall) -> bool:
        tool = self._tool(call)
        return tool is not None and tool.is_concurrent


async def _at_once(results: Iterable[ToolResult | Awaitable[ToolResult]]) -> list[ToolResult]:
    """All results; where some calls failed, the first failure, once all have ended."""
    places = asyncio.Semaphore(_MAX_AT_ONCE)

    async def one(result: ToolResult | Awaitable[ToolResult]) -> ToolResult:
        async with places:
            return await result if isawaitable(result) else result

    ended = await asyncio.gather(*map(one, results), return_exceptions=True)
    for result in ended:
        if isinstance(result, BaseException):
            raise result
    return [result for result in ended if not isinstance(result, BaseException)]


def _joined(response: EnvResponse, judged: EnvResponse) -> EnvResponse:
    return replace(
        judged,
        messages=(*response.messages, *judged.messages),
        num_tool_errors=response.num_tool_errors + judged.num_tool_errors,
    )


async def _joined_later(response: EnvResponse, judged: Awaitable[EnvResponse]) -> EnvResponse:
    return _joined(response, await judged)
