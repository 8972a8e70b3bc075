"""What the sampler asks of vLLM, whichever engine answers, and where it runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ...errors import SamplerError
from ..params import SamplingParams
from ..sampler import KeptTokens


class EngineDied(SamplerError):
    """The engine, or a process of its own, is gone; what it was asked may be asked again of another."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter in a folder, as vLLM loads it."""

    name: str
    number: int
    """At least 1. Another adapter under the same number replaces the first only where it was added so."""
    path: str


@dataclass(frozen=True, slots=True)
class Generated:
    """What vLLM made of a request; all arrays have one entry a token."""

    token_ids: tuple[int, ...]
    logprobs: np.ndarray
    """float32."""
    finish_reason: str
    """As vLLM calls it: "stop", "length" or "abort"."""
    weight_versions: tuple[tuple[str, int, int], ...]
    """Label, first token and end of each run of tokens that the same weights sampled."""
    kept_tokens: KeptTokens | None
    num_cached_tokens: int
    """Of the prompt, those whose keys and values the prefix cache held."""


class Engine(Protocol):
    """One vLLM engine.

    Calls raise `EngineDied` where the engine is gone, and `SamplerError` where it refused.
    """

    async def generate(
        self,
        request_id: str,
        prompt_ids: list[int],
        params: SamplingParams,
        *,
        seed: int,
        adapter: Adapter | None = None,
    ) -> Generated:
        """Continue `prompt_ids`. A cancelled call aborts the request."""

    async def pause(self) -> None:
        """Freeze running requests where they are; new ones wait."""

    async def resume(self) -> None:
        """Go on after `pause`."""

    async def init_weight_transfer(self, init_info: Mapping[str, Any]) -> None:
        """Set the weight-transfer engine of `weight_transfer_backend` up, once."""

    async def start_weight_update(self) -> None:
        """The first of the calls of an update."""

    async def update_weights(self, update_info: Mapping[str, Any]) -> None:
        """Some of the weights, or all."""

    async def finish_weight_update(self, version: int) -> None:
        """All weights are there; later tokens carry `version`."""

    async def set_weight_version(self, version: int) -> None:
        """Later tokens carry `version`; the weights stay."""

    async def reset_prefix_cache(self) -> None:
        """Forget all cached keys and values, those of running requests too: they are computed again."""

    async def add_adapter(self, adapter: Adapter) -> None:
        """Load an adapter, in place of the one under its number if there is one."""

    async def collective_rpc(self, method: str, **kwargs: Any) -> list[Any]:
        """Call a method of vLLM's worker by name; the answers of all workers."""

    async def num_unfinished(self) -> int:
        """Requests that run or wait in the engine."""

    async def sleep(self) -> None:
        """Give the accelerator's memory back, level 1: weights wait in main memory. On a CPU nothing is freed."""

    async def wake(self, tags: tuple[str, ...] | None = None) -> None:
        """Take the memory again; `tags` may be "weights" or "kv_cache"."""

    def close(self) -> None:
        """End all processes of the engine and remove their files. Calling it twice is harmless."""
