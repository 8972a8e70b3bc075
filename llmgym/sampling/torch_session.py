"""One episode at the torch sampler, and a turn of it that is being sampled."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ..errors import SamplerError
from .params import SamplingParams
from .sampler import Completion, FinishReason, KeptTokens

_UNIFORMS_AT_ONCE = 64


@dataclass(eq=False)
class Request:
    """A turn that is being sampled."""

    session: "TorchSession"
    prompt_ids: list[int]
    params: SamplingParams
    future: asyncio.Future[Completion]
    rng: np.random.Generator
    uniforms: list[float] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    kept: list[np.ndarray] = field(default_factory=list)

    @property
    def ids(self) -> list[int]:
        """The prompt and what was sampled so far."""
        return self.prompt_ids + self.token_ids

    def next_uniform(self) -> float:
        """The number that decides the next token."""
        place = len(self.token_ids) % _UNIFORMS_AT_ONCE
        if place == 0:
            self.uniforms = self.rng.random(_UNIFORMS_AT_ONCE).tolist()
        return self.uniforms[place]

    def finish(self, reason: FinishReason) -> None:
        """Give the answer, unless nobody waits for it any more."""
        if self.future.done() or self.future.get_loop().is_closed():
            return
        self.future.set_result(
            Completion(
                tuple(self.token_ids),
                np.array(self.logprobs, dtype=np.float32),
                reason,
                np.array(self.versions, dtype=np.int32),
                KeptTokens.from_rows(self.kept),
            )
        )


class SessionHost(Protocol):
    """What a session needs of its sampler."""

    def open(self, seed: int) -> "TorchSession":
        """Another session."""

    def submit(self, request: Request) -> None:
        """Queue a request."""

    def withdraw(self, session: "TorchSession") -> None:
        """Take back what the session asked for."""


class TorchSession:
    """One episode's place: a slot of the cache, which is kept between turns while there are enough."""

    def __init__(self, host: SessionHost, seed: int, index: int) -> None:
        self._host, self._seed, self.index = host, seed, index
        self.held_ids: list[int] = []
        """The tokens whose keys and values lie in the slot; any, where there is no slot."""
        self.slot: int | None = None
        self.is_sampling = False
        self._num_turns = 0
        self._num_forks = 0

    async def sample(self, prompt_ids: Sequence[int], params: SamplingParams) -> Completion:
        """Continue `prompt_ids`; what the slot holds of it is not computed again.

        Raises:
            SamplerError: the session is sampling already, the sampler is closed, or the model failed.
        """
        if self.is_sampling:
            raise SamplerError("This session is sampling already. Await one turn before the next, or fork it.")
        rng = np.random.default_rng((self._seed, self._num_turns))
        self._num_turns += 1
        future: asyncio.Future[Completion] = asyncio.get_running_loop().create_future()
        self._host.submit(Request(self, list(prompt_ids), params, future, rng))
        self.is_sampling = True
        try:
            return await future
        finally:
            self._host.withdraw(self)  # where the wait was given up
            self.is_sampling = False

    def fork(self) -> "TorchSession":
        """A second session with the same tokens; its cache is filled when it first samples."""
        self._num_forks += 1
        seed = int(np.random.SeedSequence((self._seed, self._num_turns, self._num_forks)).generate_state(1)[0])
        return self._host.open(seed)
