"""The final answer that a text states without a box. All scans are linear in the length of the text.

The order of fallbacks: what follows the last "#### ", "Answer:" or "the answer is"; the last bold text, if it holds a
value; the last formula or number of the last sentence, or what stands behind its "is". A sentence that denies or hedges
is taken whole, so that nothing is picked out of it.
"""

from __future__ import annotations

import re
from collections import deque

from . import units
from .reading import read
from .tree import Brackets, Chain, Items, Reading, Text, Union

_MAX_STATEMENT = 2000
"""Characters of the statement that is looked at: behind its announcement, or else at the end of the text."""
_MAX_FORMULA = 400
"""Characters of a formula that stands in prose."""
_MAX_TAIL = 20_000
"""Characters at the end of the text in which an answer may be announced."""
_ANNOUNCEMENT = re.compile(
    r"####|\banswer\s{0,3}(?:is|are)?\s{0,3}(?:therefore|thus|then|simply)?\s{0,3}[:=]|\banswer\s{1,3}(?:is|are|equals)\b"
    r"|\b[Aa]nswer(?=\s{0,3}(?:\$|\\\[|\\\())|\*\*answer:?\*\*:?|\banswer\s?\*{0,2}:?\*{0,2}[ \t]{0,9}\n",
    re.IGNORECASE,
)
_CONTROL = re.compile(r"<\|[a-z_]{1,20}\|>(?:user|assistant|system)?")
_CLOSING_PHRASE = re.compile(
    r"(?:^|(?<=[\s.]))I hope (?:it is|this is|this helps)[^.]{0,20}\.?\s*$|\[Note:?\s*$", re.IGNORECASE
)
_SPAN = re.compile(
    r"\$\$(?P<display>[^$]{1,2000})\$\$|(?<!\\)\$(?P<inline>(?:[^$\\]|\\.){1,1000})\$|\\\[(?P<brackets>.{1,2000}?)\\\]"
    r"|\\\((?P<parens>.{1,1000}?)\\\)",
    re.DOTALL,
)
_BOLD = re.compile(r"\*\*(?P<bold>[^*\n]{1,200})\*\*")
_SENTENCE_END = re.compile(r"(?<!\b[A-Za-z])[.!?](?=\s|$)|\n\s*\n")
_COPULAS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\b(?:is|are|equals|be|was|were|get|gives|obtain|have|therefore|thus|so)\b\s*",
        r":\s*",
        r"[=≈]\s*",
    )
)
"""What a value may stand behind, tried in this order: "the roots are x = 2 and x = 3" names both."""
_REMARK = re.compile(r"\s\([A-Za-z][^()]{0,300}\)\s*$")
_DENIAL = re.compile(
    r"\b(?:not|n't|never|either|neither|or|maybe|perhaps|possibly|(?:may|might|could)\sbe(?=\s{0,3}\S{0,60}$)|cannot|no|isn't|wrong|incorrect|unsure|unknown|guess"
    r"|between|at\s(?:least|most)|(?:more|less|fewer|other|greater|smaller)\sthan|up\sto|if|unless)\b|\?\s*$",
    re.IGNORECASE,
)
_PROSE = re.compile(r"[A-Z][a-z]+,?\s+[A-Za-z]{2,}")
"""The beginning of a sentence: "Tom has 12 apples" is no product."""
_NUMBER = re.compile(
    r"(?<![\w.)\]}/^*+-])(?P<value>[-\u2212]?[$€£]?\d[\d,./]*(?<![,./])%?)"
    r"(?P<next>\s[a-zA-Z]+|)(?![\w/^*+=])"
)
"""A number that stands alone among words, and the word behind it."""


def stated(text: str) -> str | None:
    """The final answer that the text states, or None."""
    text = _CLOSING_PHRASE.sub("", _CONTROL.sub(" ", text).rstrip()[-_MAX_TAIL:]).strip()
    if announced := _last(_ANNOUNCEMENT, text):
        return _value_of(_first_statement(text[announced.end() :][:_MAX_STATEMENT]))
    tail = text[-_MAX_STATEMENT:]
    if "\n" not in tail and len(tail) <= 200 and _is_formula(tail):
        return tail
    if (bold := _last(_BOLD, tail)) and _is_formula(bold["bold"]):
        return bold["bold"]
    return _value_of(_last_statement(tail))


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = deque(pattern.finditer(text), maxlen=1)
    return found[0] if found else None


def _is_formula(text: str) -> bool:
    if len(text) > _MAX_FORMULA or _PROSE.match(text):
        return False
    return (reading := read(text).reading) is not None and not _has_words(reading)


def _has_words(reading: Reading) -> bool:
    match reading:
        case Text():
            return True
        case Items(items=parts) | Brackets(items=parts) | Chain(members=parts) | Union(parts=parts):
            return any(map(_has_words, parts))
    return False


def _first_statement(text: str) -> str:
    """The first sentence, or the first formula that is set apart."""
    text = text.lstrip(" \t:*#\n")
    end = _end_of_sentence(text)
    return text[:end].strip()


def _last_statement(text: str) -> str:
    """The last sentence."""
    start, position = 0, 0
    while position < len(text):
        end = position + _end_of_sentence(text[position : position + _MAX_STATEMENT])
        if text[position:end].strip(" .!?\n"):
            start = position
        position = max(end, position + 1)
        while position < len(text) and text[position] in ".!? \n":
            position += 1
    return text[start:].strip()


def _end_of_sentence(text: str) -> int:
    """Where the first sentence ends; a full stop inside a formula ends nothing."""
    position = 0
    while found := _SENTENCE_END.search(text, position):
        span = next((s for s in _SPAN.finditer(text) if s.start() < found.start() < s.end()), None)
        if span is None:
            return found.start() if text[: found.start()].strip() else found.end()
        position = span.end()
    return len(text)


def _value_of(statement: str) -> str | None:
    """The value that a sentence states; the sentence itself where it denies or hedges."""
    statement = _REMARK.sub("", statement).strip().strip("*").strip()
    if not statement or _is_formula(statement):
        return statement or None
    spans = list(_SPAN.finditer(statement))
    outside = _SPAN.sub(" ", statement)
    if _DENIAL.search(outside):
        return statement
    tails = [_behind(copula, statement, spans) for copula in _COPULAS]
    for tail in tails:
        if tail != statement and _is_formula(tail):
            return tail
    if spans and not re.search(r"\d", statement[spans[-1].end() :]):
        return next(group for group in spans[-1].groups() if group is not None)
    number = _last(_NUMBER, statement)
    if number and not units.speaks(number["next"].strip()):
        return number["value"]
    return tails[0] or None


def _behind(copula: re.Pattern[str], statement: str, spans: list[re.Match[str]]) -> str:
    """What stands behind the last such word or sign that is in no formula; the whole statement where there is none."""
    end = 0
    for found in copula.finditer(statement):
        if not any(span.start() < found.start() < span.end() for span in spans):
            end = found.end()
    return statement[end:].strip().strip("*").strip()
