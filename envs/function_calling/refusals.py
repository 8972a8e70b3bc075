"""What counts as a readable refusal, where no function fits a request.

The leaderboard calls any answer right that holds no call, and so pays for babble. As a reward, an answer is a refusal
where all of this holds:

- it has 5 to 120 words, on average 2 to 9 letters long, and at least half of the words differ;
- nine in ten of its signs are letters, spaces and ordinary punctuation, and it ends with `.`, `!` or `?`;
- at least a fifth of its words are among the commonest of English, three different ones or more;
- a phrase of it declines or asks: "cannot", "unable", "none of", "no function", "please provide" and the like;
- it holds no call, code fence or tag, and does not repeat the request.

The rule is for English alone, and looks at form: that the refusal is well reasoned is not checked.
"""

from __future__ import annotations

import re

_COMMON = frozenset(
    re.findall(
        r"\w+",
        "a an and any are as at be because but by can could do does for from have here i if in is it me my need no "
        "none not of on one only or please so some such that the their them there these they this those to want was "
        "what which will with would you your",
    )
)
_DECLINES = re.compile(
    r"\b(cannot|can ?not|can't|could not|couldn't|unable|not able|not possible|impossible|unfortunately|sorry|"
    r"no (?:suitable |available |such |relevant |matching )?(?:function|tool)s?|none of|not? (?:have|provided?|"
    r"support(?:ed)?|available)|don't|do not|does not|doesn't|isn't|is not|missing|lacks?|"
    r"please (?:provide|tell|give|specify|share)|could you|can you|need(?:ed)? (?:more|to know|the|your))\b",
    re.IGNORECASE,
)
_CALL_OR_CODE = re.compile(r"\w\(|```|<\w+[^>]*>|[{}\[\]=]")


def refusal_problem(text: str, request: str) -> str | None:
    """Why `text` is no readable refusal of `request`; None where it is one."""
    text = text.strip().replace("\u2019", "'")  # the other apostrophe
    words = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", text.lower())
    if not 5 <= len(words) <= 120:
        return f"it has {len(words)} words, not 5 to 120"
    if _CALL_OR_CODE.search(text):
        return "it holds a call, code or a tag"
    if not 2 <= sum(map(len, words)) / len(words) <= 9 or 2 * len(set(words)) < len(words):
        return "its words are no prose"
    plain = sum(sign.isalpha() or sign in " \n.,;:!?'\"-" for sign in text)
    if 10 * plain < 9 * len(text) or text[-1] not in ".!?":
        return "it is no sentence"
    common = [word for word in words if word in _COMMON]
    if 5 * len(common) < len(words) or len(set(common)) < 3:
        return "it is no English"
    if not _DECLINES.search(text):
        return "it neither declines nor asks for what is missing"
    shown, said = (" ".join(re.findall(r"\w+", each.lower())) for each in (request, text))
    if said in shown or (shown in said and len(shown.split()) >= 5):
        return "it repeats the request"
    return None
