"""The distribution that tokens are drawn from, and the draw itself."""

import torch
from torch import Tensor


def processed_logits(
    logits_NV: Tensor, temperature_N: Tensor, top_k_N: Tensor | None = None, top_p_N: Tensor | None = None
) -> Tensor:
    """Logits of the distribution sampled from: temperature, then top-k, then top-p.

    Args:
        logits_NV: of the model, float32, shape (N, V).
        temperature_N: 0 stands for greedy decoding, whose log-probabilities are those at temperature 1.
        top_k_N: int64, 0 keeps all; None: all rows keep all tokens.
        top_p_N: 1 keeps all; None: as for top-k.

    Returns:
        Logits, shape (N, V); minus infinity where a token was left out.
    """
    logits_NV = logits_NV / torch.where(temperature_N > 0, temperature_N, 1.0)[:, None]
    if top_k_N is None or top_p_N is None:
        return logits_NV
    sorted_NV, order_NV = logits_NV.sort(dim=-1, descending=True)
    rank_V = torch.arange(logits_NV.shape[1], device=logits_NV.device)
    is_kept_NV = (top_k_N[:, None] == 0) | (rank_V < top_k_N[:, None])
    probs_NV = sorted_NV.masked_fill(~is_kept_NV, -torch.inf).softmax(-1, dtype=torch.float64)
    # The likeliest tokens before this one hold less than top_p: then it is still needed.
    mass_before_NV = probs_NV.cumsum(-1) - probs_NV
    is_kept_NV &= (mass_before_NV < top_p_N[:, None]) | (rank_V == 0)
    is_kept_NV = torch.zeros_like(is_kept_NV).scatter(-1, order_NV, is_kept_NV)
    return logits_NV.masked_fill(~is_kept_NV, -torch.inf)


def draw(logits_NV: Tensor, is_greedy_N: Tensor | None, uniform_N: Tensor) -> tuple[Tensor, Tensor]:
    """One token a row, by inverting the cumulative distribution at a given uniform number.

    The draw depends on the row's own numbers alone, so neither on the batch nor on a shared random stream.

    Args:
        logits_NV: processed logits, shape (N, V).
        is_greedy_N: True where the likeliest token is taken; None: nowhere.
        uniform_N: float64 in [0, 1), shape (N,).

    Returns:
        Token ids, int64, and their log-probabilities, float64, both of shape (N,); NaN where logits are not numbers.
    """
    probs_NV = logits_NV.softmax(-1)
    mass_NV = probs_NV.cumsum(-1, dtype=torch.float64)  # in float32 many small ones would be lost
    # Scaled by the total, so that rounding never points behind the last possible token.
    drawn_N = torch.searchsorted(mass_NV, (uniform_N * mass_NV[:, -1])[:, None], right=True)[:, 0]
    drawn_N = drawn_N.clamp(max=logits_NV.shape[1] - 1)  # without effect but on NaN, which no index must come from
    if is_greedy_N is not None:
        drawn_N = torch.where(is_greedy_N, logits_NV.argmax(-1), drawn_N)
    return drawn_N, probs_NV.gather(-1, drawn_N[:, None])[:, 0].double().log()
