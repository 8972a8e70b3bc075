"""Messages, tokenizers and the exact way from one to the other."""

from .chat import Chat, RoleChat
from .choose_chat import chat_for
from .message import AssistantMessage, MalformedCall, Message, Role, ToolCall
from .template_chat import TemplateChat
from .tokenizer import ByteTokenizer, RoleTokenizer, TemplateTokenizer, Tokenizer, end_ids_of, load_tokenizer, turn_text
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
    "end_ids_of",
    "load_tokenizer",
    "turn_text",
]
