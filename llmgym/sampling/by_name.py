"""Samplers by the name that they are registered under."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ..errors import ConfigError
from ..messages import Tokenizer
from ..registry import SAMPLERS
from ..settings import checked_call
from .sampler import Sampler


def make_sampler(
    name: str, settings: Mapping[str, Any], model: Any, *, max_batch: int, tokenizer: Tokenizer
) -> Sampler:
    """The sampler of a name, with settings of its own.

    Args:
        name: that it is registered under.
        settings: keywords for it.
        model: its first argument: a transformers causal LM, or what else this sampler takes.
        max_batch: rows sampled at once.
        tokenizer: of the model.

    Raises:
        ConfigError: it is not registered, or a setting is misspelt, of the wrong type, or decided elsewhere.
    """
    factory = SAMPLERS.lookup(name)
    decided = {"num_tokens": tokenizer.num_tokens, "max_batch": max_batch, "tokenizer": tokenizer}
    for setting in settings:
        if setting in decided:
            elsewhere = "The concurrency decides it." if setting == "max_batch" else "Leave it out; it is the model's."
            raise ConfigError(f"sampler.{setting} cannot be set. {elsewhere}")
    sampler: Sampler = checked_call(partial(factory, model), {**decided, **settings}, where="sampler")
    return sampler
