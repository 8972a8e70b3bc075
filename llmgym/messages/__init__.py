"""Messages, tokenizers and the exact way from one to the other."""

from .message import AssistantMessage, MalformedCall, Message, Role, ToolCall

__all__ = ["AssistantMessage", "MalformedCall", "Message", "Role", "ToolCall"]
