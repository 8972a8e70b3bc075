"""Sentences and words of English text, by NLTK.

NLTK splits sentences with the parameters `punkt_tab`, which are no part of its package: `python -m nltk.downloader
punkt_tab` fetches them, and NLTK_DATA names the folder that they are in. Without them, the same algorithm runs with the
abbreviations listed here, and knows nothing of which words begin sentences; `punkt_is_installed` tells which it is.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from llmgym.extras import require

_ABBREVIATIONS = (
    "dr mr mrs ms prof gen col lt sen rep st jr sr co corp inc ltd bros ave vs u.s u.k u.n d.c a.m p.m ph.d jan "
    "feb aug sep sept oct nov dec wed fri ft"
)
"""Such as newspapers write: the published parameters hold no "i.e." either."""
COMMON_WORDS = tuple(
    re.findall(
        r"\w+",
        "a about after all also an and another any are as at because before both but by can could did do does each "
        "every few for from had has have he her here him his how however i if in instead into is it its just let many "
        "may maybe me more most my no not now of on one or other our out perhaps she should since so some such than "
        "that the their them then there these they this those though thus to today too two under until up very was we "
        "well were what when where which while who why will with would yes yet you your",
    )
)
"""Words whose capital says that a sentence begins, for they are written small inside of one."""


def num_sentences(text: str) -> int:
    """Sentences of `text`. Raises MissingExtraError where NLTK is not installed."""
    return len(_splitter().tokenize(text))


def word_tokens(text: str) -> list[str]:
    """Words and signs of `text`, sentence by sentence. Raises MissingExtraError where NLTK is not installed."""
    words = _words()
    return [token for sentence in _splitter().tokenize(text) for token in words.tokenize(sentence)]


def punkt_is_installed() -> bool:
    """True where sentences are split with the published parameters, as the published checks do."""
    nltk = require_nltk()
    try:
        nltk.data.find("tokenizers/punkt_tab/english/")
    except LookupError:
        return False
    return True


@functools.cache
def _splitter() -> Any:
    punkt = require_nltk("nltk.tokenize.punkt")
    if punkt_is_installed():
        return punkt.PunktTokenizer("english")
    parameters = punkt.PunktParameters()
    parameters.abbrev_types.update(_ABBREVIATIONS.split())
    for word in COMMON_WORDS:
        parameters.add_ortho_context(word, punkt._ORTHO_MID_LC | punkt._ORTHO_BEG_UC)
    return punkt.PunktSentenceTokenizer(parameters)


@functools.cache
def _words() -> Any:
    return require_nltk("nltk.tokenize.destructive").NLTKWordTokenizer()


def require_nltk(module: str = "nltk") -> Any:
    """The package, or a module of it. Raises MissingExtraError where it is not installed."""
    return require(module, extra="ifeval", purpose="Counting sentences and words")
