"""Models that keep more than keys, or keep them in a way of their own: each sequence with a cache of transformers'."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache


class RowModel:
    """A transformers causal LM that runs one sequence after another. Right for many architectures, and slow.

    Args:
        model: in evaluation mode.
        num_slots: sequences held at once.
        max_pass_tokens: prompt tokens computed in one forward pass; more are computed in several.
    """

    max_length: int | None = None

    def __init__(self, model: Any, num_slots: int, *, max_pass_tokens: int) -> None:
        self._model, self._num_slots, self._max_pass_tokens = model, num_slots, max_pass_tokens
        self.forget()

    def forget(self) -> None:
        """Empty all slots, and free their memory."""
        self._caches: dict[int, tuple[Any, int]] = {}
        """By slot: the cache, and how many tokens it has seen."""

    def release(self, slot: int) -> None:
        """What the slot holds is needed no more."""
        self._caches.pop(slot, None)

    def reusable(self, slot: int, num_held: int) -> int:
        """How many of the first `num_held` tokens need not be computed again: all, if the slot holds no others."""
        return num_held if slot in self._caches and self._caches[slot][1] == num_held else 0

    def copy(self, source: int, targets: Sequence[int], length: int) -> None:
        """Give the slots `targets` what the slot `source` holds, which is of the given length."""
        for target in targets:
            self._caches[target] = (copy.deepcopy(self._caches[source][0]), length)

    def next_logits(self, slots: Sequence[int], num_held: Sequence[int], new_ids: Sequence[Sequence[int]]) -> Tensor:
        """Logits of what follows the new tokens, float32 [n, V]; `num_held` are reusable tokens of each slot."""
        return torch.stack([self._next(*row) for row in zip(slots, num_held, new_ids, strict=True)]).float()

    def _next(self, slot: int, num_held: int, ids: Sequence[int]) -> Tensor:
        cache = self._caches[slot][0] if num_held else DynamicCache(config=self._model.config)
        for start in range(0, len(ids), self._max_pass_tokens):
            piece = torch.tensor([ids[start : start + self._max_pass_tokens]], device=self._model.device)
            logits: Tensor = self._model(input_ids=piece, past_key_values=cache, use_cache=True).logits
        self._caches[slot] = (cache, num_held + len(ids))
        return logits[0, -1]
