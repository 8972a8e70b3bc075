"""The next token of each running row, from the model's logits."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..errors import SamplerError
from .distribution import draw, processed_logits
from .params import SamplingParams
from .sending import sent


def next_tokens(
    logits_NV: Tensor, params: Sequence[SamplingParams], uniforms: Sequence[float], *, num_tokens: int | None
) -> tuple[list[int], list[float], list[np.ndarray] | None]:
    """Draw a token for each row, with the fewest operations that its parameters need.

    Args:
        logits_NV: of the model, float32, shape (N, V); may be overwritten.
        params: of each row.
        uniforms: the number in [0, 1) that decides each row.
        num_tokens: ids from here on are never drawn; None: all may be.

    Returns:
        Token ids, their log-probabilities, and the ids that top-p and top-k left of each row, where any row asks so.

    Raises:
        SamplerError: the logits are not finite.
    """
    device = logits_NV.device
    if num_tokens is not None:
        logits_NV[:, num_tokens:] = -torch.inf
    temperature = [one.temperature for one in params]
    keeps_all = all(one.keeps_all_tokens for one in params)
    if not keeps_all or any(value not in (0, 1) for value in temperature):
        logits_NV = processed_logits(
            logits_NV,
            sent(temperature, device),
            None if keeps_all else sent([one.top_k for one in params], device),
            None if keeps_all else sent([one.top_p for one in params], device),
        )
    is_greedy_N = None if 0 not in temperature else sent([value == 0 for value in temperature], device)
    tokens_N, logprobs_N = draw(logits_NV, is_greedy_N, sent(uniforms, device, torch.float64))
    # One transfer: a device is waited for once a step. Ids are exact in float64.
    tokens, logprobs = torch.stack([tokens_N.double(), logprobs_N]).cpu().numpy()
    if not np.isfinite(logprobs).all():
        raise SamplerError("the logits are not finite: the weights have diverged, or the temperature is too small")
    return tokens.astype(np.int64).tolist(), logprobs.tolist(), None if keeps_all else _kept_ids(logits_NV)


def _kept_ids(logits_NV: Tensor) -> list[np.ndarray]:
    rows, ids = logits_NV.isfinite().nonzero().cpu().numpy().T
    return np.split(ids, np.searchsorted(rows, np.arange(1, len(logits_NV))))
