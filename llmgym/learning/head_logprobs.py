"""Log-probabilities and entropies of tokens from the hidden states before them, without the [tokens, V] logits."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from ..errors import DataError
from ..sampling.head import PLAIN, LogitScaling

_CPU_TILE_BYTES = 2**22
"""Of float32 logits worked on at once. A tile of this size stays in a processor's cache while it is exponentiated and
multiplied; from a larger one each of these passes reads memory, and the whole takes longer."""
_ACCELERATOR_TILE_BYTES = 2**28
"""The same elsewhere: large enough for the matrix products, not the starting of kernels, to take the time."""
_MAX_PLAIN_LOGITS = 2**17
"""Up to so many in all, starting the operations of tiles costs more than they save."""
_EARLY_ROWS_BYTES = 2**27
"""Of whole rows of logits that become their gradient at once: the fewer at a time, the more often all gradients of the
weight are read and written."""
_ROWS_BYTES = 2**26
"""Of whole rows of logits, where the head must be called as it is."""


def head_logprobs(
    head: Any,
    states_NH: Tensor,
    targets_N: Tensor,
    *,
    temperature: float,
    scaling: LogitScaling = PLAIN,
    num_tokens: int | None = None,
    with_entropy: bool = False,
    loss_gradient: Callable[[slice, Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Log-probability of each target, and entropy of its distribution if asked for; differentiable (once, in tiles).

        l = scaling(head(states)) / temperature
        log p = l[target] - logsumexp(l)
        H = logsumexp(l) - sum_j softmax(l)_j l_j

    A linear head, with or without LoRA, is worked through in tiles of some tokens and some of the vocabulary, which the
    backward pass computes again: nothing that is held grows with tokens times vocabulary. Sums are in float32 (float64
    for states in float64), whatever the model computes in. Any other head is called as it is, on some tokens at a time.

    Args:
        head: makes logits of hidden states; None where `states_NH` are the logits themselves.
        states_NH: hidden states before the N tokens.
        targets_N: the tokens, int64.
        temperature: above 0.
        scaling: what the model makes of what the head gives.
        num_tokens: ids from here on are padding, without probability; None: there are none.
        with_entropy: give entropies too.
        loss_gradient: gives, for log-probabilities of a slice of the tokens, the gradient by them that the loss will
            have. Logits then become gradients in the forward pass, and are not computed again. Should another gradient
            come in the backward pass, these are thrown away; it is only a guess. Not used with entropies.

    Returns:
        Log-probabilities and entropies, or None for these, shape (N,), in float32 or better.

    Raises:
        DataError: a target is no id of this vocabulary, or one of padding.
    """
    width = _width(head, states_NH)
    limit = width if num_tokens is None else min(num_tokens, width)
    if targets_N.device.type == "cpu":  # elsewhere this waits for the states; `Policy` looked before
        require_known_ids(int(targets_N.max()), limit)
    if torch.is_autocast_enabled(states_NH.device.type):
        states_NH = states_NH.to(torch.get_autocast_dtype(states_NH.device.type))
    products = as_products(head, states_NH) if len(targets_N) * width > _MAX_PLAIN_LOGITS else None
    if products is None:
        return _by_rows(head, states_NH, targets_N, scaling, temperature, num_tokens, with_entropy)
    states, weights, bias = products
    logits = TiledLogits.of(limit, scaling, temperature)
    wants_early = loss_gradient is not None and not with_entropy and torch.is_grad_enabled()
    if not wants_early or any(weight.dtype != sum_dtype(weight) for weight in weights if weight.requires_grad):
        loss_gradient = None
    outputs = _HeadLogprobs.apply(logits, with_entropy, loss_gradient, targets_N, bias, *states, *weights)  # type: ignore[no-untyped-call]
    return cast("tuple[Tensor, Tensor | None]", outputs)


def require_known_ids(largest: int, limit: float) -> None:
    """A DataError, if the largest id of a token is not below the limit."""
    if largest >= limit:
        raise DataError(
            f"A sampled token has the id {largest}, but the policy gives probability to ids below {limit} only. "
            "Learn from what this policy sampled, with its own tokenizer."
        )


