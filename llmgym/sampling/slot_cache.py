"""Models over slots: the keys and values of many running sequences, one slot each."""

from collections.abc import Sequence
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
        self._kept: Tensor | None = None

    def begin(self, rows: Tensor, positions: Tensor, length: int, *, kept: Tensor | None = None) -> None:
        """Announce a forward pass.

        Args:
            rows: slot of each batch row, int64[n], increasing.
            positions: where each new token is written, int64[n, q].
            length: positions that the pass attends to.
            kept: the batch rows that are written; the others are computed for nothing. None: all.
        """
        self._is_prefix = int(rows[-1]) + 1 == len(rows)
        self._rows, self._positions, self._length, self._kept = rows[:, None], positions, length, kept
        if length > self._capacity:
            self._grow(length)

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write one layer's new keys and values, each [n, heads, q, width]; return all, [n, heads, length, width]."""
        stored_keys, stored_values = self._keys[layer], self._values[layer]
        if stored_keys is None or stored_values is None:
            shape = (self.num_slots, keys.shape[1], self._capacity)
            stored_keys = self._keys[layer] = keys.new_zeros(*shape, keys.shape[3])
            stored_values = self._values[layer] = values.new_zeros(*shape, values.shape[3])
        if self._kept is None:
            stored_keys[self._rows, :, self._positions] = keys.transpose(1, 2)
            stored_values[self._rows, :, self._positions] = values.transpose(1, 2)
        else:
            place = (self._rows[self._kept], slice(None), self._positions[self._kept])
            stored_keys[place] = keys[self._kept].transpose(1, 2)
            stored_values[place] = values[self._kept].transpose(1, 2)
        rows = slice(len(self._rows)) if self._is_prefix else self._rows[:, 0]
        return stored_keys[rows, :, : self._length], stored_values[rows, :, : self._length]

    def get_seq_length(self, layer: int = 0) -> int:  # noqa: ARG002  all are the same
        """Positions before the new ones, for models that ask; rows differ, so it is that of the longest."""
        return self._length - self._positions.shape[1]

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


