"""Generated prompts: a topic, 1 to 3 constraints that go together and a limit of words, with a text that keeps them.

Three of the 25 kinds are left out: a constrained response has no room for an attempt, repeating the prompt is what a
policy that copies does, and a response in another language would need references in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmgym.episode import Task

from ..draw import Draw
from .constraints import OF_ENGLISH_TEXT, OF_LANGUAGE
from .drafts import ENDINGS, FILLED_IN, KEYWORDS, OPENINGS, POSTSCRIPTS, TOPICS, Draft

Made = tuple[Mapping[str, Any], str]
"""Arguments of a constraint, and how the prompt puts it."""

_TASKS = (
    "Write a short text about a {topic}.",
    "Tell me a little about a {topic}.",
    "Describe what a {topic} means to people.",
    "Write a small story in which a {topic} appears.",
)


def _existence(draft: Draft, draw: Draw) -> Made:
    words = draw.some(KEYWORDS, 2)
    for word in words:
        draft.mention(word, draw)
    return {"keywords": words}, f"Include the words {words[0]} and {words[1]}."


def _frequency(draft: Draft, draw: Draw) -> Made:
    word, times = draw.one(KEYWORDS), draw.whole(2, 4)
    draft.mention(word, draw, times)
    return {"keyword": word, "relation": "at least", "frequency": times}, f"Use the word {word} at least {times} times."


def _forbidden_words(draft: Draft, draw: Draw) -> Made:
    used = set(re.findall(r"\w+", draft.text().lower()))
    usual = ("very", "because", "beautiful", "which", "also", "think", "place", "always", "world", "love", "just")
    words = draw.some([word for word in usual if word not in used and word != draft.topic], 3)
    return {"forbidden_words": words}, f"Do not use any of these words: {', '.join(words)}."


def _letter_frequency(draft: Draft, draw: Draw) -> Made:
    text = draft.text().lower()
    letter = draw.one([letter for letter in "bcdfghklmpvwy" if text.count(letter) >= 4])
    count = text.count(letter) - draw.whole(0, 2)
    wording = f"The letter {letter} should appear at least {count} times."
    return {"letter": letter, "let_relation": "at least", "let_frequency": count}, wording


def _num_words(draft: Draft, draw: Draw) -> Made:
    count = len(re.findall(r"\w+", draft.text())) - draw.whole(2, 8)
    return {"relation": "at least", "num_words": count}, f"Write at least {count} words."


def _num_sentences(draft: Draft, draw: Draw) -> Made:
    count = len(draft.sentences) - draw.whole(0, 2)
    return {"relation": "at least", "num_sentences": count}, f"Write at least {count} sentences."


def _num_paragraphs(draft: Draft, draw: Draw) -> Made:
    draft.paragraphs, draft.between = draw.whole(2, 4), "\n***\n"
    return {"num_paragraphs": draft.paragraphs}, (
        f"Write exactly {draft.paragraphs} paragraphs, with the divider *** between them."
    )


def _nth_paragraph(draft: Draft, draw: Draw) -> Made:
    draft.paragraphs, word = draw.whole(2, 4), draw.one(OPENINGS)
    number = draw.whole(1, draft.paragraphs)
    draft.opening = (number, word)
    arguments = {"num_paragraphs": draft.paragraphs, "nth_paragraph": number, "first_word": word}
    return arguments, (
        f"Write exactly {draft.paragraphs} paragraphs with an empty line between them; paragraph {number} must begin "
        f"with the word {word}."
    )


def _placeholders(draft: Draft, draw: Draw) -> Made:
    count = draw.whole(1, 4)
    draft.sentences.append(f"Write to {' or '.join(FILLED_IN[:count])} for more.")
    return {"num_placeholders": count}, (
        f"Leave at least {count} placeholder{'s' * (count > 1)} in square brackets, such as [name]."
    )


def _postscript(draft: Draft, draw: Draw) -> Made:
    draft.postscript = draw.one(POSTSCRIPTS)
    return {"postscript_marker": "P.S."}, "Add a postscript at the end that starts with P.S."


def _bullets(draft: Draft, draw: Draw) -> Made:
    draft.bullets = draw.whole(2, 5)
    return {"num_bullets": draft.bullets}, (
        f"The answer must contain exactly {draft.bullets} bullet points, each on a line that starts with an asterisk."
    )


def _highlights(draft: Draft, draw: Draw) -> Made:
    count = draw.whole(1, 3)
    for index in range(count):
        words = draft.sentences[index].split(" ")
        draft.sentences[index] = " ".join([words[0], f"*{words[1]}*", *words[2:]])
    return {"num_highlights": count}, f"Highlight at least {count} words or phrases with asterisks, *like this*."


def _sections(draft: Draft, draw: Draw) -> Made:
    name, draft.paragraphs = draw.one(("Section", "Part", "Chapter")), draw.whole(2, 4)
    draft.headings = [f"{name} {number}" for number in range(1, draft.paragraphs + 1)]
    return {"section_spliter": name, "num_sections": draft.paragraphs}, (
        f"Divide the answer into {draft.paragraphs} sections, and mark the beginning of each as {name} X, where X is "
        "its number."
    )


def _json(draft: Draft, draw: Draw) -> Made:  # noqa: ARG001
    draft.is_json = True
    return {}, "Give the whole answer as JSON."


def _title(draft: Draft, draw: Draw) -> Made:
    draft.title = draw.one((f"the {draft.topic}", "an old story", "what remains"))
    return {}, "Give it a title in double angle brackets, such as <<title>>."


def _two_responses(draft: Draft, draw: Draw) -> Made:  # noqa: ARG001
    draft.paragraphs, draft.between = 2, "\n******\n"
    return {}, "Give two different answers, with six asterisks ****** between them and nowhere else."


def _end(draft: Draft, draw: Draw) -> Made:
    draft.ending = draw.one(ENDINGS)
    return {"end_phrase": draft.ending}, f'End with exactly these words: "{draft.ending}"'


def _quotation(draft: Draft, draw: Draw) -> Made:  # noqa: ARG001
    draft.is_quoted = True
    return {}, "Put the whole answer in double quotation marks."


def _lowercase(draft: Draft, draw: Draw) -> Made:  # noqa: ARG001
    draft.case = "lower"
    return {}, "Write in English and in lowercase letters only."


def _uppercase(draft: Draft, draw: Draw) -> Made:  # noqa: ARG001
    draft.case = "upper"
    return {}, "Write in English and in capital letters only."


def _capital_words(draft: Draft, draw: Draw) -> Made:
    count = draw.whole(2, 4)
    for index in range(count):
        draft.sentences[index] = re.sub(r"\w{4,}", lambda found: found[0].upper(), draft.sentences[index], count=1)
    arguments = {"capital_relation": "at least", "capital_frequency": count}
    return arguments, f"At least {count} words must be in capital letters only."


def _no_comma(draft: Draft, draw: Draw) -> Made:  # noqa: ARG001
    return {}, "Do not use any commas."


@dataclass(frozen=True)
class _Kind:
    make: Callable[[Draft, Draw], Made]
    group: str
    """Of kinds of one group, a prompt has one."""
    conflicts: tuple[str, ...] = ()
    """Groups that do not go with it."""


# In the order in which they are applied: those that count come last.
_KINDS: Mapping[str, _Kind] = {
    "keywords:existence": _Kind(_existence, "words"),
    "keywords:frequency": _Kind(_frequency, "words"),
    "detectable_content:number_placeholders": _Kind(_placeholders, "marks", ("json",)),
    "detectable_format:number_highlighted_sections": _Kind(_highlights, "marks", ("asterisks", "json")),
    "change_case:capital_word_frequency": _Kind(_capital_words, "case"),
    "change_case:english_lowercase": _Kind(_lowercase, "case", ("sections",)),
    "change_case:english_capital": _Kind(_uppercase, "case", ("sections",)),
    "length_constraints:number_paragraphs": _Kind(_num_paragraphs, "layout", ("asterisks",)),
    "length_constraints:nth_paragraph_first_word": _Kind(_nth_paragraph, "layout", ("title", "case", "end")),
    "detectable_format:multiple_sections": _Kind(_sections, "layout", ("sections",)),
    "detectable_format:number_bullet_lists": _Kind(_bullets, "layout", ("asterisks",)),
    "combination:two_responses": _Kind(_two_responses, "layout", ("asterisks", "end")),
    "detectable_format:json_format": _Kind(_json, "layout", ("json", "end", "title")),
    "detectable_format:title": _Kind(_title, "title", ("title",)),
    "detectable_content:postscript": _Kind(_postscript, "end", ("end",)),
    "startend:end_checker": _Kind(_end, "end", ("end",)),
    "startend:quotation": _Kind(_quotation, "end", ("end",)),
    "punctuation:no_comma": _Kind(_no_comma, "comma"),
    "keywords:forbidden_words": _Kind(_forbidden_words, "forbidden"),
    "keywords:letter_frequency": _Kind(_letter_frequency, "letter"),
    "length_constraints:number_words": _Kind(_num_words, "length"),
    "length_constraints:number_sentences": _Kind(_num_sentences, "length", ("layout",)),
}
GENERATED_KINDS = tuple(_KINDS)
"""Kinds that a generated prompt may have."""
DEFAULT_KINDS = tuple(kind for kind in _KINDS if kind not in OF_LANGUAGE | OF_ENGLISH_TEXT)
"""Those that need no optional package."""


def generated_task(rng: np.random.Generator, *, kinds: Sequence[str] = DEFAULT_KINDS, max_constraints: int = 3) -> Task:
    """A prompt with its constraints in the metadata, beside a text that keeps them.

    Args:
        rng: all randomness comes from it.
        kinds: that the prompt may have.
        max_constraints: beside the limit of words.
    """
    draw = Draw(rng)
    topic = draw.one(TOPICS)
    draft = Draft.about(topic, draw)
    chosen = _compatible(draw, kinds, draw.whole(1, max_constraints))
    made = [(kind, *_KINDS[kind].make(draft, draw)) for kind in GENERATED_KINDS if kind in chosen]
    limit = len(re.findall(r"\w+", draft.text())) + draw.whole(5, 30)
    wordings = [draw.one(_TASKS).format(topic=topic), *(wording for _, _, wording in made)]
    prompt = f"{' '.join(wordings)} Use fewer than {limit} words."
    limited = ("length_constraints:number_words", {"relation": "less than", "num_words": limit})
    constraints = (*((kind, arguments) for kind, arguments, _ in made), limited)
    metadata = {"constraints": constraints, "topic": topic, "solution": draft.text()}
    return Task(key="", prompt=prompt, metadata=metadata)  # the source names it


def _compatible(draw: Draw, kinds: Sequence[str], count: int) -> list[str]:
    """Up to `count` kinds, none of which excludes another."""
    chosen: list[str] = []
    for kind in draw.some(kinds, len(kinds)):
        if len(chosen) < count and all(_go_together(_KINDS[kind], _KINDS[other]) for other in chosen):
            chosen.append(kind)
    return chosen


def _go_together(one: _Kind, other: _Kind) -> bool:
    if one.group == other.group or one.group in other.conflicts or other.group in one.conflicts:
        return False
    return not set(one.conflicts) & set(other.conflicts)
