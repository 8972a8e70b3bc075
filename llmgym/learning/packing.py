"""Segments packed into one row of tokens, without padding, where a prompt that several begin with stands once.

Everything in a transformer but attention works on each token for itself, so it may be given tokens in any order, with
their positions. Attention is then the ordinary one of each segment over its prompt and itself.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_ATTENTION = "llmgym_packed"
_LEAST_SAVING = 0.1
"""Share of the positions of a padded table that packing must save, and ..."""
_LEAST_POSITIONS = 64
"""... their number: it costs some operations more a layer."""
_MOST_MASKED = 2**27
"""Numbers of a mask; a larger one costs more memory than is saved."""
_LARGEST_TABLE = 4
"""Attention still sees each prompt as often as there are segments: the padded table may be so many times what the
budget for positions is."""


class PackedSegments:
    """Where the tokens of S segments are in one row: all different prompts, then what follows them in each segment.

    Args:
        input_ids: int64[S, T], right-padded.
        lengths: int64[S].
        prompt_lengths: int64[S], at least 1: tokens before the first that the policy sampled.
    """

    def __init__(self, input_ids: np.ndarray, lengths: np.ndarray, prompt_lengths: np.ndarray) -> None:
        index_of: dict[bytes, int] = {}
        prompts = [ids[:length] for ids, length in zip(input_ids, prompt_lengths, strict=True)]
        prompt_of = [index_of.setdefault(prompt.tobytes(), len(index_of)) for prompt in prompts]
        distinct = [prompts[prompt_of.index(index)] for index in range(len(index_of))]
        rests = [ids[start:stop] for ids, start, stop in zip(input_ids, prompt_lengths, lengths, strict=True)]
        self.ids = np.concatenate([*distinct, *rests])
        """int64[N]."""
        starts = np.cumsum([0, *map(len, distinct), *map(len, rests)])
        self._prompt_lengths, self._prompt_starts = prompt_lengths, starts[prompt_of]
        self._rest_starts = starts[len(distinct) : -1]
        self.positions = np.concatenate(
            [np.arange(len(prompt)) for prompt in distinct]
            + [np.arange(start, stop) for start, stop in zip(prompt_lengths, lengths, strict=True)]
        )
        """int64[N], of each token in its segment."""
        self._has_rest = lengths > prompt_lengths
        self.prompt_sizes = np.array([len(prompt) for prompt in distinct])
        self.rest_sizes = (lengths - prompt_lengths)[self._has_rest]
        self.prompt_of_rest = np.array(prompt_of)[self._has_rest]
        self._num_padded = input_ids.size

    def pays(self) -> bool:
        """Whether this is less work than the padded table."""
        num_masked = _num_masked(self.rest_sizes.tolist(), self.prompt_sizes.tolist())
        return _pays(self._num_padded, len(self.ids), num_masked)

    def places(self, segments: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Where positions of segments are in the row."""
        behind = positions - self._prompt_lengths[segments]
        return np.where(behind < 0, self._prompt_starts[segments] + positions, self._rest_starts[segments] + behind)


