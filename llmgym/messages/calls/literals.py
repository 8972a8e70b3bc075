"""Values as Python writes them, and as Gemma does: read from left to right, never run."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from .json_values import MAX_DEPTH, finite_number, whole_number, without_repeats

_WORDS = {"True": True, "False": False, "None": None, "true": True, "false": False, "null": None}
_SPACE = re.compile(r"\s*")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_WORD = re.compile(r"\w+")
_CALLED = re.compile(r"[^\s()\[\]{},='\"]+")
_ESCAPE = re.compile(
    r"""\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}
       |x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{1,3}|.)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v", "0": "\0", "\n": ""}


class Literals:
    """Reads values from a text at a position that moves on.

    Every method raises ValueError with what is wrong, in words that the policy can act on.
    """

    def __init__(self, text: str) -> None:
        self.text, self.position = text, 0

    # -- what stands here --------------------------------------------------------------------------------------

    def sees(self, token: str) -> bool:
        """True where `token` comes next, behind spaces."""
        self._skip_space()
        return self.text.startswith(token, self.position)

    def takes(self, token: str) -> bool:
        """Moves behind `token` where it comes next."""
        if not self.sees(token):
            return False
        self.position += len(token)
        return True

    def require(self, token: str) -> None:
        """Moves behind `token`, which must come next."""
        if not self.takes(token):
            raise ValueError(f"a call must have {token!r} at {self._place()}")

    def has_more(self) -> bool:
        """True where anything comes next, behind spaces."""
        self._skip_space()
        return self.position < len(self.text)

    def require_end(self) -> None:
        """Nothing may come next."""
        if self.has_more():
            raise ValueError(f"a call must end at {self._place()}")

    # -- values ------------------------------------------------------------------------------------------------

    def calls(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """`[f(a=1), g()]`: names and arguments."""
        self.require("[")
        while not self.takes("]"):
            yield self.call()
            if not self.sees("]"):
                self.require(",")

    def call(self) -> tuple[str, dict[str, Any]]:
        """`f(a=1)`: name and arguments."""
        name = self._match(_CALLED, "the name of a tool")
        self.require("(")
        return name, without_repeats(self._pairs(")", "=", self._argument_name, self._value, depth=2))

    def mapping(self, *, depth: int = 1) -> dict[str, Any]:
        """`{"a": 1}`."""
        self.require("{")
        return without_repeats(self._pairs("}", ":", self._key, self._value, depth=depth + 1))

    def _value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError(f"a call must not be nested more than {MAX_DEPTH} deep")
        if self.sees("{"):
            return self.mapping(depth=depth)
        if self.takes("["):
            return self._items(depth + 1)
        if self._sees_string():
            return self._string()
        number = _NUMBER.match(self.text, self.position)
        if number:
            self.position = number.end()
            text = number[0]
            return whole_number(text) if text.lstrip("+-").isdecimal() else finite_number(text)
        word = self._match(_WORD, "a value")
        if word not in _WORDS:
            raise ValueError(f"{word!r:.60} is no value; texts stand in quotes")
        return _WORDS[word]

    def _items(self, depth: int) -> list[Any]:
        items = []
        while not self.takes("]"):
            items.append(self._value(depth))
            if not self.sees("]"):
                self.require(",")
        return items

    def _pairs(
        self, closing: str, between: str, key: Callable[[], str], value: Callable[[int], Any], *, depth: int
    ) -> Iterator[tuple[str, Any]]:
        while not self.takes(closing):
            name = key()
            self.require(between)
            yield name, value(depth)
            if not self.sees(closing):
                self.require(",")

    def _argument_name(self) -> str:
        if self._sees_string():
            raise ValueError("arguments are given by name, as in f(a=1)")
        return self._match(_CALLED, "the name of an argument, as in f(a=1)")

    # -- strings: what other families write otherwise ----------------------------------------------------------

    def _sees_string(self) -> bool:
        return self.sees('"') or self.sees("'")

    def _string(self) -> str:
        quote = self.text[self.position]
        if self.takes(3 * quote):
            quote *= 3
        else:
            self.position += 1
        start = position = self.position
        while not self.text.startswith(quote, position):
            position += 2 if self.text.startswith("\\", position) else 1
            if position >= len(self.text):
                raise ValueError(f"the text {self.text[start : start + 40]!r} must end with {quote}")
        self.position = position + len(quote)
        return _ESCAPE.sub(_unescaped, self.text[start:position])

    def _key(self) -> str:
        if not self._sees_string():
            raise ValueError(f"a key must stand in quotes at {self._place()}")
        return self._string()

    # -- inside ------------------------------------------------------------------------------------------------

    def _match(self, pattern: re.Pattern[str], what: str) -> str:
        self._skip_space()
        match = pattern.match(self.text, self.position)
        if match is None:
            raise ValueError(f"a call must have {what} at {self._place()}")
        self.position = match.end()
        return match[0]

    def _skip_space(self) -> None:
        match = _SPACE.match(self.text, self.position)
        assert match is not None, "the pattern matches everywhere"
        self.position = match.end()

    def _place(self) -> str:
        rest = self.text[self.position : self.position + 20]
        return f"{rest!r}, character {self.position}" if rest else "its end"


class GemmaLiterals(Literals):
    """Texts stand between two marks and hold no escapes; keys may stand without."""

    MARK = '<|"|>'

    def __init__(self, text: str, plain: Callable[[str], str]) -> None:
        super().__init__(text)
        self._plain = plain

    def name_before(self, token: str) -> str:
        """What stands before the next `token`."""
        end = self.text.find(token, self.position)
        if end < 0:
            raise ValueError(f"a call must have {token!r} behind {self._plain(self.text[self.position :])!r:.60}")
        start, self.position = self.position, end
        return self._plain(self.text[start:end]).strip()

    def _sees_string(self) -> bool:
        return self.sees(self.MARK)

    def _string(self) -> str:
        self.require(self.MARK)
        start, end = self.position, self.text.find(self.MARK, self.position)
        if end < 0:
            raise ValueError(f"the text {self._plain(self.text[start : start + 40])!r} must end with {self.MARK}")
        self.position = end + len(self.MARK)
        return self._plain(self.text[start:end])

    def _key(self) -> str:
        return self._string() if self._sees_string() else self.name_before(":")


def _unescaped(match: re.Match[str]) -> str:
    text = match[0][1:]
    if len(text) == 11:  # two halves of a pair
        return chr(0x10000 + ((int(text[1:5], 16) - 0xD800) << 10) + int(text[7:], 16) - 0xDC00)
    if text in _ESCAPED:
        return _ESCAPED[text]
    if text[0] in "xuU" and len(text) > 1:
        code = int(text[1:], 16)
        if code > 0x10FFFF:
            raise ValueError(f"\\{text} is no character")
        return chr(code)
    if text[0] in "01234567":
        return chr(int(text, 8))
    return text if text in "\\'\"/" else f"\\{text}"
