"""The keys and values of many running sequences, one row each."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .sending import sent

_FIRST_CAPACITY = 64


class SlotCache:
    """A key-value cache for sequences of different lengths: what lies behind a row's length is never attended to.

    A forward pass is announced by one of the `begin_*`; the model then calls `update` once a layer. Layers keep
    [rows, heads, capacity, width]: attention then reads the keys of a head from one piece of memory.

    Args:
        num_rows: sequences.
        num_layers: attention layers of the model.
    """

    def __init__(self, num_rows: int, num_layers: int) -> None:
        self.num_rows = num_rows
        self._keys: list[Tensor | None] = [None] * num_layers
        self._values: list[Tensor | None] = [None] * num_layers
        self._capacity = 0
        self._rows, self._positions = torch.empty(0), torch.empty(0)
        self._places: dict[int, Tensor] = {}
        """Where the new positions lie in a layer of so many heads, int64[n * heads * q]."""
        self._num_new, self._length, self._num_decoded = 0, 0, 0
        self._is_mixed = False
        self.stored: list[Tensor] = []
        """Of a mixed pass: the keys and values of the layer written last, for the rows that get one token each."""
        self._source: Tensor | slice | None = None

    def begin_decode(self, positions: Tensor, length: int) -> None:
        """One new token for each of the first rows.

        Args:
            positions: where they are written, int64[n].
            length: positions that the pass attends to.
        """
        self._begin(torch.arange(len(positions), device=positions.device), positions[:, None], length)
        self._source = slice(len(positions))

    def begin_prefill(self, rows: Tensor, num_new: int) -> None:
        """`num_new` first tokens for each of the given rows, which attend to one another and nothing else."""
        positions = torch.arange(num_new, device=rows.device).expand(len(rows), -1)
        self._begin(rows, positions, num_new)
        self._source = None

    def begin_mixed(self, positions: Tensor, length: int, rows: Tensor, num_new: int) -> None:
        """One new token for each of the first rows, and then `num_new` first tokens for each of the given rows.

        All of them are one row of tokens to the model; what `update` returns is theirs alone, and what the first rows
        look at is in `stored`.
        """
        decoded = torch.arange(len(positions), device=rows.device)
        first = torch.arange(num_new, device=rows.device).expand(len(rows), -1)
        self._begin(
            torch.cat([decoded, rows.repeat_interleave(num_new)]), torch.cat([positions, first.flatten()]), length
        )
        self._source, self._is_mixed, self._num_decoded = None, True, len(positions)

    def begin_extension(self, rows: Tensor, positions: Tensor, length: int) -> None:
        """Further tokens for the given rows, int64[n], at positions int64[n, q], attending to `length` positions."""
        self._begin(rows, positions, length)
        self._source = rows

    def _begin(self, rows: Tensor, positions: Tensor, length: int) -> None:
        self._reserve(length)
        self._rows, self._positions, self._places = rows, positions, {}
        self._num_new, self._length = positions.shape[-1], length
        self._is_mixed = False

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write one layer's new keys and values, each [n, heads, q, width]; return all, [n, heads, length, width]."""
        pairs: list[Tensor] = []
        looked_at: list[Tensor] = []
        for tensors, new in ((self._keys, keys), (self._values, values)):
            stored = tensors[layer]
            if stored is None:
                shape = (self.num_rows, new.shape[1], self._capacity, new.shape[3])
                stored = tensors[layer] = new.new_zeros(shape)
            stored.flatten(0, 2).index_copy_(0, self._places_for(new.shape[1]), new.flatten(0, 2))
            pairs.append(new if self._source is None else stored[self._source, :, : self._length])
            if self._is_mixed:
                looked_at.append(stored[: self._num_decoded, :, : self._length])
        self.stored = looked_at
        return pairs[0], pairs[1]

    def _places_for(self, num_heads: int) -> Tensor:
        if num_heads not in self._places:
            heads = torch.arange(num_heads, device=self._rows.device)
            if self._is_mixed:  # heads first, as they lie in one row of tokens
                places = (self._rows * num_heads + heads[:, None]) * self._capacity + self._positions
            else:
                places = (self._rows[:, None] * num_heads + heads)[:, :, None] * self._capacity
                places = places + self._positions[:, None]
            self._places[num_heads] = places.flatten()
        return self._places[num_heads]

    def get_seq_length(self, layer: int = 0) -> int:  # noqa: ARG002  all are the same
        """Positions before the new ones, for models that ask; rows differ, so it is that of the longest."""
        return self._length - self._num_new

    def move(self, sources: Sequence[int], targets: Sequence[int], length: int) -> None:
        """Give each target row the first `length` positions of its source row, all at once."""
        layers = [stored for stored in (*self._keys, *self._values) if stored is not None]
        if not layers:
            return
        given, taken = (sent([*rows], layers[0].device, torch.int64) for rows in (targets, sources))
        for stored in layers:
            stored[given, :, :length] = stored[taken, :, :length]

    def _reserve(self, length: int) -> None:
        if length <= self._capacity:
            return
        capacity = max(_FIRST_CAPACITY, self._capacity)
        while capacity < length:
            capacity *= 2
        for tensors in (self._keys, self._values):
            for layer, stored in enumerate(tensors):
                if stored is not None:
                    larger = stored.new_zeros(*stored.shape[:2], capacity, stored.shape[3])
                    larger[:, :, : self._capacity] = stored
                    tensors[layer] = larger
        self._capacity = capacity
