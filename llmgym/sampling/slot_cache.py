"""Keys and values of many running sequences, one slot each, in the form that transformers models ask for."""

from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError


class SlotCache:
    """A key-value cache with one row a slot; rows have lengths of their own.

    A forward pass is announced by `begin`; the model then calls `update` once a layer. What lies behind a row's
    length is never attended to, so it needs no clearing.

    Args:
        num_slots: rows.
        num_layers: attention layers of the model.
    """

    def __init__(self, num_slots: int, num_layers: int) -> None:
        self.num_slots = num_slots
        self._keys: list[Tensor | None] = [None] * num_layers
        self._values: list[Tensor | None] = [None] * num_layers
        self._capacity = 0
        self._is_prefix = False
        self._rows, self._positions, self._length = torch.empty(0), torch.empty(0), 0

    def begin(self, rows: Tensor, positions: Tensor, length: int) -> None:
        """Announce a forward pass.

        Args:
            rows: slot of each batch row, int64[n], increasing.
            positions: where each new token is written, int64[n, q].
            length: positions that the pass attends to.
        """
        self._rows, self._positions, self._length = rows[:, None], positions, length
        self._is_prefix = int(rows[-1]) + 1 == len(rows)
        if length > self._capacity:
            self._grow(length)

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write one layer's new keys and values, each [n, heads, q, width]; return all, [n, heads, length, width]."""
        stored_keys, stored_values = self._keys[layer], self._values[layer]
        if stored_keys is None or stored_values is None:
            shape = (self.num_slots, keys.shape[1], self._capacity)
            stored_keys = self._keys[layer] = keys.new_zeros(*shape, keys.shape[3])
            stored_values = self._values[layer] = values.new_zeros(*shape, values.shape[3])
        stored_keys[self._rows, :, self._positions] = keys.transpose(1, 2)
        stored_values[self._rows, :, self._positions] = values.transpose(1, 2)
        rows = slice(len(self._rows)) if self._is_prefix else self._rows[:, 0]
        return stored_keys[rows, :, : self._length], stored_values[rows, :, : self._length]

    def copy(self, source: int, targets: list[int], length: int) -> None:
        """Give the slots `targets` the first `length` positions of the slot `source`."""
        for stored in (*self._keys, *self._values):
            if stored is not None:
                stored[targets, :, :length] = stored[source, :, :length].clone()

    def _grow(self, length: int) -> None:
        capacity = max(64, self._capacity)
        while capacity < length:
            capacity *= 2
        for tensors in (self._keys, self._values):
            for layer, stored in enumerate(tensors):
                if stored is not None:
                    larger = stored.new_zeros(*stored.shape[:2], capacity, stored.shape[3])
                    larger[:, :, : self._capacity] = stored
                    tensors[layer] = larger
        self._capacity = capacity


def require_full_attention(config: Any) -> None:
    """Refuse models whose layers forget: a slot keeps every position.

    Raises:
        ConfigError: the model has sliding-window, linear or recurrent layers.
    """
    text_config = config.get_text_config() if hasattr(config, "get_text_config") else config
    kinds = set(getattr(text_config, "layer_types", None) or ["full_attention"])
    window = getattr(text_config, "sliding_window", None) if getattr(text_config, "use_sliding_window", True) else None
    if kinds != {"full_attention"} or (window is not None and not getattr(text_config, "layer_types", None)):
        raise ConfigError(
            f"The torch sampler runs models with full attention in every layer, but {type(config).__name__} has "
            f"{sorted(kinds - {'full_attention'}) or 'a sliding window'}. Use the sampler 'vllm' for this model."
        )
