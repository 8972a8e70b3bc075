"""Attention over packed segments by PyTorch's flex_attention: one kernel; blocks that nobody sees cost nothing.

Compiled, on GPUs, memory grows with the tokens and not with their square. Uncompiled, as on CPUs, it makes all scores,
and PyTorch refuses the backward pass.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import flex_attention as flex

from ..sampling.sending import sent

_BLOCK = 128
"""Tokens of the blocks that flex_attention skips, computes, or computes and masks."""


class FlexAttention:
    """Who attends to whom: prompts to themselves, what follows to its prompt and itself, never to what comes later.

    Args:
        prompt_sizes: int64[P], tokens of the prompts, which come first in the row.
        rest_sizes: int64[R], of what follows them, next.
        prompt_of_rest: int64[R].
        device: of the model.
    """

    def __init__(
        self, prompt_sizes: np.ndarray, rest_sizes: np.ndarray, prompt_of_rest: np.ndarray, device: torch.device
    ) -> None:
        sizes = np.concatenate([prompt_sizes, rest_sizes])
        num_prompts, num_tokens = len(prompt_sizes), int(sizes.sum())
        self.length = -(-num_tokens // _BLOCK) * _BLOCK
        """Tokens of the row with padding at its end, which sees itself alone: there are only whole blocks."""
        prompts = np.concatenate([np.arange(num_prompts), prompt_of_rest])
        rests = np.concatenate([np.full(num_prompts, -1), np.arange(len(rest_sizes))])
        prompt_of, rest_of = (
            sent(np.repeat([*index, -1], [*sizes, self.length - num_tokens]).astype(np.int32), device)
            for index in (prompts, rests)
        )

        def is_seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:  # noqa: ARG001
            is_own = (rest_of[key] < 0) | (rest_of[key] == rest_of[query])
            return (key <= query) & (prompt_of[key] == prompt_of[query]) & is_own

        some, every = _blocks(sizes, prompts, num_prompts, self.length // _BLOCK)
        self._mask = flex.BlockMask.from_kv_blocks(
            *_as_lists(some & ~every, device),
            *_as_lists(every, device),
            BLOCK_SIZE=_BLOCK,
            mask_mod=is_seen,
            seq_lengths=(self.length, self.length),
        )

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """[1, heads, length, width] of each in, [1, length, heads, width] out; keys and values may have fewer heads."""
        attend = _compiled() if query.is_cuda else flex.flex_attention
        options: dict[str, Any] = {"block_mask": self._mask, "scale": scale}
        outputs = attend(query, key, value, **options, enable_gqa=query.shape[1] != key.shape[1])
        return cast("Tensor", outputs).transpose(1, 2)


def _blocks(sizes: np.ndarray, prompts: np.ndarray, num_prompts: int, num_blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """bool[query blocks, key blocks] twice: where somebody may see something, and where everybody sees everything.

    The first may say too much, as the mask is asked there; the second may say too little.
    """
    some, every = np.zeros((2, num_blocks, num_blocks), dtype=bool)
    stops = sizes.cumsum()
    starts = stops - sizes

    def mark(queries: slice, keys: slice) -> None:
        touched = [slice(span.start // _BLOCK, -(-span.stop // _BLOCK)) for span in (queries, keys)]
        whole = [slice(-(-span.start // _BLOCK), span.stop // _BLOCK) for span in (queries, keys)]
        some[touched[0], touched[1]] = True
        every[whole[0], whole[1]] = True

    for piece, prompt in enumerate(prompts):
        own = slice(int(starts[piece]), int(stops[piece]))
        mark(own, own)
        if piece >= num_prompts:
            mark(own, slice(int(starts[prompt]), int(stops[prompt])))
    if stops[-1] < num_blocks * _BLOCK:
        padding = slice(int(stops[-1]), num_blocks * _BLOCK)
        mark(padding, padding)
    return np.tril(some), np.tril(every, -1)


def _as_lists(table: np.ndarray, device: torch.device) -> tuple[Tensor, Tensor]:
    """Of each row how many columns are True, int32[1, 1, rows]; all columns, those first, int32[1, 1, rows, all]."""
    columns = np.argsort(~table, axis=1, kind="stable")
    numbers, indices = (sent(one.astype(np.int32), device) for one in (table.sum(axis=1), columns))
    return numbers[None, None], indices[None, None]


@lru_cache(maxsize=1)
def _compiled() -> Any:
    # Which tensors need a gradient makes a kernel of its own, and beyond the limit nothing would be compiled.
    options: dict[str, Any] = {"dynamic": True, "fullgraph": True, "recompile_limit": 64}
    return torch.compile(flex.flex_attention, **options)


@lru_cache(maxsize=64)
def why_not_flex(
    heads: int, key_heads: int, width: int, value_width: int, dtype: torch.dtype, device: torch.device
) -> str | None:
    """Why this is not to be used for attention of such a shape, tried on a few hundred tokens; None: it is."""
    generator = torch.Generator().manual_seed(0)
    attention = FlexAttention(np.array([200, 90]), np.array([150, 40, 3]), np.array([0, 0, 1]), device)

    def drawn(heads: int, width: int) -> Tensor:
        tensor = torch.randn(1, attention.length, heads, width, generator=generator).to(device, dtype)
        return tensor.transpose(1, 2).requires_grad_()

    given = [drawn(heads, width), drawn(key_heads, width), drawn(key_heads, value_width)]
    exact = [tensor.detach().double().requires_grad_() for tensor in given]
    gradient = drawn(heads, value_width).transpose(1, 2).detach()
    try:
        with torch.enable_grad():
            found = attention(given[0], given[1], given[2], None)
            expected = _by_definition(exact, attention._mask.mask_mod)
            gradients = torch.autograd.grad(found, given, gradient)
            expected_gradients = torch.autograd.grad(expected, exact, gradient.double())
    except Exception as error:  # the compiler has many ways to fail, and none concerns the run, which has another way
        return " ".join(f"{type(error).__name__}: {error}".split())[:300]
    pairs = zip([found.detach(), *gradients], [expected.detach(), *expected_gradients], strict=True)
    gap = max(float((one.double() - other).abs().max() / other.abs().max()) for one, other in pairs)
    tolerance = 0.01 if dtype.itemsize > 2 else 0.05  # GPUs may multiply float32 in TF32
    return None if gap <= tolerance else f"its results are off by {gap:.1g} of the largest"


def _by_definition(given: list[Tensor], is_seen: Any) -> Tensor:
    place = torch.arange(given[0].shape[2], device=given[0].device)
    mask = is_seen(place, place, place[:, None], place)
    query, key, value = given
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True).transpose(1, 2)
