"""The contract between whatever produces tokens and whatever asks for them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..messages import Message, ToolCall
from .params import SamplingParams


class FinishReason(StrEnum):
    """Why a completion is over."""

    STOP = "stop"
    """A stop token or string was sampled."""
    LENGTH = "length"
    """`max_new_tokens` were sampled."""
    ABORT = "abort"
    """The request was cancelled."""


@dataclass(frozen=True, slots=True, eq=False)
class KeptTokens:
    """The support that top-p or top-k left, for each sampled token.

    Row t of the ragged table is `token_ids[offsets[t]:offsets[t + 1]]`.
    """

    token_ids: np.ndarray
    """int32."""
    offsets: np.ndarray
    """int64, one more than there are sampled tokens."""

    @classmethod
    def from_rows(cls, rows: Sequence[np.ndarray]) -> "KeptTokens | None":
        """From the kept ids of each sampled token; None where there are no rows."""
        if not rows:
            return None
        offsets = np.cumsum([0, *map(len, rows)]).astype(np.int64)
        return cls(np.concatenate(rows).astype(np.int32), offsets)

    def rows(self) -> list[np.ndarray]:
        """The kept ids of each sampled token."""
        return np.split(self.token_ids, self.offsets[1:-1])


@dataclass(frozen=True, slots=True, eq=False)
class Completion:
    """Sampled tokens; all arrays have one entry a token."""

    token_ids: tuple[int, ...]
    logprobs: np.ndarray
    """float32 log-probabilities under the distribution that was sampled from (temperature, top-p, top-k)."""
    finish_reason: FinishReason
    weight_version: np.ndarray
    """int32 version of the weights that sampled each token."""
    kept_tokens: KeptTokens | None = None
    """Where top-p or top-k was used."""


class WeightSource(Protocol):
    """The learner's weights, for a sampler to copy. Can be iterated again and again."""

    is_adapter: bool
    """True: a LoRA adapter, its parts named as peft saves them; only for samplers with an attribute `takes_adapters`
    that is true. False: the full set of parameters, tied heads under both their names."""

    def shapes(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """Data type and shape by name, without touching the weights."""

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        """Pairs of name and tensor."""


class Session(Protocol):
    """One episode at one sampler: its cache, place and random stream."""

    async def sample(self, prompt_ids: Sequence[int], params: SamplingParams) -> Completion:
        """Continue `prompt_ids`, which extends what the session holds, or replaces it.

        Raises:
            SamplerError: no tokens could be produced.
        """

    def fork(self) -> "Session":
        """A second session that holds the same tokens; its random stream is its own."""


@dataclass(frozen=True, slots=True)
class WrittenTurn:
    """A turn of a policy that speaks in messages."""

    text: str
    """What it says beside its calls."""
    tool_calls: Sequence[ToolCall | str] = ()
    """The tools it calls; one that cannot be read is its text."""
    is_cut: bool = False
    """True where a budget ended it."""


@runtime_checkable
class TextSession(Protocol):
    """One episode at a policy that speaks in messages instead of tokens, such as a server that gives no ids."""

    async def write(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]], params: SamplingParams
    ) -> WrittenTurn:
        """The next turn of a conversation, in which these tools can be called.

        Raises:
            SamplerError: nothing could be produced.
        """


class Sampler(Protocol):
    """Produces tokens for many episodes at once.

    One that loses something and makes it good may have an attribute `counts`: what it came to so far, by metric.
    """

    seconds: float
    """Time spent on producing tokens so far."""

    def session(self, *, seed: int) -> AbstractAsyncContextManager[Session]:
        """A place for one episode. `seed` decides its random stream, whatever else is running.

        A policy that speaks in messages gives a `TextSession`; no learner takes its trajectories.
        """

    async def update_weights(self, source: WeightSource, *, version: int) -> None:
        """Take the weights of `source`; later tokens carry `version`."""

    async def pause(self) -> None:
        """Sample no further token until `resume`."""

    async def resume(self) -> None:
        """Go on after `pause`."""

    async def sleep(self) -> None:
        """Give the accelerator's memory back until `wake`."""

    async def wake(self) -> None:
        """Take the memory again after `sleep`."""

    async def close(self) -> None:
        """Free everything. Calling it twice is harmless."""
