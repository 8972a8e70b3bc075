"""JavaScript values in text, as the Berkeley Function Calling Leaderboard reads them: other forms stay text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .java_values import MAX_CHARS, number_or_text

JAVASCRIPT_TYPES: Mapping[str, type] = {
    "String": str,
    "integer": int,
    "float": float,
    "Bigint": int,
    "Boolean": bool,
    "dict": dict,
    "array": list,
    "any": str,
}
"""The leaderboard's types of JavaScript, as what they are compared as."""

_LIST = re.compile(r"\[(.*?)\]|\bnew\s+Array\((.*?)\)")
_ANOTHER_LIST = re.compile(r"\s*,\s*\[")
_MAX_DIGITS = 1000


def javascript_value(text: str, kind: str, inner: str | None = None) -> Any:
    """The value of `text` as a JavaScript expression of type `kind`; `text` itself where it has another form.

    Args:
        text: of the expression.
        kind: a type of `JAVASCRIPT_TYPES`.
        inner: of a list's elements.
    """
    if len(text) > MAX_CHARS:
        return text
    match kind:
        case "String":
            return text[1:-1] if _is_quoted(text) else text
        case "integer":
            return int(text) if _is(r"-?\d+", text) else text
        case "float":
            return float(text) if _is(r"-?\d+(\.\d+)?", text) else text
        case "Bigint":
            return int(text.rstrip("\n")[:-1]) if _is(r"-?\d+n", text) else text
        case "Boolean":
            return text == "true" if text in ("true", "false") else text
        case "array":
            return _list(text.strip(), inner)
        case "dict":
            return _dictionary(text.strip())
    return text


def _is(form: str, text: str) -> bool:
    text = text.removesuffix("\n")
    return re.fullmatch(form, text) is not None and len(text) <= _MAX_DIGITS


def _is_quoted(text: str) -> bool:
    return any(text.startswith(quote) and text.endswith(quote) for quote in "\"'")


def _list(text: str, inner: str | None) -> Any:
    end = _end_of_lists(text)
    if end is not None:
        first, *others = re.findall(r"\[(.*?)\]", text[:end])
        lists = [first.strip().removeprefix("["), *(each.strip() for each in others)]
        return [[_untyped(element) for element in each.split(",")] for each in lists]
    if not (found := _LIST.match(text)):
        return text
    written = (found[1] if found[1] is not None else found[2]).strip()
    elements = [element.strip() for element in written.split(",")] if written else []
    return [javascript_value(element, inner) if inner else _untyped(element) for element in elements]


def _end_of_lists(text: str) -> int | None:
    """Where `[[1], [2]]` or `new Array([1], [2])` ends, if `text` begins with one; in time that grows with its length.

    A list inside may hold any sign but a line break, brackets too: it ends where the rest has the form.
    """
    for opening, closing in ((r"\[\s*\[", "]"), (r"new\s+Array\(\s*\[", ")")):
        if not (start := re.match(opening, text)):
            continue
        ends: dict[int, int] = {}  # where the whole ends, by the brackets from which on the form holds
        for bracket in reversed([found.start() for found in re.finditer(r"\]", text)]):
            if another := _ANOTHER_LIST.match(text, bracket + 1):
                end = _first_end(ends, text, another.end())
            else:
                last = re.compile(rf"\s*\{closing}").match(text, bracket + 1)
                end = last.end() if last else None
            if end is not None:
                ends[bracket] = end
        end = _first_end(ends, text, start.end())
        if end is not None:
            return end
    return None


def _first_end(ends: Mapping[int, int], text: str, start: int) -> int | None:
    line_end = text.find("\n", start)
    inside = [bracket for bracket in ends if start <= bracket and (line_end < 0 or bracket < line_end)]
    return ends[min(inside)] if inside else None


def _dictionary(text: str) -> Any:
    if text == "{}":
        return {}
    if not (found := re.match(r"\{(.*?)\}", text)):
        return text
    dictionary: dict[str, Any] = {}
    for key, value in re.findall(r"([^:]+):\s*(.*?)(?:,\s*(?=[^,]+:)|$)", found[1]):
        value = value.strip()
        if value.startswith("[") and value.endswith("]"):
            read = _list(value, None)
        elif value.startswith("{") and value.endswith("}"):
            read = _dictionary(value)
        else:
            read = _untyped(value.strip("'\""))
        dictionary[key.strip().strip("'\"")] = read
    return dictionary


def _untyped(text: str) -> Any:
    """The value of a literal, whatever its type."""
    text = text.strip()
    if text in ("true", "false"):
        return text == "true"
    return text[1:-1] if _is_quoted(text) else number_or_text(text)
