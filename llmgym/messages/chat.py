"""Messages to ids, and the exact extension of ids that the policy has already seen."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from .message import Message, whole_text
from .tokenizer import RoleTokenizer, Tokenizer, end_ids_of


class Chat(ABC):
    """Writes conversations in a tokenizer's own form."""

    tokenizer: Tokenizer

    @property
    def end_ids(self) -> frozenset[int]:
        """The tokens that end a turn."""
        return end_ids_of(self.tokenizer)

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
            history: all messages that `ids` holds, the policy's last turn included.
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
        end = [] if ids[-1] in self.end_ids else [self.tokenizer.eos_id]
        return end + self.render(new_messages, tools=tools)

    def _message(self, message: Message) -> list[int]:
        text = self.tokenizer.encode(whole_text(message))
        return [*self.tokenizer.header(message.role), *text, self.tokenizer.eos_id]
