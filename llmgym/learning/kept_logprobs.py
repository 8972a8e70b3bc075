"""Log-probabilities of tokens that were sampled from a part of the vocabulary: top-p or top-k, replayed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from ..episode import Trajectory
from ..errors import DataError
from ..sampling.head import PLAIN, LogitScaling
from .head_logprobs import TiledLogits, as_products, slices, sum_dtype

_GATHERED_BYTES = 2**26
"""Of rows of states and weights that are multiplied at once."""
_ROWS_BYTES = 2**26
"""Of whole rows of logits, where the head must be called as it is."""


@dataclass(frozen=True, eq=False)
class KeptSets:
    """The tokens that could have been sampled in place of each of N; K in all."""

    ids_K: Tensor
    """int64, row after row."""
    rows_K: Tensor
    """int64, the token of the N that each belongs to, in order."""

    @property
    def num_ids(self) -> int:
        """K."""
        return len(self.ids_K)

    def to(self, device: torch.device) -> KeptSets:
        """The same, on a device."""
        return KeptSets(self.ids_K.to(device, non_blocking=True), self.rows_K.to(device, non_blocking=True))


def kept_sets(trajectories: Sequence[Trajectory]) -> tuple[Tensor, KeptSets] | None:
    """The kept sets of all action tokens that have one, in the order of trajectories, segments and tokens.

    Returns:
        True for the action tokens that have one, shape (N,), and the sets of these; None where no token has one.
    """
    segments = [segment for trajectory in trajectories for segment in trajectory.segments if segment.num_actions]
    if all(segment.kept_tokens is None for segment in segments):
        return None
    has_set = np.concatenate([np.full(each.num_actions, each.kept_tokens is not None) for each in segments])
    kept = [segment.kept_tokens for segment in segments if segment.kept_tokens is not None]
    sizes = np.concatenate([np.diff(each.offsets) for each in kept])
    ids_K = np.concatenate([each.token_ids for each in kept]).astype(np.int64)
    rows_K = np.repeat(np.arange(len(sizes)), sizes)
    return torch.from_numpy(has_set), KeptSets(torch.from_numpy(ids_K), torch.from_numpy(rows_K))


def kept_logprobs(
    head: Any,
    states_NH: Tensor,
    targets_N: Tensor,
    kept: KeptSets,
    *,
    temperature: float,
    scaling: LogitScaling = PLAIN,
    num_tokens: int | None = None,
    with_entropy: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """As `head_logprobs`, of the distribution over each token's kept set alone; differentiable once.

        l = scaling(head(states)) / temperature
        log p = l[target] - log sum_{j in kept} exp(l_j)
        H = - sum_{j in kept} p_j log p_j

    A linear head, with or without LoRA, gives the logits of kept tokens only, so time and memory grow with the sets and
    not with the vocabulary. What cuts the distribution has no gradient: the set is that of the sampler's weights.

    Args:
        head: makes logits of hidden states; None where `states_NH` are the logits themselves.
        states_NH: hidden states before the N tokens.
        targets_N: the tokens, int64.
        kept: their sets; each holds its token.
        temperature: above 0.
        scaling: what the model makes of what the head gives.
        num_tokens: ids from here on are padding, without probability; None: there are none.
        with_entropy: give entropies too.

    Returns:
        Log-probabilities and entropies, or None for these, shape (N,), in float32 or better.

    Raises:
        DataError: a set does not hold its token, or an id that the policy does not have.
    """
    if targets_N.device.type == "cpu":  # elsewhere this waits for the states; `Policy` looked before
        require_sets(kept, targets_N, min(num_tokens or math.inf, _width(head, states_NH)))
    is_target_K = kept.ids_K == targets_N[kept.rows_K]
    if torch.is_autocast_enabled(states_NH.device.type):
        states_NH = states_NH.to(torch.get_autocast_dtype(states_NH.device.type))
    products = as_products(head, states_NH) if head is not None else None
    if products is None:
        logits_K = _by_rows(head, states_NH, kept, scaling) / temperature
    else:
        states, weights, bias = products
        raw_K = cast(Tensor, _KeptProducts.apply(kept, bias, *states, *weights))  # type: ignore[no-untyped-call]
        logits_K = TiledLogits.of(0, scaling, temperature).of_products(raw_K)
    # Sums are over what is kept, so shifting by each set's largest logit keeps them finite; it cancels in the gradient.
    zeros_N = logits_K.new_zeros(len(targets_N))
    largest_N = zeros_N.scatter_reduce(0, kept.rows_K, logits_K.detach(), "amax", include_self=False)
    total_N = zeros_N.index_add(0, kept.rows_K, (logits_K - largest_N[kept.rows_K]).exp())
    log_p_K = logits_K - (total_N.log() + largest_N)[kept.rows_K]
    logprobs_N = zeros_N.index_add(0, kept.rows_K, torch.where(is_target_K, log_p_K, 0.0))
    if not with_entropy:
        return logprobs_N, None
    return logprobs_N, -zeros_N.index_add(0, kept.rows_K, log_p_K.exp() * log_p_K)


def _width(head: Any, states_NH: Tensor) -> int:
    """Of the vocabulary."""
    return int(states_NH.shape[-1] if head is None else head.weight.shape[0])


def require_sets(kept: KeptSets, targets_N: Tensor, limit: float) -> None:
    """A DataError, unless each set holds its token once, and ids below the limit alone."""
    if kept.num_ids and int(kept.ids_K.max()) >= limit:
        raise DataError(
            f"A kept set holds the id {int(kept.ids_K.max())}, but the policy gives probability to ids below {limit} "
            "only. Learn from what this policy sampled, with its own tokenizer."
        )
    is_target_K = kept.ids_K == targets_N[kept.rows_K]
    times_N = torch.zeros_like(targets_N).index_add(0, kept.rows_K, is_target_K.long())
    if bool((times_N != 1).any()):
        raise DataError(
            f"{int((times_N != 1).sum())} sampled tokens are not in the sets that top-p or top-k is said to have kept "
            "for them, or twice. The sampler reports sets of other tokens, or another order; look at the sampler."
        )


def _by_rows(head: Any, states_NH: Tensor, kept: KeptSets, scaling: LogitScaling) -> Tensor:
    """Kept logits out of whole rows, of some tokens at a time; computed again in the backward pass."""

    def pick(states: Tensor, rows: Tensor, ids: Tensor) -> Tensor:
        logits = scaling(states if head is None else head(states))
        return logits[rows, ids].to(sum_dtype(logits))

    width, parts = _width(head, states_NH), []
    for rows in slices(len(states_NH), max(1, _ROWS_BYTES // (4 * width))):
        first, last = torch.searchsorted(kept.rows_K, torch.tensor([rows.start, rows.stop], device=kept.rows_K.device))
        where = slice(int(first), int(last))
        part = (states_NH[rows], kept.rows_K[where] - rows.start, kept.ids_K[where])
        parts.append(checkpoint(pick, *part, use_reentrant=False, preserve_rng_state=False))
    return torch.cat(parts)


class _KeptProducts(torch.autograd.Function):
    """sum_k states_k[row] . weights_k[id] + bias[id] for each of the K pairs, in float32 or better."""

    @staticmethod
    def forward(ctx: Any, kept: KeptSets, bias: Tensor | None, *factors: Tensor) -> Tensor:
        states, weights = factors[: len(factors) // 2], factors[len(factors) // 2 :]
        dtype = sum_dtype(states[0])
        products_K = torch.zeros(kept.num_ids, dtype=dtype, device=states[0].device)
        for table, weight in zip(states, weights, strict=True):
            for part in _parts(kept, table):
                gathered = table[kept.rows_K[part]].to(dtype), weight[kept.ids_K[part]].to(dtype)
                products_K[part] += torch.einsum("kh,kh->k", *gathered)
        if bias is not None:
            products_K += bias[kept.ids_K]
        ctx.kept = kept
        ctx.save_for_backward(bias, *factors)
        return products_K

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_K: Tensor) -> tuple[Any, ...]:
        kept: KeptSets = ctx.kept
        bias, *factors = ctx.saved_tensors
        wants_bias, *is_wanted = ctx.needs_input_grad[1:]
        sums = [
            torch.zeros_like(factor, dtype=grad_K.dtype) if wanted else None
            for factor, wanted in zip(factors, is_wanted, strict=True)
        ]
        num = len(factors) // 2
        for k in range(num):
            states, weights = factors[k], factors[num + k]
            for part in _parts(kept, states):
                rows, ids, grad = kept.rows_K[part], kept.ids_K[part], grad_K[part, None]
                for total, index, other in ((sums[k], rows, weights[ids]), (sums[num + k], ids, states[rows])):
                    if total is not None:
                        total.index_add_(0, index, grad * other)
        bias_grad = torch.zeros_like(bias).index_add_(0, kept.ids_K, grad_K.to(bias.dtype)) if wants_bias else None
        grads = (None if total is None else total.to(factor) for total, factor in zip(sums, factors, strict=True))
        return None, bias_grad, *grads


def _parts(kept: KeptSets, states: Tensor) -> list[slice]:
    return slices(kept.num_ids, max(1, _GATHERED_BYTES // (4 * states.shape[-1])))