def is_within(budget: int, segments: Sequence[tuple[bytes, int]]) -> bool:
    """Whether segments, each its int32 prompt and its length, take at most `budget` positions, packed or padded."""
    table = len(segments) * max(length for _, length in segments)
    prompts = {prompt: len(prompt) // 4 for prompt, _ in segments}
    rests = [length - prompts[prompt] for prompt, length in segments]
    num_positions, num_masked = sum(prompts.values()) + sum(rests), _num_masked(rests, prompts.values())
    if not _pays(table, num_positions, num_masked):
        return table <= budget
    return num_positions <= budget and table <= _LARGEST_TABLE * budget


def _pays(num_padded: int, num_packed: int, num_masked: int) -> bool:
    is_less = num_padded - num_packed >= max(_LEAST_POSITIONS, _LEAST_SAVING * num_padded)
    return is_less and num_masked <= _MOST_MASKED


def _num_masked(rests: Sequence[int], prompts: Iterable[int]) -> int:
    return len(rests) * max(rests, default=0) * (max(rests, default=0) + max(prompts))


def can_pack(base: Any) -> bool:
    """Whether a transformers model gives the same hidden states of packed segments, tried on a few tokens."""
    config: Any = getattr(base, "config", None)
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    kinds = getattr(config, "layer_types", None) or ["full_attention"]
    has_window = getattr(config, "sliding_window", None) is not None and getattr(config, "use_sliding_window", True)
    transformers = sys.modules.get("transformers")  # where it is not imported, nothing can be a model of it
    if transformers is None or {*kinds} != {"full_attention"} or has_window:
        return False
    transformers.AttentionInterface.register(_ATTENTION, _packed_attention)
    try:
        return _is_exact(base)
    except Exception:  # whatever a model does not like about it, it can be run as usual
        return False


@torch.no_grad()
def _is_exact(base: Any) -> bool:
    width = base.config.get_text_config().vocab_size
    input_ids = np.array([[5, 7, 2, 9, 0], [5, 7, 4, 8, 6], [3, 1, 2, 0, 0]]) % width
    lengths = np.array([4, 5, 3])
    packed = PackedSegments(input_ids, lengths, np.array([2, 2, 1]))
    mask = torch.arange(5) < torch.from_numpy(lengths)[:, None]
    segments, positions = mask.nonzero().numpy().T
    device = next(base.parameters()).device
    inputs = {"input_ids": torch.from_numpy(input_ids).to(device), "attention_mask": mask.long().to(device)}
    expected = base(**inputs, use_cache=False).last_hidden_state[mask.to(device)]
    states = packed_states(base, packed)[torch.from_numpy(packed.places(segments, positions)).to(device)]
    tolerance = 1e-4 if expected.dtype in (torch.float32, torch.float64) else 0.05
    return bool((states - expected).abs().max() <= tolerance * expected.float().std())


def packed_states(base: Any, packed: PackedSegments) -> Tensor:
    """Hidden states of each token of the row, [N, hidden size]; differentiable."""
    device = next(base.parameters()).device
    ids, positions = (torch.from_numpy(array).to(device)[None] for array in (packed.ids, packed.positions))
    with _own_attention(base):
        attention = _PackedAttention(
            _Rows(packed.prompt_sizes, device), _Rows(packed.rest_sizes, device), packed.prompt_of_rest
        )
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


class _Rows:
    """Pieces of a row of tokens, one behind the other, as a right-padded table."""

    def __init__(self, sizes: np.ndarray, device: torch.device) -> None:
        self.num_tokens, self.num_rows, self.longest = int(sizes.sum()), len(sizes), int(sizes.max(initial=0))
        self.sizes = torch.from_numpy(sizes).to(device)
        self.is_full = self.num_tokens == self.num_rows * self.longest
        place = torch.arange(self.longest, device=device)
        is_real = place < self.sizes[:, None]
        starts = self.sizes.cumsum(0) - self.sizes
        self._table = torch.where(is_real, starts[:, None] + place, 0).flatten()
        self._real = is_real.flatten().nonzero()[:, 0]

    def table(self, flat: Tensor) -> Tensor:
        """[tokens, heads, width] as [rows, heads, longest, width]; padding is not zero."""
        table = flat if self.is_full else flat.index_select(0, self._table)
        return table.view(self.num_rows, self.longest, *flat.shape[1:]).transpose(1, 2)

    def flat(self, table: Tensor) -> Tensor:
        """The inverse of `table`."""
        flat = table.transpose(1, 2).flatten(0, 1)
        return flat if self.is_full else flat.index_select(0, self._real)


@dataclass
class _PackedAttention:
    """Who attends to whom: prompts to themselves, what follows to its prompt and itself, never to what comes later."""

    prompts: _Rows
    rests: _Rows
    prompt_of_rest: np.ndarray

    @cached_property
    def _prompt_index(self) -> Tensor:
        return torch.from_numpy(self.prompt_of_rest).to(self.prompts.sizes.device)

    @cached_property
    def _mask(self) -> Tensor:
        """Added to the scores, float32."""
        return torch.zeros(self._is_seen.shape, device=self._is_seen.device).masked_fill_(~self._is_seen, -torch.inf)

    @cached_property
    def _is_seen(self) -> Tensor:
        """bool, of each query of the rest the columns of its prompt and of the rest."""
        device, size = self.prompts.sizes.device, self.rests.longest
        of_rest = torch.ones(size, size, dtype=torch.bool, device=device).tril()[None]
        of_prompt = torch.arange(self.prompts.longest, device=device) < self.prompts.sizes[:, None]
        if self.prompts.is_full:
            of_prompt = of_prompt[:1, None].expand(-1, size, -1)
        else:
            of_prompt = of_prompt[self._prompt_index, None].expand(-1, size, -1)
        return torch.cat([of_prompt, of_rest.expand(len(of_prompt), -1, -1)], dim=-1)[:, None]

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, scale: float | None) -> Tensor:
        """Attention of [N, heads, width]; keys may have fewer heads."""
        num_shared = query.shape[1] // key.shape[1]
        num = self.prompts.num_tokens
        queries, keys, values = ((tensor[:num], tensor[num:]) for tensor in (query, key, value))

        def attend(query: Tensor, key: Tensor, value: Tensor, **who: Any) -> Tensor:
            if num_shared > 1:
                key, value = key.repeat_interleave(num_shared, 1), value.repeat_interleave(num_shared, 1)
            return F.scaled_dot_product_attention(query, key, value, scale=scale, **who)

        of_prompts = [self.prompts.table(part[0]) for part in (queries, keys, values)]
        outputs = [self.prompts.flat(attend(*of_prompts, is_causal=True))]
        if self.rests.num_rows:
            own = [self.rests.table(part[1]) for part in (queries, keys, values)]
            seen = [
                torch.cat([prompt.index_select(0, self._prompt_index), rest], dim=2)
                for prompt, rest in zip(of_prompts[1:], own[1:], strict=True)
            ]
            outputs.append(self.rests.flat(attend(own[0], *seen, attn_mask=self._mask.to(query.dtype))))
        return torch.cat(outputs)


def _packed_attention(
    module: Any,  # noqa: ARG001
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Any = None,  # noqa: ARG001  the packing knows who sees whom
    *,
    packed_attention: _PackedAttention,
    scaling: float | None = None,
    dropout: float = 0.0,  # noqa: ARG001  a policy has none
    is_causal: bool | None = None,  # noqa: ARG001
    **others: Any,
) -> tuple[Tensor, None]:
    """As transformers calls it: [1, heads, N, width] in, [1, N, heads, width] out."""
    unknown = [name for name in ("sliding_window", "softcap", "s_aux") if others.get(name) is not None]
    if unknown:
        raise ValueError(f"packed attention knows nothing of {', '.join(unknown)}")
    flat = [tensor[0].transpose(0, 1) for tensor in (query, key, value)]
    return packed_attention(flat[0], flat[1], flat[2], scaling)[None], None
