"""Exact match and F1 of an answer, normalized as for SQuAD (Rajpurkar et al. 2016, arXiv:1606.05250)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CLOSED = ("yes", "no", "noanswer")
"""Answers without a part that could be right."""


def normalized(text: str) -> str:
    """In small letters, without punctuation, without a, an, the, with single spaces."""
    plain = text.lower().translate(_PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", plain).split())


def exact_match(answer: str, references: Sequence[str]) -> float:
    """1.0 where the answer is one of the references, else 0.0."""
    return float(any(normalized(answer) == normalized(reference) for reference in references))


def f1(answer: str, references: Sequence[str]) -> float:
    """The best harmonic mean of precision and recall in words, over the references.

    "yes", "no" and "noanswer" are right or wrong, as for HotpotQA (Yang et al. 2018, arXiv:1809.09600).
    """
    return max((_f1(normalized(answer), normalized(reference)) for reference in references), default=0.0)


def _f1(answer: str, reference: str) -> float:
    if answer == reference:
        return 1.0
    words, expected = answer.split(), reference.split()
    num_common = sum((Counter(words) & Counter(expected)).values())
    if num_common == 0 or answer in _CLOSED or reference in _CLOSED:
        return 0.0
    precision, recall = num_common / len(words), num_common / len(expected)
    return 2 * precision * recall / (precision + recall)