def as_products(head: Any, states: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor | None] | None:
    """States, weights and bias such that the head gives sum_k states_k @ weights_k.T + bias; None if it does not.

    A low-rank adapter is such a product too, of what its first matrix gives and its second matrix.
    """
    if _is_linear(head):
        return [states], [head.weight], head.bias
    lora = sys.modules.get("peft.tuners.lora.layer")  # where it is not imported, nothing can be of its types
    if lora is None or type(head) is not lora.Linear or _has_hooks(head) or not _is_linear(head.base_layer):
        return None
    if head.merged:
        return None
    all_states, weights = [states], [head.base_layer.weight]
    for name in [] if head.disable_adapters else head.active_adapters:
        if name not in head.lora_A:
            continue
        down, up = head.lora_A[name], head.lora_B[name]
        if name in head.lora_variant or up.bias is not None:  # such as DoRA
            return None
        all_states.append(down(head.lora_dropout[name](states.to(down.weight.dtype))) * head.scaling[name])
        weights.append(up.weight)
    return all_states, weights, head.base_layer.bias


def _is_linear(head: Any) -> bool:
    """Whether nothing happens in it but the product; subclasses, such as quantised ones, do other things."""
    return type(head) is nn.Linear and not _has_hooks(head)


def _has_hooks(head: nn.Module) -> bool:
    return bool(head._forward_hooks or head._forward_pre_hooks or head._backward_hooks or head._backward_pre_hooks)


def _width(head: Any, states: Tensor) -> int:
    """Of the vocabulary."""
    return int(states.shape[-1] if head is None else head.weight.shape[0])


