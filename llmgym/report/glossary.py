"""What each metric of `metrics.jsonl` means, in one place for the report and the documentation."""

from collections.abc import Mapping

GLOSSARY: Mapping[str, Mapping[str, str]] = {
    "episodes": {
        "num_episodes": "Episodes that were sampled.",
        "num_invalid": "Episodes left out because our machinery failed, not the policy.",
        "success": "Share of valid episodes that earned the full reward.",
        "success_low": "Lower end of its 95 % interval.",
        "success_high": "Upper end of its 95 % interval.",
        "reward": "Mean reward of a valid episode.",
        "tool_share": "Share of valid episodes with at least one tool call.",
        "mean_turns": "Mean number of turns of a valid episode.",
        "mean_action_tokens": "Mean number of sampled tokens of a valid episode.",
        "stop_reasons": "Number of valid episodes by the reason why they stopped.",
    },
    "update": {
        "num_samples": "Episodes sampled for training so far; the horizontal axis of most charts.",
        "num_trajectories": "Trajectories that the update learned from, after the agent's selection.",
        "num_action_tokens": "Sampled tokens that the update learned from.",
        "zero_variance_share": "Share of groups whose rewards are all equal, so that they say nothing to a group baseline.",
        "entropy": "Mean of -log p of the sampled tokens, or where the agent needs it the exact entropy; nats a token.",
        "loss": "The whole loss, mean over the optimizer steps of the update.",
        "loss_policy": "Its part that follows the advantages.",
        "loss_value": "Its part that trains the critic, weighted.",
        "loss_entropy": "Its entropy bonus, weighted and negative.",
        "loss_kl": "Its penalty for leaving the reference, weighted.",
        "loss_nll": "Mean of -log p of the demonstrated tokens.",
        "grad_norm": "Norm of the policy's gradient before clipping, mean over optimizer steps.",
        "learning_rate": "Of the policy, mean over optimizer steps.",
        "clip_share": "Share of tokens whose ratio left the trust region, so that they gave no gradient.",
        "num_optimizer_steps": "Steps that the optimizer made.",
        "num_steps_without_gradient": "Steps left out because no parameter had a gradient, as with all advantages zero.",
        "num_non_finite_steps": "Steps left out because a gradient was not finite.",
    },
    "critic": {
        "explained_variance": "Share of the returns' variance that the critic foresaw: 1 perfect, 0 no better than a "
        "constant, below 0 misleading.",
        "value": "Mean estimate of the critic.",
        "value_clip_share": "Share of tokens whose value moved by more than the clip within the update.",
        "critic_grad_norm": "Norm of the critic's gradient before clipping.",
    },
    "options": {
        "kl": "Estimated KL divergence from the reference policy, nats a token.",
        "correction_weight_mean": "Mean importance weight of the learner's policy against the sampler's, before bounds.",
        "correction_weight_max": "The largest such weight.",
        "correction_cut_share": "Share of tokens whose weight was out of bounds.",
    },
    "agreement": {
        "sampler_kl": "KL divergence of the learner's policy from the sampler's, k3 estimate, nats a token; 0 where "
        "they agree.",
        "sampler_ratio_mean": "Mean ratio of learner probability to sampling probability; 1 where they agree.",
        "sampler_ratio_max": "The largest such ratio.",
        "mean_logprob_gap": "Mean absolute difference of their log-probabilities, nats a token.",
        "max_logprob_gap": "The largest such difference.",
    },
    "time": {
        "seconds": "Wall time of the step.",
        "seconds_sampling": "Of these, producing tokens.",
        "seconds_env": "Of these, waiting for environments and verifiers.",
        "seconds_learning": "Of these, the update.",
    },
}
"""By part of the log, then by name."""


def meaning(name: str) -> str:
    """What a metric means; "" for one that an agent of somebody else reports."""
    return next((part[name] for part in GLOSSARY.values() if name in part), "")
