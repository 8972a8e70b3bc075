"""Weights and models as plain bytes, for processes that share memory or an object store."""

import io
import pickle
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .sampler import WeightSource

CHUNK_BYTES = 256 * 2**20
"""Weights that are copied to the CPU at once; a single larger tensor is a chunk of its own."""


@dataclass(eq=False)
class WeightChunk:
    """Some of the weights. Tensors that are one under several names are there once."""

    names: list[tuple[str, ...]] = field(default_factory=list)
    dtypes: list[str] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    arrays: list[np.ndarray] = field(default_factory=list)
    """uint8, the bytes of each."""

    @property
    def num_bytes(self) -> int:
        """Of all arrays."""
        return sum(array.nbytes for array in self.arrays)


def packed(weights: Iterable[tuple[str, Tensor]], *, chunk_bytes: int = CHUNK_BYTES) -> Iterator[WeightChunk]:
    """Named tensors, on whatever device, in chunks of about so many bytes."""
    chunk, seen = WeightChunk(), dict[tuple[int, torch.Size], tuple[int, Tensor]]()
    for name, tensor in weights:
        place = (tensor.data_ptr(), tensor.shape)
        if place in seen:
            index, _ = seen[place]
            chunk.names[index] += (name,)
            continue
        seen[place] = len(chunk.names), tensor  # kept, or its memory might soon be another tensor's
        chunk.names.append((name,))
        chunk.dtypes.append(str(tensor.dtype).removeprefix("torch."))
        chunk.shapes.append(tuple(tensor.shape))
        chunk.arrays.append(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        if chunk.num_bytes >= chunk_bytes:
            yield chunk
            chunk, seen = WeightChunk(), {}
    if chunk.names:
        yield chunk


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightUpdate:
    """What a sampler is told of new weights; their chunks come beside it."""

    version: int
    adapter_config: Mapping[str, Any] | None
    """Of an adapter, as peft has it; None: these are all weights."""
    num_chunks: int


@dataclass(eq=False)
class PackedWeights:
    """Chunks as a `WeightSource`. The tensors share the memory of the chunks and must not be written to."""

    chunks: Sequence[WeightChunk]
    adapter_config: Mapping[str, Any] | None = None
    """Of an adapter; None: these are all weights."""
    is_adapter: bool = field(init=False)

    def __post_init__(self) -> None:
        self.is_adapter = self.adapter_config is not None

    def shapes(self) -> Mapping[str, tuple[str, tuple[int, ...]]]:
        """Data type and shape by name."""
        return {
            name: (dtype, shape)
            for chunk in self.chunks
            for names, dtype, shape in zip(chunk.names, chunk.dtypes, chunk.shapes, strict=True)
            for name in names
        }

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for chunk in self.chunks:
            for names, dtype, shape, array in zip(chunk.names, chunk.dtypes, chunk.shapes, chunk.arrays, strict=True):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", UserWarning)  # that shared memory cannot be written to
                    tensor = torch.from_numpy(array).view(getattr(torch, dtype)).reshape(shape)
                for name in names:
                    yield name, tensor


def all_weights(module: nn.Module) -> PackedWeights:
    """Parameters, and buffers saved or not: with `skeleton`, all that a model is."""
    return PackedWeights(list(packed((name, tensor.detach()) for name, tensor in _tensors(module).items())))


def skeleton(module: nn.Module, pickler: type[pickle.Pickler] = pickle.Pickler) -> bytes:
    """A model without its weights.

    Args:
        module: the model.
        pickler: one that takes classes along which the other process cannot import, where there are any.
    """
    names = {id(tensor): name for name, tensor in reversed(_tensors(module).items())}

    class Pickler(pickler):  # type: ignore[misc, valid-type]
        def persistent_id(self, value: Any) -> tuple[str, bool] | None:
            is_ours = isinstance(value, Tensor) and id(value) in names
            return (names[id(value)], isinstance(value, nn.Parameter)) if is_ours else None

    file = io.BytesIO()
    Pickler(file).dump(module)
    return file.getvalue()


def rebuilt(skeleton: bytes, weights: WeightSource) -> nn.Module:
    """The model of a `skeleton` with copies of its weights, without gradients, on the CPU; what is tied stays tied."""
    tensors = dict(weights)
    made: dict[str, Tensor] = {}

    class Unpickler(pickle.Unpickler):
        def persistent_load(self, place: tuple[str, bool]) -> Tensor:
            name, is_parameter = place
            if name not in made:
                copy = tensors[name].clone()
                made[name] = nn.Parameter(copy, requires_grad=False) if is_parameter else copy
            return made[name]

    module: nn.Module = Unpickler(io.BytesIO(skeleton)).load()
    return module


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Of what is tied, the first name comes first."""
    return {
        **dict(module.named_parameters(remove_duplicate=False)),
        **dict(module.named_buffers(remove_duplicate=False)),
    }
