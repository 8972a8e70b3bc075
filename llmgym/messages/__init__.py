"""Messages, tokenizers and the exact way from one to the other."""

from .chat import Chat, RoleChat, TemplateChat, chat_for
from .message import AssistantMessage, MalformedCall, Message, Role, ToolCall
from .tokenizer import ByteTokenizer, RoleTokenizer, TemplateTokenizer, Tokenizer, load_tokenizer
from .tool_calls import ToolCallParser

__all__ = [
    "AssistantMessage",
    "ByteTokenizer",
    "Chat",
    "MalformedCall",
    "Message",
    "Role",
    "RoleChat",
    "RoleTokenizer",
    "TemplateChat",
    "TemplateTokenizer",
    "Tokenizer",
    "ToolCall",
    "ToolCallParser",
    "chat_for",
    "load_tokenizer",
]
