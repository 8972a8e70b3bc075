"""Messages, tokenizers and the exact way from one to the other."""

from .calls import FORMS, TurnParser, TurnStyle, turn_style
from .chat import Chat, RoleChat
from .choose_chat import chat_for
from .message import AssistantMessage, MalformedCall, Message, Role, ToolCall, whole_text
from .template_chat import TemplateChat
from .tokenizer import ByteTokenizer, RoleTokenizer, TemplateTokenizer, Tokenizer, end_ids_of, load_tokenizer

__all__ = [
    "FORMS",
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
    "TurnParser",
    "TurnStyle",
    "chat_for",
    "end_ids_of",
    "load_tokenizer",
    "turn_style",
    "whole_text",
]
