"""The letter that a reply chooses, by the rules of MMLU-Pro (Wang et al. 2024, arXiv:2406.01574).

In this order: the first "answer is (X)"; the last "answer: X" of the first line that has one; the last capital letter
from A to J that stands alone. Where none is found the reply chose nothing: the random guess of the original is left
out, as it would pay. All scans are linear in the length of the reply.
"""

import re
from collections import deque

LETTERS = "ABCDEFGHIJ"

_ANSWER_IS = re.compile(r"answer is \(?([A-J])\)?")
_ANSWER_COLON = re.compile(r"[aA]nswer:\s*([A-J])")
_ALONE = re.compile(r"\b[A-J]\b")


def chosen_letter(reply: str, *, fallbacks: bool = True) -> str | None:
    """The letter that `reply` chooses, or None.

    Args:
        reply: what the policy wrote, without its think block.
        fallbacks: also try the second and third rule.
    """
    if found := _ANSWER_IS.search(reply):
        return found[1]
    if not fallbacks:
        return None
    return _behind_colon(reply) or _last_alone(reply)


def _behind_colon(reply: str) -> str | None:
    """White space behind the colon may hold line breaks, so a line is where the word stands."""
    last: re.Match[str] | None = None
    for found in _ANSWER_COLON.finditer(reply):
        if last is not None and "\n" in reply[last.start() : found.start()]:
            break
        last = found
    return last[1] if last is not None else None


def _last_alone(reply: str) -> str | None:
    found = deque(_ALONE.finditer(reply), maxlen=1)
    return found[0].group() if found else None
