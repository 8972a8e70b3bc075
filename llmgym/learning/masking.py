"""Sums, means and whitening over the True entries of a mask. Statistics are in float64; nothing counts as 0."""

import torch
from torch import Tensor


def masked_sum(values: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Sum of `values` where `mask` is True, in float64; over everything where `dim` is None."""
    kept = torch.where(mask, values, 0.0).double()
    return kept.sum() if dim is None else kept.sum(dim)


def masked_mean(values: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Mean of `values` where `mask` is True, in float64; 0 where there is nothing to average."""
    count = mask.sum() if dim is None else mask.sum(dim)
    return masked_sum(values, mask, dim) / count.clamp(min=1)


def masked_whiten(values: Tensor, mask: Tensor, *, eps: float, shift: bool = True) -> Tensor:
    """Scale the True entries to sample variance 1, and shift them to mean 0 unless told not to; zero elsewhere.

        (x - mean) / sqrt(var + eps)    shift=True
        x / sqrt(var + eps)             shift=False

    Args:
        values: any shape.
        mask: True where an entry counts, same shape.
        eps: keeps the division finite; entries that are all equal become exactly 0.
        shift: subtract the mean. Without it, entries that are 0 stay exactly 0.

    Returns:
        Whitened values in the data type of `values`.
    """
    kept = values[mask].double()
    if kept.numel() < 2 or kept.max() == kept.min():
        return torch.zeros_like(values)
    centred = torch.where(mask, values.double() - (kept.mean() if shift else 0.0), 0.0)
    return (centred / torch.sqrt(kept.var() + eps)).to(values.dtype)


def spread(value_B: Tensor, mask_BA: Tensor, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Each trajectory's value on all of its action tokens, shape (B, A); zero on padding."""
    return torch.where(mask_BA, value_B.to(dtype)[:, None], torch.zeros((), dtype=dtype, device=value_B.device))
