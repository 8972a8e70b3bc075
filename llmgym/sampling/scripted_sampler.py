"""A sampler that says what a function tells it to: for tests, benchmarks and baselines."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import numpy as np

from .params import SamplingParams
from .sampler import Completion, FinishReason, WeightSource

TokenPolicy = Callable[[Sequence[int], SamplingParams, np.random.Generator], Sequence[int]]
"""From the prompt, the parameters and a generator of the turn's own to the turn's ids, at most `max_new_tokens`."""


class ScriptedSession:
    """One episode of a scripted policy."""

    def __init__(self, policy: TokenPolicy, seed: int) -> None:
        self._policy, self._seed, self._num_turns = policy, seed, 0

    async def sample(self, prompt_ids: Sequence[int], params: SamplingParams) -> Completion:
        """What the policy says, with log-probability 0."""
        ids = tuple(self._policy(prompt_ids, params, np.random.default_rng((self._seed, self._num_turns))))
        self._num_turns += 1
        is_stopped = bool(ids) and ids[-1] in params.stop_token_ids
        reason = FinishReason.STOP if is_stopped else FinishReason.LENGTH
        return Completion(ids, np.zeros(len(ids), np.float32), reason, np.zeros(len(ids), np.int32))

    def fork(self) -> "ScriptedSession":
        """The same episode once more, from here."""
        session = ScriptedSession(self._policy, self._seed)
        session._num_turns = self._num_turns
        return session


class ScriptedSampler:
    """Produces what `policy` says; it has no weights, and nothing to pause.

    Args:
        policy: see `TokenPolicy`.
    """

    def __init__(self, policy: TokenPolicy) -> None:
        self._policy = policy
        self.seconds = 0.0

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator[ScriptedSession]:
        """A place for one episode."""
        yield ScriptedSession(self._policy, seed)

    async def update_weights(self, source: WeightSource, *, version: int) -> None:
        """There are none."""

    async def pause(self) -> None:
        """Nothing runs between two calls."""

    async def resume(self) -> None:
        """Nothing was paused."""

    async def sleep(self) -> None:
        """Nothing holds memory."""

    async def wake(self) -> None:
        """Nothing gave memory back."""

    async def close(self) -> None:
        """Nothing is held."""
