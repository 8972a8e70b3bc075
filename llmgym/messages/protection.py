"""Control-token text in contents, hidden from the template and the tokenizer that would take it for control tokens."""

import re
from collections.abc import Iterable, Sequence

_FIRST = 0x10F000
"""Of the characters that stand for others: the end of Unicode's last private plane."""


def one_of(texts: Sequence[str]) -> str:
    """The pattern of the first of these texts that is there. A tokenizer may have a thousand: most places are passed by
    at their first character."""
    first = "".join(sorted({re.escape(text[0]) for text in texts}))
    return f"(?=[{first}])(?:{'|'.join(map(re.escape, texts))})"


class Protection:
    """Replaces control-token text by private characters, one for one, and puts it back. Exact for every text.

    The private characters of a text itself are marked by an escape character, another of them.

    Args:
        control_texts: of all control tokens.
    """

    def __init__(self, control_texts: Iterable[str]) -> None:
        texts = sorted({text for text in control_texts if text}, key=lambda text: (-len(text), text))
        characters = sorted({character for text in texts for character in text})
        self._private_of = {ord(character): chr(_FIRST + index) for index, character in enumerate(characters)}
        self._original_of = {private: chr(code) for code, private in self._private_of.items()}
        self._escape = chr(_FIRST + len(characters))
        private = "".join([*self._original_of, self._escape])
        self._needs_protection = re.compile("|".join([*([one_of(texts)] if texts else []), f"[{private}]"]))
        self._is_protected = re.compile(f"{self._escape}[{private}]|[{private}]")

    def protect(self, text: str) -> str:
        """`text` without any control-token text."""
        return self._needs_protection.sub(self._hide, text)

    def restore(self, text: str) -> str:
        """What was protected."""
        return self._is_protected.sub(self._show, text)

    def is_in(self, text: str) -> bool:
        """True where something in `text` was protected."""
        return self._is_protected.search(text) is not None

    def _hide(self, match: re.Match[str]) -> str:
        text = match[0]
        if text in self._original_of or text == self._escape:
            return self._escape + text
        return text.translate(self._private_of)

    def _show(self, match: re.Match[str]) -> str:
        text = match[0]
        return self._original_of.get(text, text) if len(text) == 1 else text[1]
