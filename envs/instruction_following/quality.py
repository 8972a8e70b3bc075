"""Whether a text is one at all: constraints of form are easily kept by babble, which must not pay while training."""

from __future__ import annotations

import re
from collections import Counter

MIN_WORDS = 25
MIN_DISTINCT_WORDS = 15
_NGRAM = 4


def quality_problem(text: str, *, prompt: str, topic: str | None = None) -> str | None:
    """Why `text` is no honest attempt at `prompt`; None where it may be one.

    An attempt has at least 25 words, 15 different ones, none of them more than every fifth; three in four of its signs
    (without spaces) are letters, its words are 2 to 9 letters long on average, and no sequence of four words makes up
    its bulk by being repeated; less than half of it is copied from the prompt; and it names its topic.

    Args:
        text: the whole response.
        prompt: what was asked.
        topic: a word that the response must hold, where the prompt names one.
    """
    words = re.findall(r"[^\W\d_]+", text.lower())
    if len(words) < MIN_WORDS:
        return f"it has {len(words)} words, fewer than {MIN_WORDS}"
    counts = Counter(words)
    if len(counts) < MIN_DISTINCT_WORDS or 5 * counts.most_common(1)[0][1] > len(words):
        return "it repeats few words"
    signs = [sign for sign in text if not sign.isspace()]
    if 4 * sum(sign.isalpha() for sign in signs) < 3 * len(signs) or not 2 <= sum(map(len, words)) / len(words) <= 9:
        return "it is no prose"
    sequences = [tuple(words[start : start + _NGRAM]) for start in range(len(words) - _NGRAM + 1)]
    if 2 * len(set(sequences)) < len(sequences):
        return "it repeats itself"
    asked = re.findall(r"[^\W\d_]+", prompt.lower())
    known = {tuple(asked[start : start + _NGRAM]) for start in range(len(asked) - _NGRAM + 1)}
    if 2 * sum(sequence in known for sequence in sequences) >= len(sequences):
        return "it is copied from the prompt"
    if topic is not None and topic.lower() not in text.lower():
        return f"it does not mention {topic!r}"
    return None
