"""The 25 kinds of constraints of IFEval (Zhou et al. 2023, arXiv:2311.07911), each a check of a text.

Checks decide as the published ones do, oddities included: keywords are regular expressions, `---` is a bullet, a
bold span counts as a highlight, a bare number is JSON. Two things are decided here: a "letter" outside of a-z stands
for itself (the published code draws another one at random), and what follows where the language of a text cannot be
told is a setting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from .languages import language_of, require_langdetect
from .sentences import num_sentences, require_nltk, word_tokens

Check = Callable[..., bool]

_MARKERS = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
_OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")


def _compare(number: int, relation: str, threshold: int) -> bool:
    return number < threshold if relation == "less than" else number >= threshold


def _existence(text: str, keywords: Sequence[str]) -> bool:
    return all(re.search(keyword, text, re.IGNORECASE) for keyword in keywords)


def _frequency(text: str, keyword: str, relation: str, frequency: int) -> bool:
    return _compare(len(re.findall(keyword.strip(), text, re.IGNORECASE)), relation, frequency)


def _forbidden_words(text: str, forbidden_words: Sequence[str]) -> bool:
    return not any(re.search(rf"\b{word}\b", text, re.IGNORECASE) for word in forbidden_words)


def _letter_frequency(text: str, letter: str, let_relation: str, let_frequency: int) -> bool:
    return _compare(text.lower().count(letter.strip().lower()), let_relation, let_frequency)


def _num_words(text: str, num_words: int, relation: str) -> bool:
    return _compare(len(re.findall(r"\w+", text)), relation, num_words)


def _num_sentences(text: str, relation: str, **threshold: int) -> bool:
    return _compare(num_sentences(text), relation, threshold["num_sentences"])


def _num_paragraphs(text: str, num_paragraphs: int) -> bool:
    first, *inner = re.split(r"\s?\*\*\*\s?", text)
    last = [inner.pop()] if inner else []
    if not all(part.strip() for part in inner):
        return False
    return len(inner) + sum(bool(part.strip()) for part in (first, *last)) == num_paragraphs


def _nth_paragraph(text: str, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    paragraphs = [part.strip() for part in text.split("\n\n")]
    count = sum(bool(part) for part in paragraphs)
    if nth_paragraph > count or not paragraphs[nth_paragraph - 1]:  # blank ones count for the place, not for the number
        return False
    word = paragraphs[nth_paragraph - 1].split()[0].lstrip("'").lstrip('"')
    word = "".join(letter.lower() for letter in re.split("[.,?!'\"]", word)[0])
    return count == num_paragraphs and word == first_word.lower()


def _placeholders(text: str, num_placeholders: int) -> bool:
    count = 0
    for line in text.split("\n"):
        end = 0
        while (start := line.find("[", end)) >= 0 and (end := line.find("]", start)) >= 0:
            count += 1
    return count >= num_placeholders


def _postscript(text: str, postscript_marker: str) -> bool:
    marker = postscript_marker.strip()
    return re.search(_MARKERS.get(marker, marker.lower()), text.lower()) is not None


def _bullets(text: str, num_bullets: int) -> bool:
    stars = re.findall(r"^\s*\*[^\*].*$", text, re.MULTILINE)
    dashes = re.findall(r"^\s*-.*$", text, re.MULTILINE)
    return len(stars) + len(dashes) == num_bullets


def _constrained_response(text: str) -> bool:
    return any(option in text for option in _OPTIONS)


def _highlights(text: str, num_highlights: int) -> bool:
    single = [span for span in re.findall(r"\*[^\n\*]*\*", text) if span.strip("*").strip()]
    double = [span for span in re.findall(r"\*\*[^\n\*]*\*\*", text) if span[2:-2].strip()]
    return len(single) + len(double) >= num_highlights


def _sections(text: str, section_spliter: str, num_sections: int) -> bool:
    return len(re.findall(rf"{section_spliter.strip()}\s?\d+", text)) >= num_sections


def _json(text: str) -> bool:
    text = text.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _title(text: str) -> bool:
    spans = (line[line.find("<<") : line.rfind(">>") + 2] for line in text.split("\n") if "<<" in line)
    return any(span.lstrip("<").rstrip(">").strip() for span in spans if len(span) > 4)


def _two_responses(text: str) -> bool:
    first, *inner = (part.strip() for part in text.split("******"))
    last = inner.pop() if inner else ""
    responses = [part for part in (first, *inner, last) if part]
    return all(inner) and len(responses) == 2 and responses[0] != responses[1]


def _repeat_prompt(text: str, prompt_to_repeat: str) -> bool:
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def _end(text: str, end_phrase: str) -> bool:
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def _quotation(text: str) -> bool:
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


def _no_comma(text: str) -> bool:
    return "," not in text


def _capital_words(text: str, capital_relation: str, capital_frequency: int) -> bool:
    return _compare(sum(word.isupper() for word in word_tokens(text)), capital_relation, capital_frequency)


def _language(text: str, language: str, *, unknown_passes: bool) -> bool:
    found = language_of(text)
    return unknown_passes if found is None else found == language


def _english_capital(text: str, *, unknown_passes: bool) -> bool:
    return text.isupper() and _language(text, "en", unknown_passes=unknown_passes)


def _english_lowercase(text: str, *, unknown_passes: bool) -> bool:
    return text.islower() and _language(text, "en", unknown_passes=unknown_passes)


CHECKS: Mapping[str, Check] = {
    "keywords:existence": _existence,
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": _forbidden_words,
    "keywords:letter_frequency": _letter_frequency,
    "language:response_language": _language,
    "length_constraints:number_words": _num_words,
    "length_constraints:number_sentences": _num_sentences,
    "length_constraints:number_paragraphs": _num_paragraphs,
    "length_constraints:nth_paragraph_first_word": _nth_paragraph,
    "detectable_content:number_placeholders": _placeholders,
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": _constrained_response,
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeat_prompt,
    "startend:end_checker": _end,
    "startend:quotation": _quotation,
    "change_case:english_capital": _english_capital,
    "change_case:english_lowercase": _english_lowercase,
    "change_case:capital_word_frequency": _capital_words,
    "punctuation:no_comma": _no_comma,
}
"""The check of each kind; it takes the text and the kind's arguments by name."""
OF_LANGUAGE = frozenset(("language:response_language", "change_case:english_capital", "change_case:english_lowercase"))
"""Kinds that need the package `langdetect`, and take `unknown_passes`."""
OF_ENGLISH_TEXT = frozenset(("length_constraints:number_sentences", "change_case:capital_word_frequency"))
"""Kinds that need the package `nltk`."""


