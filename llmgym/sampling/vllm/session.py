"""One episode at vLLM."""

from collections.abc import Awaitable, Sequence
from typing import Protocol

import numpy as np

from ...errors import SamplerError
from ..params import SamplingParams
from ..sampler import Completion


class SessionHost(Protocol):
    """What a session needs of its sampler."""

    def sample(self, prompt_ids: list[int], params: SamplingParams, *, seed: int) -> Awaitable[Completion]:
        """Continue `prompt_ids`."""


class VLLMSession:
    """One episode's random stream. Its keys and values are found in vLLM's prefix cache, by the tokens themselves."""

    def __init__(self, host: SessionHost, seed: int) -> None:
        self._host, self._seed = host, seed
        self._num_turns = self._num_forks = 0
        self._is_sampling = False

    async def sample(self, prompt_ids: Sequence[int], params: SamplingParams) -> Completion:
        """Continue `prompt_ids`; whole blocks of it that vLLM has computed before are not computed again.

        Raises:
            SamplerError: the session is sampling already, the sampler is closed, the prompt is empty or too long, or
                vLLM died too often.
        """
        if self._is_sampling:
            raise SamplerError("This session is sampling already. Await one turn before the next, or fork it.")
        seed = _derived(self._seed, self._num_turns)
        self._num_turns += 1
        self._is_sampling = True
        try:
            return await self._host.sample(list(prompt_ids), params, seed=seed)
        finally:
            self._is_sampling = False

    def fork(self) -> "VLLMSession":
        """A second session that goes on from the same tokens, with a random stream of its own."""
        self._num_forks += 1
        return VLLMSession(self._host, _derived(self._seed, self._num_turns, self._num_forks))


def _derived(*parts: int) -> int:
    """A 63-bit seed from whole numbers."""
    return int(np.random.SeedSequence((len(parts), *parts)).generate_state(1, np.uint64)[0] >> 1)
