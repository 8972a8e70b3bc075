"""Models run on packed segments: whether one can be, how its attention then goes, and the run itself."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import ConfigError
from ..sampling.sending import sent
from .flex import FlexAttention, why_not_flex
from .packing import PackedSegments, Way

_ATTENTION = "llmgym_packed"
_HARMLESS = {"dropout", "is_causal", "position_ids", "use_cache"}
"""What transformers says to attention that changes nothing here: a policy has no dropout, and the packing knows who
sees whom."""


class AttentionShape(NamedTuple):
    """Of what attention is given."""

    heads: int
    key_heads: int
    width: int
    value_width: int


class _Attention(Protocol):
    def __call__(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """[1, heads, N, width] of each in, [1, N, heads, width] out; keys and values may have fewer heads."""


def way_to_pack(
    shapes: frozenset[AttentionShape] | None, asked: Literal["auto", "padded", "tables", "flex"], weight: Tensor
) -> Way | None:
    """How to run a model on packed segments; None: not at all.

    Args:
        shapes: of `packable_attention`.
        asked: `ComputeConfig.attention`.
        weight: one of the model's, for type and device.

    Raises:
        ConfigError: what is asked for cannot be.
    """
    if asked == "padded" or (asked == "auto" and shapes is None):
        return None
    if shapes is None:
        raise ConfigError(
            f"learner.compute.attention is {asked!r}, but the attention of this model is not of the plain kind, which "
            'alone can be packed. Leave it out, or set "padded".'
        )
    if asked == "tables" or (asked == "auto" and weight.device.type != "cuda"):
        return "tables"
    reasons = [why_not_flex(*shape, weight.dtype, weight.device) for shape in sorted(shapes)]
    if not any(reasons):
        return "flex"
    if asked == "flex":
        raise ConfigError(
            "learner.compute.attention is 'flex', but flex_attention does not run here: "
            f'{next(filter(None, reasons))}. Leave it out, or set "tables".'
        )
    warnings.warn(
        "Attention goes in tables, which takes more memory and time on a GPU, as flex_attention does not run here: "
        f"{next(filter(None, reasons))}",
        stacklevel=2,
    )
    return "tables"


def packable_attention(base: Any) -> frozenset[AttentionShape] | None:
    """What a transformers model's attention is given, if packed segments have the same hidden states, tried on a few
    tokens; else None."""
    config: Any = getattr(base, "config", None)
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    transformers = sys.modules.get("transformers")  # where it is not imported, nothing can be a model of it
    if transformers is None or not has_full_attention(config):
        return None
    transformers.AttentionInterface.register(_ATTENTION, _packed_attention)
    try:
        return _shapes_if_exact(base, config)
    except Exception:  # whatever a model does not like about it, it can be run as usual
        return None


def has_full_attention(config: Any) -> bool:
    """Whether each token of a model with these settings attends to all before it, in every layer."""
    kinds = getattr(config, "layer_types", None) or ["full_attention"]
    has_window = getattr(config, "sliding_window", None) is not None and getattr(config, "use_sliding_window", True)
    return {*kinds} == {"full_attention"} and not has_window


@torch.no_grad()
def _shapes_if_exact(base: Any, config: Any) -> frozenset[AttentionShape] | None:
    rng, longest = np.random.default_rng(0), min(40, getattr(config, "max_position_embeddings", None) or 40)
    lengths = np.array([longest, longest // 2, longest - 1, 3, longest // 3, longest])
    input_ids = rng.integers(0, config.vocab_size, (len(lengths), longest))
    input_ids[1:3, : longest // 4] = input_ids[0, : longest // 4]
    packed = PackedSegments(input_ids, lengths, np.array([longest // 4] * 3 + [2, 1, longest // 2]))
    mask = torch.arange(longest) < torch.from_numpy(lengths)[:, None]
    segments, positions = mask.nonzero().numpy().T
    device = next(base.parameters()).device
    inputs = {"input_ids": torch.from_numpy(input_ids).to(device), "attention_mask": mask.long().to(device)}
    expected = base(**inputs, use_cache=False).last_hidden_state[mask.to(device)]
    attention = _Noting(_Tables(packed, device))
    found = _run(base, packed, attention)[torch.from_numpy(packed.places(segments, positions)).to(device)]
    gap, spread = (found - expected).abs().float(), expected.float().std()
    # Roundings of half precision add up over the layers, and the largest of them are as large as anything.
    is_half = expected.dtype not in (torch.float32, torch.float64)
    is_exact = bool(gap.mean() <= 0.1 * spread) if is_half else bool(gap.max() <= 1e-4 * spread)
    return frozenset(attention.shapes) or None if is_exact else None  # none where the model has attention of its own


def packed_states(base: Any, packed: PackedSegments, way: Way) -> Tensor:
    """Hidden states of each token of the row, [N, hidden size], at least; differentiable."""
    device = next(base.parameters()).device
    if way == "tables":
        return _run(base, packed, _Tables(packed, device))
    return _run(base, packed, FlexAttention(packed.prompt_sizes, packed.rest_sizes, packed.prompt_of_rest, device))


def _run(base: Any, packed: PackedSegments, attention: _Attention) -> Tensor:
    device, num_more = next(base.parameters()).device, getattr(attention, "length", len(packed.ids)) - len(packed.ids)
    ids, positions = (sent(np.pad(array, (0, num_more)), device)[None] for array in (packed.ids, packed.positions))
    with _own_attention(base):
        outputs = base(input_ids=ids, position_ids=positions, use_cache=False, packed_attention=attention)
    return cast("Tensor", outputs.last_hidden_state)[0]


@contextlib.contextmanager
def _own_attention(base: Any) -> Iterator[None]:
    config = base.config.get_text_config()
    usual, config._attn_implementation = config._attn_implementation, _ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = usual


def same_attention_again(base: Any) -> Callable[[], tuple[AbstractContextManager[None], AbstractContextManager[None]]]:
    """For `torch.utils.checkpoint`: what ran with packed attention does so too when it is computed again, by when the
    model is back at its usual one."""

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        is_own = base.config.get_text_config()._attn_implementation == _ATTENTION
        return nullcontext(), _own_attention(base) if is_own else nullcontext()

    return contexts


class _Noting:
    """Attention that notes the shapes of what it is given."""

    def __init__(self, attention: _Attention) -> None:
        self._attention = attention
        self.shapes: set[AttentionShape] = set()

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        self.shapes.add(AttentionShape(query.shape[1], key.shape[1], query.shape[3], value.shape[3]))
        return self._attention(query, key, value, scale)


class _Rows:
    """Pieces of a row of tokens, one behind the other, as a right-padded table."""

    def __init__(self, sizes: np.ndarray, device: torch.device) -> None:
        self.num_tokens, self.num_rows, self.longest = int(sizes.sum()), len(sizes), int(sizes.max(initial=0))
        self.sizes = sent(sizes, device)
        self.is_full = self.num_tokens == self.num_rows * self.longest
        place, starts = np.arange(self.longest), sizes.cumsum() - sizes
        is_real = place < sizes[:, None]
        self._table = sent(np.where(is_real, starts[:, None] + place, 0).ravel(), device)
        self._real = sent(np.flatnonzero(is_real), device)

    def table(self, flat: Tensor) -> Tensor:
        """[tokens, heads, width] as [rows, heads, longest, width]; padding is not zero."""
        table = flat if self.is_full else flat.index_select(0, self._table)
        return table.view(self.num_rows, self.longest, *flat.shape[1:]).transpose(1, 2)

    def flat(self, table: Tensor) -> Tensor:
        """The inverse of `table`."""
        flat = table.transpose(1, 2).flatten(0, 1)
        return flat if self.is_full else flat.index_select(0, self._real)


class _Tables:
    """Attention of prompts to themselves, of what follows to its prompt and itself, never to what comes later."""

    def __init__(self, packed: PackedSegments, device: torch.device) -> None:
        self._prompts, self._rests = _Rows(packed.prompt_sizes, device), _Rows(packed.rest_sizes, device)
        self._prompt_index = sent(packed.prompt_of_rest, device)

    @cached_property
    def _mask(self) -> Tensor:
        """Added to the scores, float32."""
        return torch.zeros(self._is_seen.shape, device=self._is_seen.device).masked_fill_(~self._is_seen, -torch.inf)

    @cached_property
    def _is_seen(self) -> Tensor:
        """bool, of each query of the rest the columns of its prompt and of the rest."""
        device, size = self._prompts.sizes.device, self._rests.longest
        of_rest = torch.ones(size, size, dtype=torch.bool, device=device).tril()[None]
        of_prompt = torch.arange(self._prompts.longest, device=device) < self._prompts.sizes[:, None]
        if self._prompts.is_full:
            of_prompt = of_prompt[:1, None].expand(-1, size, -1)
        else:
            of_prompt = of_prompt[self._prompt_index, None].expand(-1, size, -1)
        return torch.cat([of_prompt, of_rest.expand(len(of_prompt), -1, -1)], dim=-1)[:, None]

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        num_shared, num = query.shape[1] // key.shape[1], self._prompts.num_tokens
        flat = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]

        def attend(query: Tensor, key: Tensor, value: Tensor, **who: Any) -> Tensor:
            if num_shared > 1:
                key, value = key.repeat_interleave(num_shared, 1), value.repeat_interleave(num_shared, 1)
            return F.scaled_dot_product_attention(query, key, value, scale=scale, **who)

        of_prompts = [self._prompts.table(tensor[:num]) for tensor in flat]
        outputs = [self._prompts.flat(attend(*of_prompts, is_causal=True))]
        if self._rests.num_rows:
            own = [self._rests.table(tensor[num:]) for tensor in flat]
            seen = [
                torch.cat([prompt.index_select(0, self._prompt_index), rest], dim=2)
                for prompt, rest in zip(of_prompts[1:], own[1:], strict=True)
            ]
            outputs.append(self._rests.flat(attend(own[0], *seen, attn_mask=self._mask.to(query.dtype))))
        return torch.cat(outputs)[None]


def _packed_attention(
    module: Any,  # noqa: ARG001
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any = None,
    *,
    packed_attention: _Attention,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """As transformers calls it. It makes no mask for attention that it does not know, so one that comes is the model's
    own doing, and may hide anything."""
    given = {"attention_mask": attention_mask, **others}
    unknown = [name for name, value in given.items() if value is not None and name not in _HARMLESS]
    if unknown:
        raise ValueError(f"packed attention knows nothing of {', '.join(unknown)}")
    return packed_attention(query, key, value, scaling), None
