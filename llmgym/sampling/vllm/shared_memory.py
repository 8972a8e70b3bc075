"""Weights in memory that the learner's process shares with vLLM's: written once, read where they lie."""

import asyncio
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from ...errors import SamplerError
from ..sampler import WeightSource
from .engines import Engine

_ALIGNMENT = 64
"""Bytes that each weight's place is a multiple of."""

Place = tuple[str, str, list[int], int]
"""Name, data type, shape and first byte of a weight."""


class SharedMemory:
    """Bytes that other processes of this user can map by `path`. They are gone with the last process that maps them.

    On Linux there is no file anywhere, so that none can be left behind; elsewhere a file among the temporary ones.

    Raises:
        SamplerError: there is not so much memory.
    """

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes, self._file = num_bytes, ""
        if hasattr(os, "memfd_create"):
            self._descriptor = os.memfd_create("llmgym-weights")
            self.path = f"/proc/{os.getpid()}/fd/{self._descriptor}"
        else:
            self._descriptor, self.path = tempfile.mkstemp(prefix="llmgym-weights-")
            self._file = self.path
        try:
            # Room that is only promised would end the process at the first write where there is none.
            os.posix_fallocate(self._descriptor, 0, num_bytes)
            self.bytes_N: Tensor = torch.from_file(self.path, shared=True, size=num_bytes, dtype=torch.uint8)
        except OSError as error:
            self.close()
            raise SamplerError(
                f"{num_bytes:,} bytes of shared memory are needed to hand the weights to vLLM: {error.strerror}. "
                "Free some, or set the sampler's weight_transfer to one that needs none."
            ) from error

    def close(self) -> None:
        """Give it back, as soon as nobody maps it. Calling it twice is harmless."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
            self.bytes_N = torch.empty(0, dtype=torch.uint8)
        if self._file:
            with suppress(FileNotFoundError):
                os.unlink(self._file)


class MemoryTransfer:
    """Hands weights to any vLLM of this machine.

    One copy of them stays in the shared memory, in the engine's data type: an engine that is started anew gets exactly
    what the old one had, whatever the learner has done since.

    Args:
        dtype: of the engine's weights, such as "bfloat16".
    """

    vllm_backend = "llmgym"

    def __init__(self, *, dtype: str) -> None:
        self._dtype = dtype
        self._memory: SharedMemory | None = None
        self._places: list[Place] = []
        self._views: dict[str, Tensor] = {}
        """Of the memory, one at each place."""
        self._reader: Engine | None = None
        self.num_bytes = 0

    async def prepare(self, source: WeightSource) -> None:
        """Copy the weights; the engine goes on meanwhile."""
        places = plan_places(source.shapes(), self._dtype)
        _, dtype, shape, start = places[-1]
        self.num_bytes = start + num_bytes_of(dtype, shape)
        if self._memory is None or self._memory.num_bytes != self.num_bytes:
            self.close()
            self._memory = SharedMemory(self.num_bytes)
        if places != self._places or not self._views:
            self._places, self._views = places, dict(_views(self._memory.bytes_N, places))
        await asyncio.to_thread(self._write, source, self._views)

    def _write(self, source: WeightSource, views: Mapping[str, Tensor]) -> None:
        for name, tensor in source:
            views[name].copy_(tensor)

    async def deliver(self, engine: Engine, *, version: int) -> None:
        """The three calls of an update, for what `prepare` copied."""
        assert self._memory is not None
        if self._reader is not engine:
            await engine.init_weight_transfer({"path": self._memory.path, "num_bytes": self._memory.num_bytes})
            self._reader = engine
        await engine.start_weight_update()
        await engine.update_weights({"entries": self._places})
        await engine.finish_weight_update(version)

    def close(self) -> None:
        """Give the shared memory back."""
        if self._memory is not None:
            self._memory.close()
        self._memory = self._reader = None
        self._views = {}


def _views(bytes_N: Tensor, places: list[Place]) -> Iterator[tuple[str, Tensor]]:
    for name, dtype, shape, start in places:
        yield name, bytes_N[start : start + num_bytes_of(dtype, shape)].view(getattr(torch, dtype)).view(shape)


def plan_places(shapes: Mapping[str, tuple[str, tuple[int, ...]]], dtype: str) -> list[Place]:
    """Where each weight goes.

    Matrices are handed on in the engine's data type, which may halve the bytes. Vectors, such as norms, stay as they
    are: engines keep some of them at a higher precision than `dtype`, and convert the others themselves.
    """
    places, start = [], 0
    for name, (own_dtype, shape) in shapes.items():
        sent = dtype if len(shape) > 1 and getattr(torch, own_dtype).is_floating_point else own_dtype
        places.append((name, sent, list(shape), start))
        start += -num_bytes_of(sent, shape) % _ALIGNMENT + num_bytes_of(sent, shape)
    return places


def num_bytes_of(dtype: Any, shape: Any) -> int:
    """Of a tensor of this data type, given itself or by name."""
    element: torch.dtype = getattr(torch, dtype) if isinstance(dtype, str) else dtype
    return torch.Size(shape).numel() * element.itemsize
