"""Models over slots: many running sequences, of which only new tokens are computed."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AttentionInterface

from ..errors import ConfigError
from .head import base_and_head
from .plain_decoder import is_plain, is_untouched, plain_states
from .sending import sent
from .slot_attention import CURRENT_PASS, SlotPass, slot_attention
from .slot_cache import SlotCache

_ATTENTION = "llmgym_slots"
AttentionInterface.register(_ATTENTION, slot_attention)

_NUM_BUCKETS = 4
"""Rows are decoded in so many parts of like length; on a processor, where attention to a longer row costs time."""
_NUMBERS_PER_CALL = 50_000
"""Calling attention once more costs about as much as attending to this many numbers."""
_MOVE_COST = 8
"""Moving a number costs about as much as attending to this many."""


class SlotModel:
    """A transformers causal LM over slots. A slot's keys lie in some row; rows that run are kept in order of length.

    Args:
        model: in evaluation mode.
        num_slots: sequences held at once.
        max_pass_tokens: prompt tokens computed in one forward pass; more are computed in several.
        is_mixing: rows that join share a pass with those that run; not for models that unfold what they cached.

    Raises:
        ConfigError: the model has layers that a slot's keys are not enough for.
    """

    def __init__(self, model: Any, num_slots: int, *, max_pass_tokens: int, is_mixing: bool = True) -> None:
        self._model, self._num_slots, self._max_pass_tokens = model, num_slots, max_pass_tokens
        self._is_mixing = is_mixing
        self._text_config = model.config.get_text_config()
        self.max_length = _longest_exact_sequence(self._text_config)
        """Tokens of the longest sequence that the model can be run on; None: no limit."""
        self._windows = _windows(self._text_config)
        # None of both for soft-capped or scaled logits: the whole model knows how.
        self._base, head = base_and_head(model)
        self._has_head = head is not None
        self._num_buckets = _NUM_BUCKETS if model.device.type == "cpu" else 1
        self._positions_per_call = _NUMBERS_PER_CALL // _key_width(self._text_config)
        self._is_plain = False
        self.forget()
        self._is_plain = is_plain(self._base) and not any(self._windows) and self._is_same_without_own_forward()

    def forget(self) -> None:
        """Empty all slots, and free their memory."""
        self._cache = SlotCache(self._num_slots, self._text_config.num_hidden_layers)
        self._row_of = np.arange(self._num_slots)
        self._slot_in = np.arange(self._num_slots)
        self._written = np.zeros(self._num_slots, np.int64)
        """Positions of each slot that hold something."""
        self._waste = 0

    def release(self, slot: int) -> None:
        """What the slot holds is needed no more."""
        self._written[slot] = 0

    def reusable(self, slot: int, num_held: int) -> int:  # noqa: ARG002  any part can be gone back to
        """How many of the first `num_held` tokens of a slot need not be computed again."""
        return num_held

    def copy(self, source: int, targets: Sequence[int], length: int) -> None:
        """Give the slots `targets` the first `length` positions of the slot `source`."""
        rows = self._row_of[list(targets)]
        self._cache.move([int(self._row_of[source])] * len(rows), rows.tolist(), length)
        self._written[list(targets)] = length

    def next_logits(self, slots: Sequence[int], num_held: Sequence[int], new_ids: Sequence[Sequence[int]]) -> Tensor:
        """Logits of what follows the new tokens; their keys and values go into the slots.

        Args:
            slots: n of them.
            num_held: tokens of each slot that count; what lies behind them is forgotten.
            new_ids: for each slot, at least one token.

        Returns:
            float32, shape (n, V).
        """
        for slot, held, ids in zip(slots, num_held, new_ids, strict=True):
            self._written[slot] = held + len(ids)
        ones = [place for place, ids in enumerate(new_ids) if len(ids) == 1]
        many = [place for place, ids in enumerate(new_ids) if len(ids) > 1]
        decoded, prefilled = (
            _Rows([slots[i] for i in some], [num_held[i] for i in some], [new_ids[i] for i in some])
            for some in (ones, many)
        )
        if not many or not ones:
            return self._decode(decoded) if ones else self._prefill(prefilled)
        size = len(ones) + len(many) * max(map(len, prefilled.new_ids))
        if not self._is_mixing or any(prefilled.num_held) or size > self._max_pass_tokens:
            logits = torch.cat([self._decode(decoded), self._prefill(prefilled)])
        else:
            logits = self._decode(decoded, beside=prefilled)
        return logits[sent(np.argsort(ones + many), logits.device)]

    # -- one token for each row --------------------------------------------------------------------------------

    def _decode(self, decoded: "_Rows", *, beside: "_Rows | None" = None) -> Tensor:
        """One new token for each row, and in the same pass the first tokens of rows that join."""
        slots, num_held = np.asarray(decoded.slots), np.asarray(decoded.num_held)
        buckets = self._arrange(slots)
        device, rows = self._model.device, self._row_of[slots]
        num_rows = buckets[-1][1]
        # Rows in between that do not run write behind what they hold, where nobody looks.
        places = self._written[self._slot_in[:num_rows]]
        places[rows] = num_held
        positions, ids = np.zeros(num_rows, np.int64), np.zeros(num_rows, np.int64)
        positions[rows], ids[rows] = num_held, [ids[0] for ids in decoded.new_ids]
        tensors = sent(np.stack([places, positions, ids]), device)
        length, running = int(places.max()) + 1, SlotPass(tensors[1][:, None], buckets)
        wanted = sent(rows, device)
        if beside is None:
            self._cache.begin_decode(tensors[0], length)
            states = self._run(tensors[2][:, None], tensors[1][:, None], running)[:, 0]
            return self._logits(states[wanted])
        joined_ids, sizes = _padded(beside.new_ids, device)
        num_joined, longest = joined_ids.shape
        joined_rows = sent(self._row_of[beside.slots], device)
        joined_positions = torch.arange(longest, device=device).expand(num_joined, -1)
        self._cache.begin_mixed(tensors[0], max(length, longest), joined_rows, longest)
        running.beside = (SlotPass(joined_positions, [(0, num_joined, longest)], is_prefill=True), self._cache)
        ends = (sizes - 1)[:, None]
        all_ids = torch.cat([tensors[2], joined_ids.flatten()])
        all_positions = torch.cat([tensors[1], joined_positions.minimum(ends).flatten()])
        states = self._run(all_ids[None], all_positions[None], running)[0]
        last = num_rows + torch.arange(num_joined, device=device) * longest + ends[:, 0]
        return self._logits(states[torch.cat([wanted, last])])

    def _arrange(self, slots: np.ndarray) -> list[tuple[int, int, int]]:
        """Buckets for these slots, after moving rows where that has become cheaper than what disorder costs.

        Attention to a bucket costs its number of rows times its longest. What the present order costs above the best
        one is added up, step by step, and rows are moved once that sum exceeds the cost of moving them.
        """
        rows, held = self._row_of[slots], self._written[slots]
        lengths = np.zeros(int(rows.max()) + 1, np.int64)
        lengths[rows] = held
        order = np.argsort(-held, kind="stable")
        buckets, best = self._buckets(lengths), self._buckets(held[order])
        self._waste += _cost(buckets) - _cost(best)
        if self._waste <= 4 * self._positions_per_call:  # soon seen, and not worth a closer look
            return buckets
        moved: list[int] = []
        targets: list[int] = []
        for start, stop, _ in best:
            here = slots[order[start:stop]]
            is_placed = (self._row_of[here] >= start) & (self._row_of[here] < stop)
            moved += here[~is_placed].tolist()
            targets += sorted({*range(start, stop)} - {*self._row_of[here[is_placed]].tolist()})
        if moved and self._waste > _MOVE_COST * int(self._written[moved].sum()):
            self._waste = 0
            self._exchange(moved, targets)
            return best
        return buckets

    def _buckets(self, lengths: np.ndarray) -> list[tuple[int, int, int]]:
        """Rows in equal parts, with the longest row of each; parts whose difference is not worth a call are one."""
        size = -(-len(lengths) // self._num_buckets)
        buckets = [(0, min(size, len(lengths)), max(1, int(lengths[:size].max())))]
        for start in range(size, len(lengths), size):
            stop, longest = min(start + size, len(lengths)), max(1, int(lengths[start : start + size].max()))
            first, _, other = buckets[-1]
            shorter = stop - start if longest < other else start - first
            if abs(other - longest) * shorter <= self._positions_per_call:
                buckets[-1] = (first, stop, max(other, longest))
            else:
                buckets.append((start, stop, longest))
        return buckets

    def _exchange(self, moved: list[int], targets: list[int]) -> None:
        """Bring the slots to the rows; what lies there goes where they were."""
        sources = self._row_of[moved].tolist()
        displaced = [slot for slot in self._slot_in[targets].tolist() if slot not in {*moved}]
        moved, targets = moved + displaced, targets + sorted({*sources} - {*targets})
        sources += self._row_of[displaced].tolist()
        is_used, length = self._written[moved] > 0, int(self._written[moved].max())
        self._cache.move(np.array(sources)[is_used].tolist(), np.array(targets)[is_used].tolist(), length)
        self._row_of[moved], self._slot_in[targets] = targets, moved

    # -- many tokens for each row ------------------------------------------------------------------------------

    def _prefill(self, given: "_Rows") -> Tensor:
        """In passes of at most `max_pass_tokens`, padding included; rows that hold nothing apart from the others."""
        todo = list(zip(self._row_of[given.slots].tolist(), given.num_held, given.new_ids, strict=True))
        for place, (row, held, ids) in enumerate(todo):
            while len(ids) > self._max_pass_tokens:  # a long prompt goes alone, piece by piece
                piece, ids = ids[: self._max_pass_tokens], ids[self._max_pass_tokens :]
                self._prefill_pass([(row, held, piece)])
                held += len(piece)
            todo[place] = (row, held, ids)
        order = sorted(range(len(todo)), key=lambda place: (todo[place][1] > 0, len(todo[place][2])))
        passes: list[list[int]] = []
        for place in order:
            _, held, ids = todo[place]
            is_full = not passes or (len(passes[-1]) + 1) * len(ids) > self._max_pass_tokens
            if is_full or (todo[passes[-1][0]][1] > 0) != (held > 0):
                passes.append([])
            passes[-1].append(place)
        logits = torch.cat([self._prefill_pass([todo[place] for place in places]) for places in passes])
        if order == list(range(len(order))):
            return logits
        return logits[sent(np.argsort([place for places in passes for place in places]), logits.device)]

    def _prefill_pass(self, rows_held_ids: Sequence[tuple[int, int, Sequence[int]]]) -> Tensor:
        """One forward pass over the rows, all of which hold something, or none of which does."""
        device = self._model.device
        rows, held, new_ids = zip(*rows_held_ids, strict=True)
        ids, sizes = _padded(new_ids, device)
        longest, starts = ids.shape[1], sent(held, device)
        ends = starts + sizes - 1
        positions, index = starts[:, None] + torch.arange(longest, device=device), sent(rows, device)
        if any(held):
            length = max(held) + longest
            self._cache.begin_extension(index, positions, length)
        else:
            length = longest
            self._cache.begin_prefill(index, longest)
        # Padding takes the position of the row's last token: behind it there may be none in the model.
        running = SlotPass(positions, [(0, len(rows), length)], is_prefill=not any(held))
        states = self._run(ids, positions.minimum(ends[:, None]), running)
        return self._logits(states[torch.arange(len(rows), device=device), ends - starts])

    # -- the model ---------------------------------------------------------------------------------------------

    def _run(self, ids: Tensor, positions: Tensor, running: SlotPass) -> Tensor:
        """Hidden states, or logits where the whole model is needed for them, [n, q, _]."""
        if self._is_plain and is_untouched(self._base):
            with self._own_attention(running):
                return plain_states(self._base, ids, positions, self._cache)
        inputs = {"input_ids": ids, "position_ids": positions, "past_key_values": self._cache, "use_cache": True}
        with self._own_attention(running):
            states: Tensor = self._model(**inputs).logits if self._base is None else self._base(**inputs)[0]
        if running.windows != self._windows:
            raise ConfigError(f"its layers attended to windows of {running.windows}, by its settings {self._windows}")
        return states

    @torch.no_grad()
    def _is_same_without_own_forward(self) -> bool:
        """Whether the layers give the states of the model's forward, for a first token and a second."""
        ids, states = torch.tensor([[1]], device=self._model.device), []
        for self._is_plain in (False, True):
            for place in range(2):
                self._cache.begin_decode(torch.full_like(ids[0], place), place + 1)
                running = SlotPass(torch.full_like(ids, place), [(0, 1, place + 1)])
                try:
                    states.append(self._run(ids + place, torch.full_like(ids, place), running))
                except AttributeError:  # layers of this kind have parts of other names in another version
                    if self._is_plain:
                        return False
                    raise
        self.forget()
        gap = (torch.cat(states[:2]) - torch.cat(states[2:])).abs().max()
        return bool(gap <= 1e-4 * states[1].std())

    def _logits(self, states: Tensor) -> Tensor:
        # Asked for each time: an adapter takes the place of the head that was there.
        logits: Tensor = self._model.get_output_embeddings()(states) if self._has_head else states
        return logits.float()

    @contextlib.contextmanager
    def _own_attention(self, running: SlotPass) -> Iterator[None]:
        """Attention over slots, for one pass: the model may be the learner's too."""
        config, usual = self._text_config, self._text_config._attn_implementation
        token = CURRENT_PASS.set(running)
        config._attn_implementation = _ATTENTION
        try:
            yield
        finally:
            config._attn_implementation = usual
            CURRENT_PASS.reset(token)


