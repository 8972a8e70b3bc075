"""What is found out about a tokenizer's template by trying is found out once."""

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from .tokenizer import TemplateTokenizer

T = TypeVar("T")
Find = Callable[[TemplateTokenizer, Mapping[str, Any]], T]
"""`find(tokenizer, template_kwargs)`"""


def once_for_each_tokenizer(find: Find[T]) -> Find[T]:
    """`find`, whose answers are kept as long as the tokenizer is: every environment asks, and there may be hundreds.

    The answer must not hold the tokenizer. One that cannot be a key of a `WeakKeyDictionary` is tried each time.
    """
    known: WeakKeyDictionary[TemplateTokenizer, dict[str, T]] = WeakKeyDictionary()

    @wraps(find)
    def found(tokenizer: TemplateTokenizer, template_kwargs: Mapping[str, Any]) -> T:
        try:
            answers = known.setdefault(tokenizer, {})
        except TypeError:
            return find(tokenizer, template_kwargs)
        key = repr(sorted(template_kwargs.items()))
        if key not in answers:
            answers[key] = find(tokenizer, template_kwargs)
        return answers[key]

    return found
