"""Text of single tokens, as they stand in a sequence."""

from collections.abc import Sequence
from typing import Any

from ..messages import Tokenizer

_BROKEN = "\ufffd"
_MOST_TOKENS = 8
"""That characters are looked for in: one has four bytes at most, but a token may hold the end of one and the next."""
_ROLES = ("system", "user", "assistant", "tool")


class TokenTexts:
    """What each token adds to the text, and the names of control tokens.

    Args:
        tokenizer: of the run.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        # Some tokenizers drop a space at the start of a text, so a token is decoded behind another one.
        self._anchor = list(tokenizer.encode("a"))[-1:]
        self._anchor_text = tokenizer.decode(self._anchor)
        self._pieces: dict[int, tuple[str, bool]] = {}

    def __getitem__(self, token: int) -> tuple[str, bool]:
        """Text, or name where it is a control token; and whether it is one."""
        if token not in self._pieces:
            text = self._decode([token])
            self._pieces[token] = (text, False) if text else (_control_name(self._tokenizer, token), True)
        return self._pieces[token]

    def known(self) -> dict[int, tuple[str, bool]]:
        """All that was asked for so far."""
        return dict(self._pieces)

    def joined(self, ids: Sequence[int]) -> dict[int, str]:
        """Texts by position where characters are spread over several tokens: the first of these holds them."""
        texts: dict[int, str] = {}
        start = 0
        while start < len(ids):
            stop = self._end_of_characters(ids, start)
            if stop > start + 1:
                texts[start] = self._decode(ids[start:stop])
                texts |= dict.fromkeys(range(start + 1, stop), "")
            start = stop
        return texts

    def _end_of_characters(self, ids: Sequence[int], start: int) -> int:
        """Where the characters that begin at `start` are whole; `start + 1` where they never are."""
        for stop in range(start + 1, min(start + _MOST_TOKENS, len(ids)) + 1):
            if not self._is_part(ids[stop - 1]):
                break
            if _BROKEN not in self._decode(ids[start:stop]):
                return stop
        return start + 1

    def _is_part(self, token: int) -> bool:
        text, is_control = self[token]
        return not is_control and _BROKEN in text

    def _decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode([*self._anchor, *ids])[len(self._anchor_text) :]


def _control_name(tokenizer: Any, token: int) -> str:
    """The name that the tokenizer has for a control token."""
    backend = getattr(tokenizer, "backend", None)
    if backend is not None and token < tokenizer.num_tokens:
        return str(backend.convert_ids_to_tokens(token))
    if hasattr(tokenizer, "header"):
        for role in _ROLES:
            if list(tokenizer.header(role)) == [token]:
                return f"<{role}>"
    names = {tokenizer.eos_id: "<end>", tokenizer.pad_id: "<pad>"}
    return names.get(token, f"<{token}>")
