"""The part that environments with tools have in common."""

from abc import abstractmethod

from ..messages import AssistantMessage, Message, ToolCall
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
        if results or problems:
            return EnvResponse(messages=(*results, *problems))
        return self.answer(message)

    def _run(self, call: ToolCall) -> Message:
        tool = next((tool for tool in self.tools if tool.name == call.name), None)
        if tool is None:
            content = f"error: there is no tool {call.name!r}; there are {', '.join(tool.name for tool in self.tools)}"
        else:
            content = tool.call(call).content
        return Message("tool", content, name=call.name, tool_call_id=call.id)
