"""Where the final answer stands in a policy's text. All scans are linear in the length of the text."""

import re
from collections import deque
from collections.abc import Callable
from typing import Literal

AnswerFormat = Literal["box", "tags", "last_number"]

INSTRUCTIONS: dict[AnswerFormat, str] = {
    "box": "Put your final answer in \\boxed{}.",
    "tags": "Write your final answer inside <answer></answer>.",
    "last_number": "End with your final answer, a single number.",
}
"""What `{format}` stands for in a prompt."""

_BOX_TOKEN = re.compile(r"(?P<box>\\{1,2}(?:boxed|fbox)\s{0,9}\{)|\\.|(?P<open>\{)|(?P<close>\})", re.DOTALL)
_BETWEEN_JOINED = re.compile(r"[\s$,;]*(?:and|or)?[\s$,;]*")
_PART = r"\{\s?[-+\u2212]?\d+(?:\.\d+)?\s?\}"
_NUMBER = re.compile(
    rf"""(?:(?<![\w)\]}}])[-+\u2212\u2013](?:\\?[$€£]\s?)?)?   # a sign, unless it subtracts from what stands before it
        (?:(?:\d+\s?)?\\[dt]?frac(?:{_PART}{_PART}|\d\d)
         |\d+\s\d+/\d+
         |(?:\d{{1,3}}(?:(?:,|\{{,\}}|\\,)\d{{3}})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)
        (?:[eE][-+]?\d+)?(?:\s?/\s?[-\u2212]?\d+)?\s?\\?%?""",
    re.VERBOSE,
)


def extract(text: str, answer_format: AnswerFormat) -> str | None:
    """The final answer that the visible part of `text` states, or None."""
    answer = _EXTRACTORS[answer_format](visible_text(text))
    return answer.strip() or None if answer is not None else None


def render(answer: str, answer_format: AnswerFormat) -> str:
    """A closing line that states `answer` in the format."""
    match answer_format:
        case "box":
            return f"The answer is $\\boxed{{{answer}}}$."
        case "tags":
            return f"<answer>{answer}</answer>"
        case "last_number":
            return f"The answer is {answer}"


def visible_text(text: str) -> str:
    """`text` without its think blocks.

    A `</think>` without a beginning closes a block that the prompt opened. After a `<think>` that is never closed
    nothing is visible: the policy has not answered yet.
    """
    parts, position = [], 0
    while position >= 0:
        start = text.find("<think>", position)
        parts.append(text[position : start if start >= 0 else None])
        end = text.find("</think>", start) if start >= 0 else -1
        position = end + len("</think>") if end >= 0 else -1
    return "".join(parts).rpartition("</think>")[2]


def boxed(text: str) -> str | None:
    r"""The content of the last balanced `\boxed{}` or `\fbox{}`, the outermost of nested ones.

    Of several boxes the last one counts, whatever the earlier ones hold. Boxes with nothing but a comma, "and" or "or"
    between them are one list: `\boxed{2} and \boxed{3}` says "2, 3", so naming two values never passes for one.
    """
    boxes = _outermost_boxes(text)
    if not boxes:
        return None
    first = len(boxes) - 1
    while first > 0 and _joins(text[boxes[first - 1][1] + 1 : boxes[first][2]]):
        first -= 1
    return ", ".join(text[content:end] for content, end, _ in boxes[first:])


def _joins(between: str) -> bool:
    return len(between) <= 40 and _BETWEEN_JOINED.fullmatch(between) is not None


def _outermost_boxes(text: str) -> list[tuple[int, int, int]]:
    """(start of the content, end of the content, start of the command) of each box that is in no other box."""
    stack: list[tuple[int, int] | None] = []
    closed: list[tuple[int, int, int]] = []
    for token in _BOX_TOKEN.finditer(text):
        if token["box"]:
            stack.append((token.end(), token.start()))
        elif token["open"]:
            stack.append(None)
        elif token["close"] and stack:
            box = stack.pop()
            if box is not None:
                while closed and closed[-1][2] >= box[0]:
                    closed.pop()  # it stands inside the box that closes here
                closed.append((box[0], token.start(), box[1]))
    return closed


def tagged(text: str) -> str | None:
    """What stands between the last `<answer>` and its `</answer>`."""
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, end) if end >= 0 else -1
    return text[start + len("<answer>") : end] if start >= 0 else None


def last_number(text: str) -> str | None:
    """The last number: an integer, decimal or fraction, with its percent sign."""
    numbers = deque(_NUMBER.finditer(text), maxlen=1)
    return numbers[0].group() if numbers else None


_EXTRACTORS: dict[AnswerFormat, Callable[[str], str | None]] = {
    "box": boxed,
    "tags": tagged,
    "last_number": last_number,
}
