"""A sampler, and the sessions of others at it: what runs in a sampler actor."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..registry import load_object
from .params import SamplingParams
from .ray_cluster import RayActor, own_host_name
from .remote_session import SessionKey
from .sampler import Completion, Sampler, Session
from .session_wire import Address, WireServer
from .shared_weights import PackedWeights, WeightChunk, WeightUpdate, rebuilt


@dataclass(frozen=True, kw_only=True)
class HostSpec:
    """What a host makes its sampler of."""

    factory: Any
    """Called as a registered sampler is; or where it is found, "package.module:Name"."""
    settings: Mapping[str, Any]
    """Keywords for it, those that a run decides among them."""
    skeleton: bytes | None
    """See `shared_weights.skeleton`; None: there is no model."""
    moves_model: bool
    """The sampler runs the model that it is given, so it belongs on the GPU, where there is one."""
    num_first_chunks: int
    """Of the chunks that come with it, those of the model as it was in the beginning."""
    updates: Sequence[WeightUpdate] = ()
    """Newer weights, whose chunks come after those: nothing, all, an adapter, or all and then an adapter."""
    commands: Sequence[str] = ()
    """What its fellows are told already: `pause`, `sleep`."""


@dataclass(eq=False)
class _Held:
    """The session of one key."""

    session: Session
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    call: "asyncio.Task[Any] | None" = None


class SamplerHost(RayActor):
    """Sessions at one sampler, for clients in other processes; all of it on one event loop."""

    def __init__(self, search_path: Sequence[str] = ()) -> None:
        super().__init__(search_path)
        self._is_ready = asyncio.Event()
        self._held: dict[SessionKey, _Held] = {}
        self._sampler: Sampler
        self._server = WireServer({"sample": self.sample, "fork": self.fork, "end": self.end})
        self._address: Address

    async def start(self, spec: HostSpec, *chunks: WeightChunk) -> dict[str, bool]:
        """Make the sampler, with the newest weights.

        Returns:
            What others must know of it, by name of the attribute.
        """
        module = None
        if spec.skeleton is not None:
            module = rebuilt(spec.skeleton, PackedWeights(chunks[: spec.num_first_chunks]))
            if spec.moves_model and torch.cuda.is_available():
                module.to("cuda")
        threads = int(os.environ.get("OMP_NUM_THREADS", "0"))
        if threads:
            torch.set_num_threads(threads)  # torch may have been imported before Ray said how many
        factory = load_object(spec.factory) if isinstance(spec.factory, str) else spec.factory
        self._sampler = factory(module, **spec.settings)
        await self._tell(spec.updates, spec.commands, chunks[spec.num_first_chunks :])
        self._address = await self._server.open(own_host_name())
        self._is_ready.set()
        return {name: getattr(self._sampler, name, False) for name in ("sees_text", "takes_adapters")}

    async def sample(self, key: SessionKey, seed: int, prompt_ids: np.ndarray, params: SamplingParams) -> Completion:
        """As `Session.sample`; the first call of a key opens its session."""
        held = await self._open(key, seed)
        held.call = asyncio.ensure_future(held.session.sample(prompt_ids.tolist(), params))
        completion: Completion = await held.call
        return completion

    async def fork(self, key: SessionKey, seed: int, fork_key: SessionKey) -> None:
        """As `Session.fork`; later calls name it by `fork_key`."""
        held = await self._open(key, seed)
        self._held[fork_key] = _Held(held.session.fork())

    async def end(self, key: SessionKey) -> None:
        """Give up what the session is sampling, and its place."""
        held = self._held.pop(key, None)
        if held is None:
            return
        if held.call is not None and not held.call.done():
            held.call.cancel()
            with suppress(asyncio.CancelledError):
                await held.call
        await held.stack.aclose()

    async def end_client(self, client: str) -> None:
        """End all sessions of a client that is gone."""
        for key in [key for key in self._held if key[0] == client]:
            await self.end(key)

    async def tell(self, updates: Sequence[WeightUpdate], commands: Sequence[str], *chunks: WeightChunk) -> None:
        """Give the sampler newer weights, one after the other, and have it `pause`, `resume`, `sleep` or `wake`."""
        await self._is_ready.wait()
        await self._tell(updates, commands, chunks)

    async def figures(self) -> tuple[float, dict[str, int]]:
        """The sampler's `seconds` and `counts`."""
        await self._is_ready.wait()
        return self._sampler.seconds, dict(getattr(self._sampler, "counts", {}))

    async def address(self) -> Address:
        """Where `sample`, `fork` and `end` can be called through a socket."""
        await self._is_ready.wait()
        return self._address

    async def forever(self) -> None:
        """Never answers: whoever waits for it hears from Ray when this actor is lost."""
        await asyncio.Event().wait()

    async def close(self) -> None:
        """As the sampler's."""
        self._server.close()
        for key in list(self._held):
            await self.end(key)
        if self._is_ready.is_set():
            await self._sampler.close()

    async def _tell(
        self, updates: Sequence[WeightUpdate], commands: Sequence[str], chunks: Sequence[WeightChunk]
    ) -> None:
        for update in updates:
            own, chunks = chunks[: update.num_chunks], chunks[update.num_chunks :]
            await self._sampler.update_weights(PackedWeights(own, update.adapter_config), version=update.version)
        for command in commands:
            await getattr(self._sampler, command)()

    async def _open(self, key: SessionKey, seed: int) -> _Held:
        await self._is_ready.wait()
        if key not in self._held:
            stack = AsyncExitStack()
            # Entered before anything is awaited that others could run beside: calls of one client come in order.
            session = await stack.enter_async_context(self._sampler.session(seed=seed))
            self._held[key] = _Held(session, stack)
        return self._held[key]
