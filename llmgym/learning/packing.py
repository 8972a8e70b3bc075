"""Segments packed into one row of tokens, without padding, where a prompt that several begin with stands once.

Everything in a transformer but attention works on each token for itself, so it may be given tokens in any order, with
their positions. Attention is then the ordinary one of each segment over its prompt and itself, see `packed_attention`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

Way = Literal["tables", "flex"]
"""How attention goes over a packed row: in right-padded tables of prompts and of what follows them, each with a copy of
its prompt; or by PyTorch's flex_attention, which pads and copies nothing."""

_LEAST_SAVING = 0.1
"""Share of the positions of a padded table that packing must save, and ..."""
_LEAST_POSITIONS = 64
"""... their number: it costs some operations more a layer."""
_MOST_MASKED = 2**27
"""Numbers of a mask of tables; a larger one costs more memory than is saved."""
_LARGEST_TABLE = 4
"""Tables see each prompt as often as there are segments: the padded table may be so many times what the budget for
positions is."""


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
        has_rest = lengths > prompt_lengths
        self.prompt_sizes = np.array([len(prompt) for prompt in distinct])
        """int64[P], of the different prompts."""
        self.rest_sizes = (lengths - prompt_lengths)[has_rest]
        """int64[R], of what follows a prompt, where anything does."""
        self.prompt_of_rest = np.array(prompt_of)[has_rest]
        """int64[R]."""
        self._num_padded = input_ids.size

    def pays(self, way: Way) -> bool:
        """Whether this is less work than the padded table."""
        longest = int(self.rest_sizes.max(initial=0))
        num_masked = len(self.rest_sizes) * longest * (longest + int(self.prompt_sizes.max()))
        return _pays(way, self._num_padded, len(self.ids), num_masked)

    def places(self, segments: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Where positions of segments are in the row."""
        behind = positions - self._prompt_lengths[segments]
        return np.where(behind < 0, self._prompt_starts[segments] + positions, self._rest_starts[segments] + behind)


class Filling:
    """How full a pass is while segments come to it, packed or padded.

    Args:
        budget: positions that it may have.
        way: how it would be packed.
    """

    def __init__(self, budget: int, way: Way) -> None:
        self._budget, self._way = budget, way
        self._prompts: set[bytes] = set()
        self._num_segments = self._num_packed = 0
        self._longest = self._longest_prompt = self._longest_rest = 0

    def take(self, segments: Sequence[tuple[bytes, int]]) -> bool:
        """Add segments, each its int32 prompt and its length, if they fit or are the first; whether it did."""
        prompts = {prompt for prompt, _ in segments} - self._prompts
        rests = [length - len(prompt) // 4 for prompt, length in segments]
        num_segments = self._num_segments + len(segments)
        num_packed = self._num_packed + sum(len(prompt) // 4 for prompt in prompts) + sum(rests)
        longest = max(self._longest, *(length for _, length in segments))
        longest_prompt = max(self._longest_prompt, *(len(prompt) // 4 for prompt, _ in segments))
        longest_rest = max(self._longest_rest, *rests)
        table = num_segments * longest
        if not _pays(self._way, table, num_packed, num_segments * longest_rest * (longest_rest + longest_prompt)):
            fits = table <= self._budget
        else:
            fits = num_packed <= self._budget and (self._way == "flex" or table <= _LARGEST_TABLE * self._budget)
        if not fits and self._num_segments:
            return False
        self._prompts |= prompts
        self._num_segments, self._num_packed, self._longest = num_segments, num_packed, longest
        self._longest_prompt, self._longest_rest = longest_prompt, longest_rest
        return True


def _pays(way: Way, num_padded: int, num_packed: int, num_masked: int) -> bool:
    is_less = num_padded - num_packed >= max(_LEAST_POSITIONS, _LEAST_SAVING * num_padded)
    return is_less and (way == "flex" or num_masked <= _MOST_MASKED)
