"""Whether sampler and learner mean the same policy: their log-probabilities of the same tokens, compared."""

import torch
from torch import Tensor

from ..errors import LearnerError
from .masking import masked_mean


@torch.no_grad()
def compare_logprobs(learner_BA: Tensor, sampling_BA: Tensor, mask_BA: Tensor) -> dict[str, float]:
    """How far the learner's log-probabilities are from the sampler's; all 0, with ratio 1, where they agree.

    Returns:
        sampler_kl: k3 estimate of KL(sampler || learner), in nats a token.
        sampler_ratio_mean, sampler_ratio_max: of learner probability / sampling probability.
        mean_logprob_gap, max_logprob_gap: of |log-probability difference|, in nats.
    """
    if not bool(mask_BA.any()):
        return {}
    log_ratio_BA = torch.where(mask_BA, learner_BA - sampling_BA, 0.0).double()
    return {
        "sampler_kl": float(masked_mean(torch.expm1(log_ratio_BA) - log_ratio_BA, mask_BA)),
        "sampler_ratio_mean": float(masked_mean(log_ratio_BA.exp(), mask_BA)),
        "sampler_ratio_max": float(log_ratio_BA[mask_BA].exp().max()),
        "mean_logprob_gap": float(masked_mean(log_ratio_BA.abs(), mask_BA)),
        "max_logprob_gap": float(log_ratio_BA.abs().max()),
    }


def require_agreement(agreement: dict[str, float], *, max_mean_gap: float) -> None:
    """Refuse to learn where sampler and learner are different policies.

    Raises:
        LearnerError: the mean gap exceeds `max_mean_gap`, in nats a token, or is not a number.
    """
    gap = agreement.get("mean_logprob_gap", 0.0)
    if gap <= max_mean_gap:
        return
    raise LearnerError(
        f"Before any update, sampler and learner disagree about the sampled tokens by {gap:.3g} nats a token on "
        f"average (at most {agreement['max_logprob_gap']:.3g}); {max_mean_gap:g} is allowed. They are not the same "
        "policy, so the update would be wrong. Usual causes: the sampler runs other weights than the learner; it "
        "samples at a temperature other than the agent's; it reports log-probabilities before temperature; the tokens "
        "were rendered again with another chat template. Raise max_sampling_gap if the gap is known and meant."
    )
