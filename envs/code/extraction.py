"""Where the program stands in a policy's text. Scans are linear in the length of the text."""

from typing import Literal

from ..math.extraction import visible_text

CodeFormat = Literal["last_block", "whole"]

INSTRUCTIONS: dict[CodeFormat, str] = {
    "last_block": "End with the whole program in one block that begins with ```python and ends with ```.",
    "whole": "Answer with the whole program and nothing else.",
}
"""What `{format}` stands for in a prompt."""


def extract(text: str, code_format: CodeFormat) -> str | None:
    """The program that the visible part of `text` gives, or None."""
    visible = visible_text(text)
    code = last_block(visible) if code_format == "last_block" else visible
    return code if code is not None and code.strip() else None


def last_block(text: str) -> str | None:
    """What stands in the last fenced block that is closed; an unclosed one was cut, and is no program.

    A fence is a line of three backticks or more, behind which a block that begins may name its language; one that
    closes has at least as many, nothing behind them, and is indented by less than four more columns, as one in a
    docstring may be. Lines are moved left by as much as their block's beginning is indented.
    """
    found: str | None = None
    opened, indent = 0, 0
    lines: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        stripped = line.strip()
        ticks = len(stripped) - len(stripped.lstrip("`"))
        depth = len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip())
        is_bare = not stripped.strip("`")
        if opened and ticks >= opened and is_bare and depth < indent + 4:
            found, opened = "\n".join(lines) + "\n", 0
        elif opened:
            lines.append(line[min(indent, len(line) - len(line.lstrip(" "))) :])
        elif ticks >= 3 and "`" not in stripped[ticks:]:
            opened, indent, lines = ticks, depth, []
    return found


def render(code: str, code_format: CodeFormat) -> str:
    """An answer that gives `code`."""
    return f"```python\n{code.strip()}\n```" if code_format == "last_block" else code