class SlotModel:
    """A causal language model that continues the sequences in its slots: only new tokens are computed.

    Whether that gives the model's own logits is tried once, here, on a few tokens.

    Args:
        model: a transformers causal LM, in evaluation mode.
        num_slots: sequences held at once.

    Raises:
        ConfigError: the model's layers forget, or it cannot be run over slots exactly.
    """

    def __init__(self, model: Any, num_slots: int) -> None:
        require_full_attention(model.config)
        self._model, self._num_slots = model, num_slots
        self._text_config = model.config.get_text_config()
        # Eager attention adds its mask to the scores, so there True would mean "a little more" instead of "visible".
        self._adds_mask = getattr(model.config, "_attn_implementation", None) == "eager"
        self.max_length = _longest_exact_sequence(self._text_config)
        """Tokens of the longest sequence that the model can be run on; None: no limit."""
        self._require_exactness()
        self.forget()

    def forget(self) -> None:
        """Empty all slots, and free their memory."""
        self._cache = SlotCache(self._num_slots, self._text_config.num_hidden_layers)

    def copy(self, source: int, targets: list[int], length: int) -> None:
        """Give the slots `targets` the first `length` positions of the slot `source`."""
        self._cache.copy(source, targets, length)

    def next_logits(self, slots: Sequence[int], num_held: Sequence[int], new_ids: Sequence[Sequence[int]]) -> Tensor:
        """Logits of what follows the new tokens; their keys and values go into the slots.

        Args:
            slots: n of them, increasing.
            num_held: tokens that each slot holds already.
            new_ids: for each slot, at least one token.

        Returns:
            float32, shape (n, V).
        """
        device = self._model.device
        kept = torch.tensor(slots, device=device)
        if max(map(len, new_ids)) == 1 and len(slots) < slots[-1] + 1 <= 2 * len(slots):
            # Decoding the idle slots in between for nothing is cheaper than copying the others together.
            held = dict(zip(slots, zip(num_held, new_ids, strict=True), strict=True))
            rows: Sequence[int] = range(slots[-1] + 1)
            num_held, new_ids = zip(*(held.get(slot, (0, [0])) for slot in rows), strict=True)
        else:
            rows = slots
        is_filled = len(rows) > len(slots)
        sizes = torch.tensor([len(ids) for ids in new_ids], device=device)
        longest = max(map(len, new_ids))
        starts = torch.tensor(num_held, device=device)
        positions = starts[:, None] + torch.arange(longest, device=device)
        length = int(positions.max()) + 1
        ids = torch.tensor([[*ids, *[0] * (longest - len(ids))] for ids in new_ids], device=device)
        self._cache.begin(torch.tensor(rows, device=device), positions, length, kept=kept if is_filled else None)
        is_visible = torch.arange(length, device=device) <= positions[:, None, :, None]
        inputs = {
            "input_ids": ids,
            "attention_mask": self._additive(is_visible) if self._adds_mask else is_visible,
            # Padding takes the position of the row's last token: behind it there may be none in the model.
            "position_ids": positions.minimum((starts + sizes - 1)[:, None]),
            "past_key_values": self._cache,
            "use_cache": True,
        }
        wanted = kept if is_filled else torch.arange(len(new_ids), device=device)
        last = (wanted, sizes[wanted] - 1)
        if self._base is None:
            logits: Tensor = self._model(**inputs).logits[last]
        else:
            logits = self._head(self._base(**inputs).last_hidden_state[last])
        return logits.float()

    def _additive(self, is_visible: Tensor) -> Tensor:
        dtype = self._model.dtype
        mask = torch.zeros(is_visible.shape, dtype=dtype, device=is_visible.device)
        return mask.masked_fill(~is_visible, torch.finfo(dtype).min)

    @torch.no_grad()
    def _require_exactness(self) -> None:
        width = self._text_config.vocab_size
        sequences = [[(7 * row + 5 * place + 1) % width for place in range(6)] for row in range(2)]
        try:
            # None of both for soft-capped or scaled logits: the whole model knows how.
            self._base, self._head = base_and_head(self._model)
            expected = torch.stack([self._logits(ids)[-1] for ids in sequences]).float()
            # Rows of different lengths in slots that hold something already, as in the middle of a rollout.
            self._cache = SlotCache(2, self._text_config.num_hidden_layers)
            self.next_logits([0, 1], [0, 0], [sequences[0][:4], sequences[1][:1]])
            self.next_logits([1], [1], [sequences[1][1:3]])
            logits = self.next_logits([0, 1], [4, 3], [sequences[0][4:], sequences[1][3:]])
        except Exception as error:  # whatever a model does not like about slots, it cannot be run over them
            raise self._refusal(f"it raised {error!r:.200}") from error
        # Relative to how far logits differ at all: those of a new model are tiny, right or wrong.
        gap = float((logits - expected).abs().mean() / expected.std())
        if not gap <= (0.01 if self._model.dtype == torch.float32 else 0.1):
            raise self._refusal(f"they differ from those of the whole sequence by {gap:.2g} standard deviations")

    def _logits(self, ids: list[int]) -> Tensor:
        inputs = torch.tensor([ids], device=self._model.device)
        logits: Tensor = self._model(input_ids=inputs, use_cache=False).logits[0]
        return logits

    def _refusal(self, finding: str) -> ConfigError:
        kind = type(self._model).__name__
        attention = getattr(self._model.config, "_attn_implementation", None)
        return ConfigError(
            f"The torch sampler cannot run {kind} with attention {attention!r} exactly: when logits are computed token "
            f'by token, {finding}. Load the model with attn_implementation="sdpa", or use the sampler "vllm".'
        )


def require_full_attention(config: Any) -> None:
    """Refuse models whose layers forget: a slot keeps every position.

    Raises:
        ConfigError: the model has sliding-window, local, linear or recurrent layers.
    """
    text_config = config.get_text_config() if hasattr(config, "get_text_config") else config
    kinds = set(getattr(text_config, "layer_types", None) or getattr(text_config, "attention_layers", None) or ())
    foreign = kinds - {"full_attention", "global"}
    window = getattr(text_config, "sliding_window", None) if getattr(text_config, "use_sliding_window", True) else None
    if foreign or (window is not None and not kinds):
        raise ConfigError(
            f"The torch sampler runs models with full attention in every layer, but {type(config).__name__} has "
            f"{sorted(foreign) or 'a sliding window'}. Use the sampler 'vllm' for this model."
        )


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


@torch.no_grad()
def base_and_head(module: Any) -> tuple[Any, Any]:
    """The model below the head, and the head, if together they give the model's logits; else (None, None)."""
    base, head = getattr(module, "base_model", None), getattr(module, "get_output_embeddings", lambda: None)()
    if base is None or base is module or head is None:
        return None, None
    device = next(module.parameters()).device
    inputs = {"input_ids": torch.arange(6, device=device).view(2, 3) % head.weight.shape[0], "use_cache": False}
    states = getattr(base(**inputs), "last_hidden_state", None)
    if states is None:
        return None, None
    expected, logits = module(**inputs).logits, head(states)
    # The same operations on the same numbers agree to the last bit. A tolerance would miss the soft-capping of a new
    # model, whose small logits it hardly changes yet.
    is_same = torch.equal(logits.float(), expected.float())
    return (base, head) if is_same else (None, None)
