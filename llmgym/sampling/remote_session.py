"""Sessions at a sampler that lives in another process."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from itertools import count
from typing import Any, Protocol

import numpy as np

from .params import SamplingParams
from .sampler import Completion

SessionKey = tuple[str, int]
"""Of whom, and which."""


class RemoteHost(Protocol):
    """A `SamplerHost` somewhere else."""

    async def call(self, method: str, *args: Any) -> Any:
        """What its method answers."""

    def cast(self, method: str, *args: Any) -> None:
        """Have its method run, without waiting."""


class RemoteSession:
    """One episode at a remote host."""

    def __init__(self, host: RemoteHost, key: SessionKey, seed: int, numbers: "count[int]") -> None:
        self._host, self.key, self._seed, self._numbers = host, key, seed, numbers
        self.forks: list[RemoteSession] = []

    async def sample(self, prompt_ids: Sequence[int], params: SamplingParams) -> Completion:
        """Continue `prompt_ids` at the host."""
        completion: Completion = await self._host.call(
            "sample", self.key, self._seed, np.array(prompt_ids, dtype=np.int32), params
        )
        return completion

    def fork(self) -> "RemoteSession":
        """A second session that holds the same tokens."""
        fork = RemoteSession(self._host, (self.key[0], next(self._numbers)), self._seed, self._numbers)
        self.forks.append(fork)
        self._host.cast("fork", self.key, self._seed, fork.key)
        return fork

    def end(self) -> None:
        """Give the place back."""
        for fork in self.forks:
            fork.end()
        self._host.cast("end", self.key)


class RemoteSampler:
    """Sessions at whichever host `host` says when they begin; weights are the business of whoever has the hosts.

    Args:
        client: a name that nobody else has.
        sees_text: as the sampler at the hosts.
    """

    def __init__(self, client: str, *, sees_text: bool) -> None:
        self._client, self.sees_text = client, sees_text
        self.host: ContextVar[RemoteHost] = ContextVar("host")
        self._numbers = count()
        self.seconds = 0.0

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator[RemoteSession]:
        """A place for one episode."""
        session = RemoteSession(self.host.get(), (self._client, next(self._numbers)), seed, self._numbers)
        try:
            yield session
        finally:
            session.end()
