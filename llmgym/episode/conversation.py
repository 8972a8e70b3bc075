"""What the model sees of an episode: its messages, and the segments of ids that hold them."""

from collections.abc import Sequence

from ..messages import AssistantMessage, Chat, Message
from ..messages.stop_strings import first_stop
from ..tools import Tool
from .limits import EpisodeSettings
from .message_env import InitialMessages


class Conversation:
    """The messages of one episode, written as ids and read from them. It knows no budgets and no scores.

    Args:
        chat: writes messages as ids.
        settings: how turns are read, and which texts close them.
        tools: what the policy may call, until `use_tools` says otherwise.
    """

    def __init__(self, chat: Chat, settings: EpisodeSettings, tools: Sequence[Tool]) -> None:
        self.chat, self._settings = chat, settings
        self.end_ids = chat.end_ids
        self.messages: list[Message] = []
        self.segments: list[list[int]] = []
        """Ids that the model saw in one piece; the turn that is open, or was last, ends the last of them."""
        self.turn_start = 0
        """Where that turn begins."""
        self._prefill = ""
        self._schemas = [tool.schema for tool in tools]
        self.parser = settings.parser(self._schemas, chat.tokenizer)

    def use_tools(self, tools: Sequence[Tool]) -> None:
        """What the policy may call from now on."""
        schemas = [tool.schema for tool in tools]
        if schemas != self._schemas:
            self._schemas, self.parser = schemas, self._settings.parser(schemas, self.chat.tokenizer)

    @property
    def ids(self) -> list[int]:
        """The current segment. Not a copy."""
        return self.segments[-1]

    # -- messages to ids ---------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Forget the last episode."""
        self.messages, self.segments, self.turn_start, self._prefill = [], [], 0, ""

    def begin(self, initial: InitialMessages, *, room: int) -> int:
        """Write the first prompt, unless it has more than `room` tokens; the number of its tokens."""
        self.messages, self._prefill = list(initial.messages), initial.prefill
        prompt = self.chat.render(self.messages, tools=self._schemas, prefill=initial.prefill)
        if len(prompt) <= room:
            self.segments, self.turn_start = [prompt], len(prompt)
        return len(prompt)

    def append(self, messages: Sequence[Message], *, room: int) -> bool:
        """Write the environment's answer behind the turn, or all in a new segment; False where that exceeds `room`.

        The answer is among `self.messages` already, as it is where no further turn is written.
        """
        history = self.messages[: len(self.messages) - len(messages)]
        suffix = self.chat.extend(self.ids, messages, history=history, tools=self._schemas)
        if suffix is None:
            whole = self.chat.render(self.messages, tools=self._schemas)
            if len(whole) > room:
                return False
            self.segments.append(whole)
        elif len(self.ids) + len(suffix) > room:
            return False
        else:
            self.ids.extend(suffix)
        self.turn_start, self._prefill = len(self.ids), ""
        return True

    def encode(self, text: str) -> list[int]:
        """The ids of the text of a turn, without an end token, as the newest prompt has begun it."""
        ids = self.ids if self.segments else []
        is_thinking = self.parser.begins_thinking(ids, self.turn_start, prefill=self._prefill)
        return self.parser.encode(text, is_thinking=is_thinking)

    # -- ids to messages ---------------------------------------------------------------------------------------

    def read(self, *, turn_index: int, is_cut: bool = False) -> AssistantMessage:
        """The turn, with its calls where it was not cut."""
        return self.parser.read(self.ids, self.turn_start, prefill=self._prefill, turn_index=turn_index, is_cut=is_cut)

    def closing_index(self, ids: Sequence[int]) -> int | None:
        """The place in `ids` where they would close the turn, by an end token or the first stop string."""
        eos_at = next((place for place, token in enumerate(ids) if token in self.end_ids), None)
        if not self._settings.stop_strings:
            return eos_at
        turn = self.ids[self.turn_start :]
        stop_at = first_stop(
            [*turn, *ids[:eos_at]],
            len(turn),
            stops=self._settings.stop_strings,
            prefill=self._prefill,
            decode=self.chat.tokenizer.decode,
        )
        return eos_at if stop_at is None else stop_at - len(turn)
