"""Samplers for Ray's actors, which import this module by its name."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np

import llmgym
from llmgym.sampling import SamplingParams, ScriptedSampler
from llmgym.sampling.sampler import Completion, WeightSource
from llmgym.sampling.scripted_sampler import ScriptedSession

LIMITS = {"turns": 8, "turn_tokens": 96, "episode_tokens": 512, "context_tokens": 1024}
MAX_CALLS = 4


def calls_and_answer(prompt_ids, params, rng):
    """Calls the calculator now and then, with numbers of the episode's own stream, and says one in the end."""
    tokenizer = llmgym.ByteTokenizer()
    (tool_header,) = tokenizer.header("tool")
    numbers = rng.integers(10, 99, size=2)
    is_answer = list(prompt_ids).count(tool_header) >= MAX_CALLS or rng.random() < 0.3
    text = str(numbers[0]) if is_answer else f"<call>{numbers[0]}*{numbers[1]}</call>"
    return [*tokenizer.encode(text), tokenizer.eos_id]


class SlowSession(ScriptedSession):
    """Says its script, a little later."""

    latency_s = 0.0

    async def sample(self, prompt_ids: Sequence[int], params: SamplingParams) -> Completion:
        await asyncio.sleep(self.latency_s)
        return await super().sample(prompt_ids, params)


class SlowSampler(ScriptedSampler):
    """As a registered sampler is made; any number of sessions wait at the same time."""

    def __init__(self, module, *, num_tokens=None, max_batch=0, tokenizer=None, latency_s=0.0):
        super().__init__(calls_and_answer)
        self._latency_s = latency_s

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator[ScriptedSession]:
        session = SlowSession(self._policy, seed)
        session.latency_s = self._latency_s
        yield session


class ToldSampler(SlowSampler):
    """Counts what it was told, as if each were a loss."""

    def __init__(self, module, **settings):
        super().__init__(module, **settings)
        self.counts = {"num_pauses": 0, "num_sleeps": 0}

    async def pause(self) -> None:
        self.counts["num_pauses"] += 1

    async def sleep(self) -> None:
        self.counts["num_sleeps"] += 1


class KillingSampler(SlowSampler):
    """Ends its process at the first turn."""

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator[ScriptedSession]:
        os._exit(3)
        yield ScriptedSession(self._policy, seed)


class VersionSession(SlowSession):
    """Its tokens carry the version of the sampler's weights."""

    sampler: "VersionSampler"

    async def sample(self, prompt_ids: Sequence[int], params: SamplingParams) -> Completion:
        completion = await super().sample(prompt_ids, params)
        return replace(completion, weight_version=np.full_like(completion.weight_version, self.sampler.version))


class VersionSampler(SlowSampler):
    """Knows the version of its weights, and which it got."""

    takes_adapters = True

    def __init__(self, module, **settings):
        super().__init__(module, **settings)
        self.version, self.counts = 0, {"num_full": 0, "num_adapters": 0}

    async def update_weights(self, source: WeightSource, *, version: int) -> None:
        assert all(float(tensor.min()) == float(tensor.max()) == version for _, tensor in source)
        self.version = version
        self.counts["num_adapters" if source.is_adapter else "num_full"] += 1

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator[ScriptedSession]:
        session = VersionSession(self._policy, seed)
        session.latency_s, session.sampler = self._latency_s, self
        yield session
