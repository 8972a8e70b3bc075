"""Whether a text is one at all: constraints of form are easily kept by babble, which must not pay while training."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from .sentences import COMMON_WORDS

MIN_WORDS = 25
MIN_DISTINCT_WORDS = 15
MIN_COMMON_WORDS = 4
MAX_OTHER_TOPICS = 6
_NGRAM = 4


def quality_problem(text: str, *, prompt: str, topic: str | None = None, topics: Sequence[str] = ()) -> str | None:
    """Why `text` is no honest attempt at `prompt`; None where it may be one.

    An attempt has at least 25 words, 15 different ones, none of them more than every fifth; three in four of its signs
    (without spaces) are letters, its words are 2 to 9 letters long on average, one in eight is among the commonest of
    English, four different ones or more, and no sequence of four words makes up its bulk by being repeated; less than
    half of its words, without the commonest, are the prompt's; and it names its topic, and at most 6 others.

    Args:
        text: the whole response.
        prompt: what was asked.
        topic: a word that the response must hold, where the prompt names one.
        topics: of all prompts, so that no text is about every one.
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
    num_common = sum(counts[word] for word in COMMON_WORDS)
    if 8 * num_common < len(words) or sum(word in counts for word in COMMON_WORDS) < MIN_COMMON_WORDS:
        return "it is a list of words"
    sequences = [tuple(words[start : start + _NGRAM]) for start in range(len(words) - _NGRAM + 1)]
    if 2 * len(set(sequences)) < len(sequences):
        return "it repeats itself"
    asked = {*re.findall(r"[^\W\d_]+", prompt.lower()), *COMMON_WORDS}
    num_own = sum(count for word, count in counts.items() if word not in asked)
    if len(words) - num_common - num_own > num_own:
        return "it is copied from the prompt"
    if topic is not None and topic.lower() not in text.lower():
        return f"it does not mention {topic!r}"
    if sum(other in text.lower() for other in topics if other != topic) > MAX_OTHER_TOPICS:
        return "it is about everything"
    return None
