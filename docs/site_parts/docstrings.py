"""From docstrings as they are written here to reStructuredText, which is all that autodoc reads.

Here, code stands between single backticks, an equation is an indented block, and stars and bars are themselves.
"""

import re
from typing import Any

_CODE = re.compile(r"`+[^`]+`+")
_NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)*")


def to_restructured_text(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:  # noqa: ARG001
    """The hook of `autodoc-process-docstring`: changes `lines` in place."""
    lines[:] = converted(lines)


def converted(lines: list[str]) -> list[str]:
    """A docstring's lines in reStructuredText."""
    result: list[str] = []
    text: list[str] = []
    text_indent, block_indent = 0, None
    for index, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if line.strip() and block_indent is not None and indent < block_indent:
            block_indent = None
        # The contents of a section such as "Args:" follow it at once, those of a block after an empty line.
        is_after_gap = index > 0 and not lines[index - 1].strip()
        if line.strip() and block_indent is None and indent > text_indent and is_after_gap:
            result += [*_converted_text(text), f"{' ' * text_indent}::", ""]
            text, block_indent = [], indent
        if block_indent is not None:
            result.append(line)
            continue
        text.append(line)
        text_indent = indent if line.strip() else text_indent
    return result + _converted_text(text)


def _converted_text(lines: list[str]) -> list[str]:
    """Lines without blocks; code may go over the end of a line."""
    text = "\n".join(lines)
    parts, end = [], 0
    for match in _CODE.finditer(text):
        parts += [_escaped(text[end : match.start()]), _code(" ".join(match[0].strip("`").split()))]
        end = match.end()
        parts.append("\\ " if text[end : end + 1].isalnum() else "")  # or the markup would not end there
    return "".join([*parts, _escaped(text[end:])]).split("\n") if lines else []


def _code(text: str) -> str:
    """A link where it names something that the site knows, else code."""
    return f":py:obj:`{text}`" if _NAME.fullmatch(text) else f"``{text}``"


def _escaped(text: str) -> str:
    """Characters that reStructuredText would read as markup."""
    return re.sub(r"([*|]|(?<=\w)_(?!\w))", r"\\\1", text)
