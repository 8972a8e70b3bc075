"""Messages to ids, and the exact extension of ids that the policy has already seen."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import TokenizerError
from .message import Message
from .tokenizer import RoleTokenizer, TemplateTokenizer, Tokenizer


class Chat(ABC):
    """Writes conversations in a tokenizer's own form."""

    tokenizer: Tokenizer

    @abstractmethod
    def render(
        self, messages: Sequence[Message], *, tools: Sequence[Mapping[str, Any]] = (), prefill: str = ""
    ) -> list[int]:
        """The ids of a conversation, up to where the policy begins its turn.

        Args:
            messages: the conversation.
            tools: schemas of the tools, for templates that show them.
            prefill: text that the policy's turn begins with.
        """

    @abstractmethod
    def extend(
        self,
        ids: Sequence[int],
        new_messages: Sequence[Message],
        *,
        history: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> list[int] | None:
        """The ids to append after a turn of the policy, up to where it begins its next one.

        What was sampled is never rendered again. A turn without its end token gets one.

        Args:
            ids: the segment so far; it ends in the policy's turn.
            new_messages: the environment's answer.
            history: all messages that `ids` holds, the policy's last turn included, each with its raw text.
            tools: as given to `render`.

        Returns:
            The suffix, or None where the template rewrites what the policy has already seen.
        """


class RoleChat(Chat):
    """Each message is its role's control tokens, its content and the end token. Always append-only."""

    def __init__(self, tokenizer: RoleTokenizer) -> None:
        self.tokenizer: RoleTokenizer = tokenizer

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] = (),  # noqa: ARG002  this form does not show them
        prefill: str = "",
    ) -> list[int]:
        ids = [token for message in messages for token in self._message(message)]
        return [*ids, *self.tokenizer.header("assistant"), *self.tokenizer.encode(prefill)]

    def extend(
        self,
        ids: Sequence[int],
        new_messages: Sequence[Message],
        *,
        history: Sequence[Message],  # noqa: ARG002  nothing here depends on it
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> list[int] | None:
        end = [] if ids[-1] == self.tokenizer.eos_id else [self.tokenizer.eos_id]
        return end + self.render(new_messages, tools=tools)

    def _message(self, message: Message) -> list[int]:
        content = self.tokenizer.encode(message.content)
        return [*self.tokenizer.header(message.role), *content, self.tokenizer.eos_id]


class TemplateChat(Chat):
    """A chat template in the form that transformers uses.

    Args:
        tokenizer: knows the template.
        template_kwargs: passed to the template, e.g. `enable_thinking=False`.
    """

    def __init__(self, tokenizer: TemplateTokenizer, template_kwargs: Mapping[str, Any] | None = None) -> None:
        self.tokenizer: TemplateTokenizer = tokenizer
        self._template_kwargs = dict(template_kwargs or {})
        self._end_text = tokenizer.end_text

    def render(
        self, messages: Sequence[Message], *, tools: Sequence[Mapping[str, Any]] = (), prefill: str = ""
    ) -> list[int]:
        text = self._text(messages, tools) + self.tokenizer.protect(prefill)
        return self.tokenizer.encode_protected(text)

    def extend(
        self,
        ids: Sequence[int],
        new_messages: Sequence[Message],
        *,
        history: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> list[int] | None:
        # The template is append-only here if the longer conversation begins with just what the policy saw and
        # wrote, followed by the end token.
        seen = self._text(history[:-1], tools) + self.tokenizer.protect(history[-1].content) + self._end_text
        longer = self._text([*history, *new_messages], tools)
        if not longer.startswith(seen):
            return None
        end = [] if ids[-1] == self.tokenizer.eos_id else [self.tokenizer.eos_id]
        # Encoded behind the end token, as in the whole: by itself it might get a space in front.
        return end + self.tokenizer.encode_protected(self._end_text + longer[len(seen) :])[1:]

    def _text(self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]]) -> str:
        protected = [_as_mapping(message, self.tokenizer.protect(message.content)) for message in messages]
        return self.tokenizer.apply_template(
            protected, tools=list(tools) or None, add_generation_prompt=True, **self._template_kwargs
        )


def _as_mapping(message: Message, content: str) -> dict[str, Any]:
    optional = {"name": message.name, "tool_call_id": message.tool_call_id}
    return {"role": message.role, "content": content} | {key: value for key, value in optional.items() if value}


def chat_for(tokenizer: Tokenizer, template_kwargs: Mapping[str, Any] | None = None) -> Chat:
    """The chat form of a tokenizer: its template, or its role tokens.

    Raises:
        TokenizerError: it has neither.
    """
    if isinstance(tokenizer, TemplateTokenizer):
        return TemplateChat(tokenizer, template_kwargs)
    if isinstance(tokenizer, RoleTokenizer):
        return RoleChat(tokenizer)
    raise TokenizerError(
        f"{tokenizer!r} can neither apply a chat template nor open a message of a role. "
        "Give it a method header(role) that returns control-token ids, or use a transformers tokenizer."
    )
