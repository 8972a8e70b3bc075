"""Keeping transformers from drawing."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..extras import require


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """transformers draws bars of its own, over those of the run."""
    logging = require("transformers.utils.logging", extra="train", purpose="Loading or saving a model")
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()
