"""What a form of turns is: a family's way to write reasoning, words and calls into one text."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from ..message import MalformedCall, ToolCall
from .json_values import require_sound

Schemas = Sequence[Mapping[str, Any]]
Call = tuple[str, Mapping[str, Any]]
"""Name and arguments."""


class Parts:
    """What a form has found in a turn so far.

    Args:
        tools: names of the tools there are.
        plain: from a piece of the turn's text to what it says: without control tokens.
        written: from a piece of the turn's text to how it was written: with them.
    """

    def __init__(self, tools: Iterable[str], plain: Callable[[str], str], written: Callable[[str], str]) -> None:
        self.plain, self._written, self._tools = plain, written, tuple(tools)
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[Call] = []
        self.malformed: list[MalformedCall] = []

    def say(self, text: str) -> None:
        """`text` is said beside calls and reasoning."""
        self.content.append(self.plain(text))

    def think(self, text: str) -> None:
        """`text` is reasoning."""
        self.reasoning.append(self.plain(text).strip("\n"))

    def call(self, text: str, calls: Iterable[Call]) -> None:
        """`text` is one or several calls; a ValueError while they are read says what is wrong with it."""
        try:
            found = list(calls)  # of what is broken somewhere, nothing counts
            for name, arguments in found:
                self._call(text, name, arguments)
        except ValueError as error:
            self.refuse(text, str(error))

    def refuse(self, text: str, problem: str) -> None:
        """`text` was meant as a call and cannot be read."""
        self.malformed.append(MalformedCall(self._written(text), problem))

    def _call(self, text: str, name: str, arguments: Mapping[str, Any]) -> None:
        if name not in self._tools:
            self.refuse(text, f"there is no tool {name!r:.60}; there are {', '.join(self._tools)}")
            return
        require_sound(arguments)
        self.calls.append((name, arguments))


class Form(ABC):
    """Reads and writes turns. Its markers are control tokens where the tokenizer has such, and else plain text."""

    markers: ClassVar[tuple[str, ...]] = ()
    """Texts that mean something where they are not part of an argument."""

    def __init__(self, tools: Schemas) -> None:
        self.functions: Mapping[str, Mapping[str, Any]] = {tool["function"]["name"]: tool["function"] for tool in tools}

    @abstractmethod
    def read(self, text: str, parts: Parts) -> None:
        """Tell `parts` everything that the text holds."""

    @abstractmethod
    def write(self, calls: Sequence[ToolCall]) -> str:
        """The text of a turn that makes these calls."""

    def whole(self, text: str) -> str:
        """The whole turn, where `text` is what it says, or is whole itself."""
        return text

    def schema_of(self, name: str, argument: str) -> Mapping[str, Any]:
        """JSON schema of an argument; an empty one where nothing is known."""
        properties = self.functions.get(name, {}).get("parameters", {}).get("properties", {})
        schema: Mapping[str, Any] = properties.get(argument, {})
        return schema


class BlockForm(Form):
    """Calls stand between two markers."""

    opening: ClassVar[str]
    closing: ClassVar[str]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "opening" in vars(cls):
            cls.markers = (*cls.markers, cls.opening, cls.closing)

    @abstractmethod
    def calls_in(self, block: str, parts: Parts) -> Iterable[Call]:
        """The calls between two markers; ValueError says what is wrong."""

    def end_of(self, text: str, start: int) -> int:
        """Where the closing marker of the block that begins at `start` stands; -1 where there is none."""
        return text.find(self.closing, start)

    def read(self, text: str, parts: Parts) -> None:
        position = 0
        while (opens_at := text.find(self.opening, position)) >= 0 and self.functions:
            parts.say(text[position:opens_at])
            start = opens_at + len(self.opening)
            end = self.end_of(text, start)
            if end < 0:
                parts.refuse(text[opens_at:], f"a call must end with {self.closing}")
                return
            position = end + len(self.closing)
            parts.call(text[opens_at:position], self.calls_in(text[start:end], parts))
        parts.say(text[position:])
