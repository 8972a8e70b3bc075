"""Reasoning that stands before a turn's words, between `<think>` and `</think>`."""

OPENING, CLOSING = "<think>", "</think>"


def behind_thinking(text: str) -> str:
    """`text` behind the end of a block that the prompt has opened, unless it holds that end."""
    return text if CLOSING in text else f"\n{CLOSING}\n\n{text}"


def split_thinking(text: str, *, is_open: bool) -> tuple[str | None, str]:
    """Reasoning, or None where there is no block of it, and what follows.

    A closing tag without an opening one ends a block that the prompt has opened. A block that is not closed goes on to
    the end of the turn.

    Args:
        text: of the turn.
        is_open: True where the prompt ends inside the block.
    """
    body = text.lstrip()
    has_opening = body.startswith(OPENING)
    if has_opening:
        text = body.removeprefix(OPENING)
    elif not is_open and CLOSING not in text:
        return None, text
    thought, _, rest = text.partition(CLOSING)
    return thought, rest
