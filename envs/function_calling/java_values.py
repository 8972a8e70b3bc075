"""Java values in text, as the Berkeley Function Calling Leaderboard reads them: what has not the form stays text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

JAVA_TYPES: Mapping[str, type] = {
    "byte": int,
    "short": int,
    "integer": int,
    "long": int,
    "float": float,
    "double": float,
    "boolean": bool,
    "char": str,
    "String": str,
    "any": str,
    "Array": list,
    "ArrayList": list,
    "Queue": list,
    "Stack": list,
    "Set": set,
    "HashMap": dict,
    "Hashtable": dict,
}
"""The leaderboard's types of Java, as what they are compared as."""

_WHOLE = re.compile(r"-?\d+")
_LONG = re.compile(r"-?\d+[lL]")
_DOUBLE = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_FLOAT = re.compile(rf"{_DOUBLE.pattern}[fF]")
_MAX_DIGITS = 1000
"""Of a number that is read: Python itself refuses some thousand."""
MAX_CHARS = 4000
"""Of a text that is read: whoever writes longer values is read as text, so that no answer takes long."""


def java_value(text: str, kind: str, inner: str | None = None) -> Any:
    """The value of `text` as a Java expression of type `kind`; `text` itself where it has another form.

    Args:
        text: of the expression.
        kind: a type of `JAVA_TYPES`.
        inner: of an array's or list's elements.
    """
    if len(text) > MAX_CHARS:
        return text
    match kind:
        case "byte" | "short" | "integer":
            return int(text) if _is(_WHOLE, text) else text
        case "long":
            return int(text.rstrip("\n")[:-1]) if _is(_LONG, text) else text
        case "float":
            return float(text.rstrip("\n")[:-1]) if _is(_FLOAT, text) else text
        case "double":
            return float(text) if _is(_DOUBLE, text) else text
        case "boolean":
            return text == "true" if text in ("true", "false") else text
        case "ArrayList":
            return _array_list(text, inner)
        case "Array":
            found = re.search(r"new\s+\w+\[\]\s*\{(.*?)\}", text)
            return text if found is None else [_element(each.strip(), inner) for each in _pieces(found[1])]
        case "HashMap":
            return _hash_map(text)
    return text


def _is(form: re.Pattern[str], text: str) -> bool:
    text = text.removesuffix("\n")
    return form.fullmatch(text) is not None and len(text) <= _MAX_DIGITS


def _pieces(text: str) -> list[str]:
    return [piece for piece in text.split(",") if piece.strip()]


def _array_list(text: str, inner: str | None) -> Any:
    found = re.search(r"new\s+ArrayList<\w*>\(Arrays\.asList\((.+?)\)\)", text)
    if found:
        return [_list_element(each.strip(), inner) for each in found[1].split(",")]
    start = re.search(r"new\s+ArrayList<\w*>\(\)", text)
    if not start:
        return text
    for block in re.finditer(r"new\s+ArrayList<\w*>\(\)\s*\{\{", text):
        end = text.find("}}", block.end() + 1)
        if end >= 0:
            added = re.findall(r"add\((.+?)\)", text[block.end() : end])
            return [_list_element(each.strip(), inner) for each in added]
    return []


def _list_element(text: str, inner: str | None) -> Any:
    # Whatever the first and last sign of a text or character is, it counts as its quotes.
    return text[1:-1] if inner in ("char", "String") else _element(text, inner)


def _element(text: str, inner: str | None) -> Any:
    return java_value(text, inner) if inner else _untyped(text)


def _hash_map(text: str) -> Any:
    if not re.search(r"new\s+HashMap<.*?>\s*\(\)", text, re.DOTALL):
        return text
    block = re.search(r"new\s+HashMap<.*?>\s*\(\)\s*\{", text, re.DOTALL)
    end = text.find("}", block.end()) if block else -1
    if block is None or end < 0:
        return {} if re.search(r"new\s+HashMap<.*?>\s*\(\)", text) else text
    puts = re.findall(r"put\(\"(.*?)\",\s*(.*?)\)", text[block.end() : end])
    return {key: _untyped(value.strip()) for key, value in puts}


def _untyped(text: str) -> Any:
    """The value of a literal, whatever its type."""
    if text in ("true", "false"):
        return text == "true"
    if text.startswith('"') and text.endswith('"'):
        return text[1:-1]
    if _is(_LONG, text):
        return int(text[:-1])
    if _is(_FLOAT, text):
        return float(text[:-1])
    return number_or_text(text)


def number_or_text(text: str) -> Any:
    """What Python's `int` or else `float` make of `text`, or `text`."""
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text
