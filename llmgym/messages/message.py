"""What a conversation is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True)
class Message:
    """One message of a conversation."""

    role: Role
    content: str
    name: str | None = None
    """Of a tool message: the tool that answered."""
    tool_call_id: str | None = None
    """Of a tool message: the call it answers."""


@dataclass(frozen=True)
class ToolCall:
    """A well-formed call of a tool, as the policy wrote it; its arguments are not validated yet."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""
    """Names the call in the tool's answer, once only in an episode; a reference turn needs none."""


@dataclass(frozen=True)
class MalformedCall:
    """Text that was meant as a tool call and cannot be read as one."""

    text: str
    problem: str
    """What is wrong, in words that the policy can act on."""


@dataclass(frozen=True, kw_only=True)
class AssistantMessage(Message):
    """One turn of the policy.

    `content` is what the turn says beside its reasoning and its calls: what verifiers and people read. Of a message
    that was not sampled, such as an example in the prompt, only `content` and `tool_calls` need be known.
    """

    role: Role = field(default="assistant", init=False)
    text: str = ""
    """The whole turn as it was sampled, with its prefill and without its end token; control tokens are written out."""
    reasoning: str = ""
    """What the policy thought before it spoke, where the form of its turns tells that apart."""
    tool_calls: tuple[ToolCall, ...] = ()
    malformed_calls: tuple[MalformedCall, ...] = ()
    token_ids: tuple[int, ...] = ()
    """The sampled ids of the turn, its end token included where there is one."""


def whole_text(message: Message) -> str:
    """All of a message: of a turn its text as it was sampled, with reasoning and calls, where that is known."""
    return message.text or message.content if isinstance(message, AssistantMessage) else message.content
