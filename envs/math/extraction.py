"""Where the final answer stands in a policy's text. All scans are linear in the length of the text."""

import re
from collections import deque
from collections.abc import Callable
from typing import Literal

from .boxes import boxed
from .statements import stated

AnswerFormat = Literal["box", "tags", "last_number", "any"]

INSTRUCTIONS: dict[AnswerFormat, str] = {
    "box": "Put your final answer in \\boxed{}.",
    "tags": "Write your final answer inside <answer></answer>.",
    "last_number": "End with your final answer, a single number.",
    "any": "Put your final answer in \\boxed{}.",
}
"""What `{format}` stands for in a prompt."""

_PART = r"\{\s?[-+\u2212]?\d+(?:\.\d+)?\s?\}"
_OPENED_BOX = re.compile(r"\\(?:boxed|fbox)\s{0,9}\{")
_MAX_CUT_OFF = 200
"""Characters of a box that is cut off at the end of the text."""
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
        case "box" | "any":
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


def boxed_or_stated(text: str) -> str | None:
    """The last box, also an empty one; where there is none at all, the answer that the text states.

    A box that is still open at the end was cut off, and so perhaps was the number in it.
    """
    answer = boxed(text)
    if answer is None and not _OPENED_BOX.search(text[-_MAX_CUT_OFF:]):
        return stated(text)
    return answer


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
    "any": boxed_or_stated,
}
