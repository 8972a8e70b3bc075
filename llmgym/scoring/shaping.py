"""Parts of a reward that look at the form of a message: its length, and whether it repeats itself."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError
from ..messages import AssistantMessage, whole_text
from .score import Score


@dataclass(frozen=True, kw_only=True)
class LengthPenalty:
    """A verifier: 0 up to `free` tokens, then falling in a straight line to -1 at `limit` tokens and beyond.

        max(-1, min(0, (free - length) / (limit - free)))

    Source: the "soft overlong punishment" of Yu et al. 2025, arXiv:2503.14476, with `free` = its maximal length less
    its cache. It counts the tokens that the policy sampled, or characters where a message was not sampled.
    """

    free: int
    """Tokens that cost nothing."""
    limit: int
    """Tokens from which on the penalty is whole."""

    def __post_init__(self) -> None:
        if not 0 <= self.free < self.limit:
            raise ConfigError(f"free is {self.free} and limit {self.limit}, but 0 <= free < limit must hold.")

    def __call__(self, message: AssistantMessage, task: Any) -> Score:  # noqa: ARG002  the contract of a verifier
        length = len(message.token_ids) or len(message.content)
        penalty = min(0.0, max(-1.0, (self.free - length) / (self.limit - self.free)))
        return Score(reward=penalty, reason=f"{length} tokens" if penalty else "")


@dataclass(frozen=True, kw_only=True)
class RepetitionPenalty:
    """A verifier: minus the share of n-grams of words that the message has said before, from 0 to -1."""

    n: int = 4
    """Words of an n-gram."""

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError(f"n is {self.n}, but an n-gram has at least 1 word.")

    def __call__(self, message: AssistantMessage, task: Any) -> Score:  # noqa: ARG002  the contract of a verifier
        share = repeated_share(whole_text(message).split(), n=self.n)
        return Score(reward=-share, reason=f"{share:.0%} repeated" if share else "")


def repeated_share(items: Sequence[Hashable], *, n: int) -> float:
    """Share of the n-grams of `items` that equal an earlier one, in [0, 1); 0 where there are fewer than n items."""
    grams = [tuple(items[start : start + n]) for start in range(len(items) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
