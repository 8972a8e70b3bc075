"""The boxes of a text, and which of them are the final answer. All scans are linear in the length of the text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .normal_form import word_set

_BOX_TOKEN = re.compile(r"\\{1,2}(?P<box>boxed|fbox)\s{0,9}\{|\\.|(?P<open>\{)|(?P<close>\})", re.DOTALL)
_MAX_BETWEEN = 80
"""Characters between two boxes of one closing phrase."""
_PUNCTUATION = re.compile(r"\\[()\[\]]|\\q?quad(?![A-Za-z])|\\text\s{0,3}\{|\\[,;:! \\]|[\s$.,;:{}*&/|]+")
_ASSIGNMENT = re.compile(r"(?<![A-Za-z\\])[A-Za-z](?:_\{?\w{1,9}\}?)?(?:\([A-Za-z]\))?\s?=\s{0,3}$")
_JOINING = re.compile(r"and|or|&")
_HEDGES = word_set(
    """
    or vs versus alternatively maybe perhaps possibly else even also and it is may might could be either
    """
)
_ALTERNATIVES = frozenset(["or", "vs", "versus", "alternatively", "maybe", "perhaps", "possibly"])


@dataclass(frozen=True)
class Box:
    """A box that stands in no other box."""

    command: str
    """"boxed" or "fbox"."""
    start: int
    """Where the command begins."""
    content_start: int
    content_end: int

    @property
    def end(self) -> int:
        """Behind the closing brace."""
        return self.content_end + 1


def boxed(text: str) -> str | None:
    r"""The content of the last balanced `\boxed{}` or `\fbox{}`, the outermost of nested ones.

    Of several boxes the last one counts, whatever the earlier ones hold. Boxes of one command that only commas, "and"
    or "or" join are one list, as are those between which the text only hedges ("alternatively", "or maybe"):
    `\boxed{2} or \boxed{3}` says "2, 3", so listing candidates never passes for naming one.
    """
    boxes = outermost_boxes(text)
    if not boxes:
        return None
    first = len(boxes) - 1
    while first > 0 and _are_joined(boxes[first - 1], boxes[first], text):
        first -= 1
    return ", ".join(text[box.content_start : box.content_end] for box in boxes[first:])


def _are_joined(left: Box, right: Box, text: str) -> bool:
    if left.command != right.command or right.start - left.end > _MAX_BETWEEN:
        return False
    between = text[left.end : right.start]
    is_comma = "," in between or ";" in between
    name = _ASSIGNMENT.search(between)  # "and y =" names what the next box holds
    words = _PUNCTUATION.sub(" ", between[: name.start()] if name else between).split()
    if name:
        return is_comma or any(map(_JOINING.fullmatch, words))
    if not words:
        return is_comma or "." not in between
    lower = [word.lower() for word in words]
    if _ALTERNATIVES & set(lower) and set(lower) <= _HEDGES:
        return True
    # "\boxed{1} papers and \boxed{2} bins": what is counted stands behind its box.
    return len(lower) <= 2 and lower[-1] in ("and", "or", "&")


def outermost_boxes(text: str) -> list[Box]:
    """Each closed box that is in no other closed box, in order."""
    stack: list[tuple[str, int, int] | None] = []
    closed: list[Box] = []
    for token in _BOX_TOKEN.finditer(text):
        if token["box"]:
            stack.append((token["box"], token.start(), token.end()))
        elif token["open"]:
            stack.append(None)
        elif token["close"] and stack:
            opening = stack.pop()
            if opening is not None:
                command, start, content_start = opening
                while closed and closed[-1].start >= start:
                    closed.pop()  # it stands inside the box that closes here
                closed.append(Box(command, start, content_start, token.start()))
    return closed