def require_packages(kinds: Collection[str]) -> None:
    """Raises MissingExtraError where a check of one of `kinds` needs a package that is not installed."""
    if OF_LANGUAGE & set(kinds):
        require_langdetect()
    if OF_ENGLISH_TEXT & set(kinds):
        require_nltk()


def follows(text: str, kind: str, arguments: Mapping[str, Any], *, unknown_passes: bool = True) -> bool:
    """Whether `text` keeps one constraint, as it is. A blank text keeps none.

    Args:
        text: the whole response.
        kind: one of `CHECKS`.
        arguments: of the kind, as IFEval names them.
        unknown_passes: what a check of the language says where none can be told, as of digits alone.

    Raises:
        MissingExtraError: the kind needs a package that is not installed.
    """
    if not text.strip():
        return False
    more = {"unknown_passes": unknown_passes} if kind in OF_LANGUAGE else {}
    return CHECKS[kind](text, **arguments, **more)


def follows_loosely(text: str, kind: str, arguments: Mapping[str, Any], *, unknown_passes: bool = True) -> bool:
    """Whether `text` keeps one constraint as it is, without its first line, last line or both, or without asterisks."""
    lines = text.split("\n")
    shorter = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
    variants = [text, *shorter]
    tried = dict.fromkeys([*variants, *(variant.replace("*", "") for variant in variants)])
    return any(follows(variant, kind, arguments, unknown_passes=unknown_passes) for variant in tried)
