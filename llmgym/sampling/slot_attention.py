"""Attention over rows of different lengths, as transformers calls it: no row pays for keys that are far beyond its own.

Models ask transformers for an attention function by name and hand it queries, keys and values, with the window, the
soft cap and the sinks of the layer where there are any. Which rows there are, a `SlotPass` tells that function.
"""

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .slot_cache import SlotCache

CURRENT_PASS: "ContextVar[SlotPass]" = ContextVar("CURRENT_PASS")


class SlotPass:
    """What the attention layers of one forward pass share.

    Args:
        positions: of the queries, int64[n, q]; a query sees the keys at its own position and before.
        buckets: contiguous ranges of rows, and the keys that are looked at for each: (start, stop, length).
        is_prefill: keys are those of the queries alone, position for position.
    """

    def __init__(self, positions: Tensor, buckets: Sequence[tuple[int, int, int]], *, is_prefill: bool = False) -> None:
        self._positions, self.buckets, self.is_prefill = positions, buckets, is_prefill
        self._masks: dict[int | None, Tensor] = {}
        self.windows: list[int | None] = []
        """The sliding window of each attention layer that ran; None where it sees everything."""
        self.beside: tuple[SlotPass, SlotCache] | None = None
        """Rows whose first tokens follow those of this pass in one row of tokens, and where to find its keys."""

    def mask(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """What is added to the scores: 0 where a query sees a key, else minus infinity, [n, 1, q, length]."""
        if window not in self._masks:
            positions = self._positions[:, None, :, None]
            keys = torch.arange(max(length for _, _, length in self.buckets), device=positions.device)
            is_hidden = keys > positions
            if window is not None:
                is_hidden |= keys <= positions - window
            zeros = torch.zeros(is_hidden.shape, dtype=dtype, device=positions.device)
            self._masks[window] = zeros.masked_fill_(is_hidden, -torch.inf)
        return self._masks[window]


def slot_attention(
    module: Any,  # noqa: ARG001
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any = None,  # noqa: ARG001  the pass knows who sees what
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attention of queries [n, heads, q, width] over keys and values [n, key heads, length, width].

    Args:
        module: the attention layer that asks.
        query: of the new tokens.
        key: of all positions that the pass looks at.
        value: of the same.
        attention_mask: not used.
        scaling: of the scores; None: the inverse root of the width.
        sliding_window: each query sees so many positions, its own the last.
        softcap: scores are squashed to this range.
        s_aux: one score for each head that takes its share of the attention and gives nothing.

    Returns:
        [n, q, heads, width], and no weights.
    """
    running = CURRENT_PASS.get()
    running.windows.append(sliding_window)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    options = (scale, sliding_window, softcap, s_aux)
    if running.beside is None:
        return _attend(running, query, key, value, *options), None
    prefill, cache = running.beside
    num_decoded, num_rows = running.buckets[-1][1], prefill.buckets[-1][1]

    def of_rows(flat: Tensor) -> Tensor:
        return flat[0, :, num_decoded:].reshape(flat.shape[1], num_rows, -1, flat.shape[3]).transpose(0, 1)

    keys, values = cache.stored
    decoded = _attend(running, query[0, :, :num_decoded].transpose(0, 1)[:, :, None], keys, values, *options)
    prefilled = _attend(prefill, of_rows(query), of_rows(key), of_rows(value), *options)
    return torch.cat([decoded[:, 0], prefilled.flatten(0, 1)])[None], None


def _attend(
    running: SlotPass,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    window: int | None,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    num_rows, num_heads, num_queries, _width = query.shape
    num_shared = num_heads // key.shape[1]
    if num_queries == 1:
        # Heads that share keys are queries of one head: keys need not be repeated.
        query = query.reshape(num_rows, key.shape[1], num_shared, -1)
    elif num_shared > 1:
        key, value = key.repeat_interleave(num_shared, 1), value.repeat_interleave(num_shared, 1)
    sees_all = window is None or window >= key.shape[2]
    needs_scores = softcap is not None or sinks is not None
    if running.is_prefill and sees_all and not needs_scores:
        out = F.scaled_dot_product_attention(query, key, value, is_causal=num_queries > 1, scale=scale)
    else:
        mask = running.mask(None if sees_all else window, query.dtype)
        parts = []
        for start, stop, length in running.buckets:
            rows = (query[start:stop], key[start:stop, :, :length], value[start:stop, :, :length])
            part = mask[start:stop, :, :, :length]
            if needs_scores:
                parts.append(_attention_by_scores(*rows, part, scale, softcap, sinks))
            else:
                parts.append(F.scaled_dot_product_attention(*rows, attn_mask=part, scale=scale))
        out = parts[0] if len(parts) == 1 else torch.cat(parts)
    if num_queries == 1:
        return out.reshape(num_rows, 1, num_heads, -1)
    return out.transpose(1, 2).contiguous()


def _attention_by_scores(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float, softcap: float | None, sinks: Tensor | None
) -> Tensor:
    scores = query @ key.transpose(-1, -2) * scale
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores + mask
    if sinks is None:
        return scores.softmax(-1, dtype=torch.float32).to(query.dtype) @ value
    # Heads are the second axis, or, where they share keys, the second and third.
    sink = sinks.reshape(1, key.shape[1], -1, 1).expand(*scores.shape[:-1], 1).to(scores.dtype)
    weights = torch.cat([scores, sink], -1).softmax(-1, dtype=torch.float32)[..., :-1]
    return weights.to(query.dtype) @ value