@dataclass(frozen=True)
class _Rows:
    """Some of the rows of `next_logits`."""

    slots: list[int]
    num_held: list[int]
    new_ids: list[Sequence[int]]


def _padded(rows: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids with 0 behind those of shorter rows, int64[n, q], and how many there are of each, int64[n]."""
    longest = max(map(len, rows))
    ids = sent([[*row, *[0] * (longest - len(row))] for row in rows], device)
    return ids, sent([len(row) for row in rows], device)


def _cost(buckets: Sequence[tuple[int, int, int]]) -> int:
    return sum((stop - start) * length for start, stop, length in buckets)


def _key_width(text_config: Any) -> int:
    """Numbers of one position's keys in one layer, roughly."""
    num_heads = text_config.num_attention_heads
    num_key_heads = getattr(text_config, "num_key_value_heads", None) or num_heads
    return max(1, int(text_config.hidden_size // num_heads * num_key_heads))


def _windows(text_config: Any) -> list[int | None]:
    """The sliding window of each attention layer; None where it sees everything.

    Raises:
        ConfigError: there are layers of another kind.
    """
    window = getattr(text_config, "sliding_window", None) if getattr(text_config, "use_sliding_window", True) else None
    usual = "full_attention" if window is None else "sliding_attention"
    kinds = getattr(text_config, "layer_types", None) or [usual] * text_config.num_hidden_layers
    if foreign := {*kinds} - {"full_attention", "sliding_attention"}:
        raise ConfigError(f"it has layers of the kinds {sorted(foreign)}")
    return [window if kind == "sliding_attention" else None for kind in kinds]


def _longest_exact_sequence(text_config: Any) -> int | None:
    """Tokens up to which a token's key depends on nothing but the tokens before it; None: there is no limit."""
    rope = getattr(text_config, "rope_parameters", None)
    if not rope:  # learned positions: there are so many and no more
        return getattr(text_config, "max_position_embeddings", None)
    if rope.get("rope_type") not in ("dynamic", "longrope"):
        return None
    # Beyond this length, these two turn the keys of all positions anew, also of those that are cached.
    length = rope.get("original_max_position_embeddings") or getattr(
        text_config, "original_max_position_embeddings", None
    )
    return length or getattr(text_config, "max_position_embeddings", None)
