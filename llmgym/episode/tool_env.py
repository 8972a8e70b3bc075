"""The part that environments with tools have in common."""

from abc import abstractmethod

from ..messages import AssistantMessage, Message, ToolCall
from ..tools import ToolResult
from .message_env import EnvResponse, MessageEnv


class ToolEnv(MessageEnv):
    """Answers tool calls with what the tools say, and malformed calls with what is wrong with them.

    Any other message goes to `answer`. A tool's own failure (any error but `ToolError`) is not caught: it is not the
    policy's doing.
    """

    @abstractmethod
    def answer(self, message: AssistantMessage) -> EnvResponse:
        """Answer a message that calls no tool: most often the final answer."""

    def step(self, message: AssistantMessage) -> EnvResponse:
        results = [self._run(call) for call in message.tool_calls]
        problems = [Message("tool", f"error: {malformed.problem}") for malformed in message.malformed_calls]
        if not results and not problems:
            return self.answer(message)
        answers = [
            Message("tool", result.content, name=call.name, tool_call_id=call.id)
            for call, result in zip(message.tool_calls, results, strict=True)
        ]
        num_errors = sum(result.is_error for result in results) + len(problems)
        return EnvResponse(messages=(*answers, *problems), num_tool_errors=num_errors)

    def _run(self, call: ToolCall) -> ToolResult:
        tool = next((tool for tool in self.tools if tool.name == call.name), None)
        if tool is not None:
            return tool.call(call)
        known = ", ".join(tool.name for tool in self.tools)
        return ToolResult(f"error: there is no tool {call.name!r}; there are {known}", is_error=True)
