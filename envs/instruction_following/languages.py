"""The language of a text, by langdetect, the same every time."""

from __future__ import annotations

import functools
import threading
from typing import Any

from llmgym.extras import require

_SEED = 0
_loading = threading.Lock()


def language_of(text: str) -> str | None:
    """The code of the likeliest language, such as "en"; "unknown" where none is likely, None where there is no clue.

    Raises:
        MissingExtraError: the package `langdetect` is not installed.
    """
    langdetect = require_langdetect()
    with _loading:  # profiles are read once
        factory = _factory()
    detector = factory.create()
    detector.append(text)
    try:
        return str(detector.detect())
    except langdetect.LangDetectException:
        return None


def require_langdetect() -> Any:
    """The package. Raises MissingExtraError where it is not installed."""
    return require("langdetect", extra="ifeval", purpose="Telling the language of a text")


@functools.cache
def _factory() -> Any:
    """A factory of our own, for its seed is nobody else's business. Without one, guesses differ between calls."""
    module = require("langdetect.detector_factory", extra="ifeval", purpose="Telling the language of a text")
    factory = module.DetectorFactory()
    factory.load_profile(module.PROFILES_DIRECTORY)
    factory.seed = _SEED
    return factory