def _by_rows(
    head: Any,
    states: Tensor,
    targets: Tensor,
    scaling: LogitScaling,
    temperature: float,
    num_tokens: int | None,
    with_entropy: bool,
) -> tuple[Tensor, Tensor | None]:
    """Whole rows of logits for some tokens at a time; computed again in the backward pass, unless all fit at once."""

    def statistics(states: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = scaling(states if head is None else head(states))[:, :num_tokens]
        logits = logits.to(sum_dtype(logits)) / temperature
        normaliser = logits.logsumexp(dim=-1)
        logprobs = logits.gather(-1, targets[:, None]).squeeze(-1) - normaliser
        if not with_entropy:
            return logprobs, torch.zeros_like(logprobs)
        return logprobs, normaliser - (logits.softmax(dim=-1) * logits).sum(dim=-1)

    size = max(1, _ROWS_BYTES // (4 * _width(head, states)))
    if len(targets) <= size:
        logprobs, entropies = statistics(states, targets)
    else:
        parts = [
            checkpoint(statistics, *chunk, use_reentrant=False, preserve_rng_state=False)
            for chunk in zip(torch.split(states, size), torch.split(targets, size), strict=True)
        ]
        logprobs, entropies = (torch.cat(part) for part in zip(*parts, strict=True))
    return logprobs, entropies if with_entropy else None


@dataclass(frozen=True)
class TiledLogits:
    """What becomes of the head's output z: l = inner * z, or outer * tanh(inner * z) where the model caps logits."""

    num_tokens: int
    inner: float
    outer: float | None

    @classmethod
    def of(cls, num_tokens: int, scaling: LogitScaling, temperature: float) -> TiledLogits:
        factor = scaling.multiplier / scaling.divisor
        if scaling.cap is None:
            return cls(num_tokens, factor / temperature, None)
        return cls(num_tokens, factor / scaling.cap, scaling.cap / temperature)

    def blocks(self, num_rows: int, device: torch.device) -> tuple[list[slice], list[slice]]:
        """Rows and columns of the tiles: about square ones, so that the products read least, if there is enough."""
        size = (_CPU_TILE_BYTES if device.type == "cpu" else _ACCELERATOR_TILE_BYTES) // 4
        width = min(self.num_tokens, size // min(num_rows, math.isqrt(size)))
        return slices(num_rows, size // width), slices(self.num_tokens, width)

    def tile(
        self, states: Sequence[Tensor], weights: Sequence[Tensor], bias: Tensor | None, rows: slice, columns: slice
    ) -> Tensor:
        """l of some tokens and some of the vocabulary."""
        tile = states[0][rows] @ weights[0][columns].to(states[0].dtype).T
        for table, weight in zip(states[1:], weights[1:], strict=True):
            tile = tile + table[rows] @ weight[columns].to(table.dtype).T
        if bias is not None:
            tile = tile + bias[columns]
        tile = tile.to(sum_dtype(tile))
        if self.inner != 1:
            tile *= self.inner
        return tile if self.outer is None else tile.tanh_().mul_(self.outer)

    def of_products(self, products: Tensor) -> Tensor:
        """l of any of the head's outputs; differentiable."""
        scaled = products * self.inner
        return scaled if self.outer is None else scaled.tanh() * self.outer

    def slope(self, tile: Tensor) -> Tensor | float | None:
        """dl/dz where l is `tile`; None where it is 1."""
        if self.outer is None:
            return None if self.inner == 1 else self.inner
        return (1 - (tile / self.outer) ** 2) * (self.inner * self.outer)


class _HeadLogprobs(torch.autograd.Function):
    """Log p and H of `head_logprobs`, and their gradient. `factors` are k tables of states, then their k weights."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: TiledLogits,
        with_entropy: bool,
        loss_gradient: Callable[[slice, Tensor], Tensor] | None,
        targets: Tensor,
        bias: Tensor | None,
        *factors: Tensor,
    ) -> tuple[Tensor, Tensor | None]:
        states, weights = factors[: len(factors) // 2], factors[len(factors) // 2 :]
        ctx.early = None
        if loss_gradient is not None:
            wanted = ctx.needs_input_grad[4:]
            logprobs, normaliser, ctx.early = _early(logits, loss_gradient, targets, bias, states, weights, wanted)
            ctx.logits = logits
            ctx.set_materialize_grads(False)
            ctx.save_for_backward(targets, bias, normaliser, torch.zeros_like(normaliser), *factors)
            return logprobs, None
        dtype = sum_dtype(states[0])
        normaliser = states[0].new_full(targets.shape, torch.finfo(dtype).min, dtype=dtype)  # of what was seen so far
        target_logits, entropies = torch.zeros_like(normaliser), torch.zeros_like(normaliser)
        row_blocks, column_blocks = logits.blocks(len(targets), targets.device)
        for columns in column_blocks:
            for rows in row_blocks:
                tile = logits.tile(states, weights, bias, rows, columns)
                place, is_here = _place(targets[rows], columns)
                target_logits[rows] += torch.where(is_here, tile.gather(-1, place[:, None])[:, 0], 0.0)
                part = tile.logsumexp(dim=-1)
                total = torch.logaddexp(normaliser[rows], part)
                if with_entropy:
                    log_p = tile.sub_(part[:, None])
                    of_part = -log_p.exp().mul_(log_p).sum(dim=-1) + total - part
                    of_others = entropies[rows] + total - normaliser[rows]
                    entropies[rows] = (part - total).exp() * of_part + (normaliser[rows] - total).exp() * of_others
                normaliser[rows] = total
        ctx.logits = logits
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(targets, bias, normaliser, entropies, *factors)
        return target_logits - normaliser, entropies if with_entropy else None

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_logprobs: Tensor | None, grad_entropies: Tensor | None) -> tuple[Any, ...]:
        logits: TiledLogits = ctx.logits
        targets, bias, normaliser, entropies, *factors = ctx.saved_tensors
        wants_bias, *is_wanted = ctx.needs_input_grad[4:]
        num = len(factors) // 2
        if ctx.early is not None:
            guess, *early = ctx.early
            ctx.early = None  # their memory is free as soon as they are handed on
            if grad_logprobs is not None and torch.equal(guess, grad_logprobs):
                return None, None, None, None, *early
        states, weights, wants_states, wants_weights = factors[:num], factors[num:], is_wanted[:num], is_wanted[num:]
        state_grads = [torch.zeros_like(table, dtype=normaliser.dtype) for table in states]
        weight_grads = [torch.zeros_like(weights[k]) if wants_weights[k] else None for k in range(num)]
        bias_grad = torch.zeros_like(bias) if wants_bias else None
        row_blocks, column_blocks = logits.blocks(len(targets), targets.device)
        # Columns outside: what is summed over the tokens in float32 is then as small as a block of the weight.
        for columns in column_blocks:
            sums = [torch.zeros_like(weight[columns], dtype=normaliser.dtype) for weight in weights]
            for rows in row_blocks:
                tile = logits.tile(states, weights, bias, rows, columns)
                slope = logits.slope(tile)
                grad = _tile_gradient(
                    tile.sub_(normaliser[rows, None]),
                    _place(targets[rows], columns),
                    None if grad_logprobs is None else grad_logprobs[rows],
                    None if grad_entropies is None else grad_entropies[rows],
                    entropies[rows],
                )
                if slope is not None:
                    grad *= slope
                for k in range(num):
                    if wants_states[k]:
                        _add_product(state_grads[k][rows], grad, weights[k][columns].to(states[k].dtype))
                    if wants_weights[k]:
                        _add_product(sums[k], grad.T, states[k][rows])
                if bias_grad is not None:
                    bias_grad[columns] += grad.sum(dim=0)
            for total, weight_grad in zip(sums, weight_grads, strict=True):
                if weight_grad is not None:
                    weight_grad[columns] = total
        of_states = [grad.to(table.dtype) for grad, table in zip(state_grads, states, strict=True)]
        return None, None, None, None, bias_grad, *of_states, *weight_grads


def _early(
    logits: TiledLogits,
    loss_gradient: Callable[[slice, Tensor], Tensor],
    targets: Tensor,
    bias: Tensor | None,
    states: Sequence[Tensor],
    weights: Sequence[Tensor],
    is_wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, list[Tensor | None]]:
    """Log-probabilities, normalisers, and for the backward pass what it must be given and the gradients it then gives.

    Whole rows of logits are exponentiated in their place, and become their own gradient.
    """
    num = len(states)
    dtype, whole = sum_dtype(states[0]), slice(0, logits.num_tokens)
    logprobs, normaliser, guess = (states[0].new_zeros(targets.shape, dtype=dtype) for _ in range(3))
    bias_grad = torch.zeros_like(bias) if bias is not None and is_wanted[0] else None
    state_grads, weight_grads = (
        [torch.zeros_like(one) if wanted else None for one, wanted in zip(some, those, strict=True)]
        for some, those in ((states, is_wanted[1 : 1 + num]), (weights, is_wanted[1 + num :]))
    )
    for rows in slices(len(targets), max(1, _EARLY_ROWS_BYTES // (4 * logits.num_tokens))):
        tile = logits.tile(states, weights, bias, rows, whole)
        slope, index = logits.slope(tile), targets[rows, None]
        of_targets, largest = tile.gather(-1, index)[:, 0], tile.amax(dim=-1)
        tile.sub_(largest[:, None]).exp_()
        total = tile.sum(dim=-1)
        normaliser[rows] = largest + total.log()
        logprobs[rows] = of_targets - normaliser[rows]
        guess[rows] = gradient = loss_gradient(rows, logprobs[rows])
        tile.mul_((-gradient / total)[:, None]).scatter_add_(-1, index, gradient[:, None])
        if slope is not None:
            tile *= slope
        for k in range(num):
            of_states, of_weights = state_grads[k], weight_grads[k]
            if of_states is not None:
                of_states[rows] = tile.to(states[k].dtype) @ weights[k][whole].to(states[k].dtype)
            if of_weights is not None:
                _add_product(of_weights[whole], tile.T, states[k][rows])
        if bias_grad is not None:
            bias_grad[whole] += tile.sum(dim=0)
    return logprobs, normaliser, [guess, bias_grad, *state_grads, *weight_grads]


def _tile_gradient(
    log_p: Tensor,
    place: tuple[Tensor, Tensor],
    grad_logprobs: Tensor | None,
    grad_entropies: Tensor | None,
    entropies: Tensor,
) -> Tensor:
    """Gradient of a tile of logits, whose log-probabilities `log_p` it overwrites.

    dL/dl_j = g * (1[j = target] - p_j) - h * p_j * (log p_j + H)        g = dL/dlog p, h = dL/dH
    """
    grad = log_p.exp()
    if grad_entropies is None:
        assert grad_logprobs is not None  # or nobody would ask
        grad *= -grad_logprobs[:, None]
    else:
        log_p.add_(entropies[:, None]).mul_(-grad_entropies[:, None])
        grad *= log_p if grad_logprobs is None else log_p.sub_(grad_logprobs[:, None])
    if grad_logprobs is not None:
        index, is_here = place
        grad.scatter_add_(-1, index[:, None], torch.where(is_here, grad_logprobs, 0.0)[:, None])
    return grad


def _place(targets: Tensor, columns: slice) -> tuple[Tensor, Tensor]:
    """Where each target is within a block of columns, and whether it is there at all."""
    place = targets - columns.start
    return place.clamp(0, columns.stop - columns.start - 1), (place >= 0) & (targets < columns.stop)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total += left @ right, in the type that the model computes in."""
    if total.dtype == right.dtype:
        total.addmm_(left, right)
    else:
        total += left.to(right.dtype) @ right


def slices(length: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def sum_dtype(tensor: Tensor) -> torch.dtype:
    """bf16 sums over a vocabulary drift visibly."""
    return torch.promote_types(tensor.dtype, torch.float32)
