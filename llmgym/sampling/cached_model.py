"""A language model with a cache, whatever its architecture: in batches where that is exact, else row by row."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from ..errors import ConfigError
from .row_model import RowModel
from .slot_model import SlotModel


class CachedModel(Protocol):
    """A model that continues the sequences in its slots."""

    max_length: int | None
    """Tokens of the longest sequence that the model can be run on; None: no limit."""

    def forget(self) -> None:
        """Empty all slots, and free their memory."""

    def release(self, slot: int) -> None:
        """What the slot holds is needed no more."""

    def reusable(self, slot: int, num_held: int) -> int:
        """How many of the first `num_held` tokens of a slot need not be computed again."""

    def copy(self, source: int, targets: Sequence[int], length: int) -> None:
        """Give the slots `targets` the first `length` positions of the slot `source`."""

    def next_logits(self, slots: Sequence[int], num_held: Sequence[int], new_ids: Sequence[Sequence[int]]) -> Tensor:
        """Logits of what follows the new tokens of each slot, float32 [n, V]."""


def cached_model(model: Any, num_slots: int, *, max_pass_tokens: int) -> CachedModel:
    """The fastest way that gives the model's own logits, which is tried here on a few tokens.

    Raises:
        ConfigError: there is none.
    """
    findings = []
    ways: list[Callable[..., CachedModel]] = [SlotModel, partial(SlotModel, is_mixing=False), RowModel]
    for way in ways:
        try:
            _require_exactness(model, way(model, 2, max_pass_tokens=4))
        except Exception as error:  # whatever a model does not like about a cache, it cannot be run with it
            findings.append(str(error) if isinstance(error, ConfigError) else f"it raised {error!r:.200}")
            continue
        if way is RowModel:
            warnings.warn(
                f"{type(model).__name__} is sampled one row at a time, which is slow: over slots, {findings[1]}.",
                stacklevel=3,
            )
        return way(model, num_slots, max_pass_tokens=max_pass_tokens)
    raise ConfigError(
        f"The torch sampler cannot run {type(model).__name__} exactly: when logits are computed token by token over "
        f"slots, {findings[1]}; with a cache for each row, {findings[2]}. "
        'Use a causal language model with attention, or the sampler "vllm".'
    )


@torch.no_grad()
def _require_exactness(model: Any, cached: CachedModel) -> None:
    width = model.config.get_text_config().vocab_size
    sequences = [[(7 * row + 5 * place + 1) % width for place in range(8)] for row in range(2)]
    expected = torch.stack([_logits(model, ids)[-1] for ids in sequences]).float()
    # Rows of different lengths in slots that hold something already, as in the middle of a rollout.
    cached.next_logits([0], [0], [sequences[0][:5]])
    cached.next_logits([0, 1], [5, 0], [sequences[0][5:6], sequences[1][:2]])
    cached.next_logits([1], [2], [sequences[1][2:4]])
    cached.next_logits([0, 1], [6, 4], [sequences[0][6:7], sequences[1][4:7]])
    logits = cached.next_logits([1, 0], [7, 7], [sequences[1][7:], sequences[0][7:]]).flip(0)
    # Relative to how far logits differ at all: those of a new model are tiny, right or wrong.
    gap = float((logits - expected).abs().mean() / expected.std())
    if not gap <= (0.01 if model.dtype == torch.float32 else 0.1):
        raise ConfigError(f"they differ from those of the whole sequence by {gap:.2g} standard deviations")


def _logits(model: Any, ids: list[int]) -> Tensor:
    logits: Tensor = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0]
    return logits
