"""The penalty for leaving the reference policy: an option of the learner, the same for every online agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ..errors import ConfigError
from .action_batch import ActionBatch
from .losses import kl_k1, kl_k2, kl_k3
from .masking import masked_mean, masked_sum

_ESTIMATORS = {"k1": kl_k1, "k2": kl_k2, "k3": kl_k3}


@dataclass(frozen=True, kw_only=True)
class KLConfig:
    """Settings of the penalty coef * KL(policy || reference); the reference is the policy that the learner began with.

    The two placements are two gradients. In the reward, the estimate is a number: the policy gradient lowers what it
    says of the tokens to come, and with k1 that is the gradient of the KL itself. In the loss, the estimate is
    differentiated through the log-probabilities of the tokens as they are: with k2 that is, in expectation over the
    policy's own samples, the gradient of each token's KL(policy || reference), with k3 that of
    KL(reference || policy). Tokens from before the update are not reweighted for it.
    """

    coef: float
    """Weight of the penalty, above 0. arXiv:2402.03300 has 0.04 (k3 in the loss), OpenRLHF 0.01 (k1 in the reward)."""
    estimator: Literal["k1", "k2", "k3"] = "k1"
    """k1: log p/q; k2: half its square; k3: q/p - 1 + log p/q."""
    placement: Literal["reward", "loss"] = "reward"
    """Subtracted from each token's reward before the advantages, or added to the loss as a component of its own."""

    def __post_init__(self) -> None:
        if self.coef <= 0:
            raise ConfigError(
                f"learner.kl.coef is {self.coef}, but it must be above 0. Leave learner.kl out for no KL."
            )
        if self.placement == "loss" and self.estimator == "k1":
            raise ConfigError(
                "learner.kl puts the estimate k1 in the loss, but its gradient is the score function, whose mean is "
                "zero, so it would add noise and control nothing. Use k2 or k3 in the loss, or placement='reward'."
            )

    def estimate(self, logprobs_BA: Tensor, ref_logprobs_BA: Tensor, mask_BA: Tensor) -> Tensor:
        """The estimate of each action token, in nats, shape (B, A); zero on padding."""
        return _ESTIMATORS[self.estimator](logprobs_BA, ref_logprobs_BA, mask_BA)


def penalize_rewards(batch: ActionBatch, config: KLConfig) -> tuple[ActionBatch, dict[str, float]]:
    """The batch with the penalty taken off its rewards.

        r_t -= coef * kl_t          reward -= coef * sum over t of kl_t

    Args:
        batch: with raw rewards, and log-probabilities of the policy before the update and of the reference.
        config: estimator and weight.

    Returns:
        The batch, and the metric "kl": the mean estimate, in nats a token.

    Source:
        Ouyang et al. 2022, arXiv:2203.02155 (each token's); Ahmadian et al. 2024, arXiv:2402.14740 (the sum).
    """
    old_logprobs_BA, ref_logprobs_BA = batch.required("old_logprobs_BA"), batch.required("ref_logprobs_BA")
    kl_BA = config.estimate(old_logprobs_BA, ref_logprobs_BA, batch.mask_BA)
    penalized = batch.replace(
        rewards_BA=batch.rewards_BA - config.coef * kl_BA,
        reward_B=batch.reward_B - config.coef * masked_sum(kl_BA, batch.mask_BA, dim=1),
    )
    return penalized, {"kl": float(masked_mean(kl_BA, batch.mask_BA))}
