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
        "reward_part/NAME": "Mean of a part of the score, before weighting.",
        "p50_action_tokens": "Half of the valid episodes have at most so many sampled tokens.",
        "p95_action_tokens": "95 of 100 have at most so many.",
        "max_action_tokens": "Sampled tokens of the longest.",
        "repetition": "Share of runs of 8 tokens that the same turn held before; mean over valid episodes.",
        "num_tool_calls": "Tool calls, malformed ones included.",
        "num_tool_errors": "Tool calls that were answered with an error.",
        "num_retries": "Episodes begun anew because our machinery had failed.",
        "num_invalid_scores": "Turns that the verifier could not score.",
        "num_long_prompts": "Episodes that could not begin, as their prompt left no room for an answer.",
        "env/NAME/...": "The same, in one environment of several.",
        "env/NAME/weight": "Share of the tasks that come from it.",
    },
    "update": {
        "num_samples": "Episodes sampled for training so far; the horizontal axis of most charts.",
        "num_zero_variance_groups": "Groups of several trajectories whose rewards are all equal.",
        "num_resample_rounds": "Rounds of sampling that replaced dropped groups.",
        "num_dropped_groups": "Groups that the agent's selection dropped.",
        "is_skipped": "1 where no group was left, so that there was no update.",
        "num_trajectories": "Trajectories that the update learned from, after the agent's selection.",
        "num_action_tokens": "Sampled tokens that the update learned from.",
        "zero_variance_share": "Share of them among all groups of several trajectories: nothing to compare in them.",
        "entropy": "Mean of -log p of the sampled tokens, or where the agent needs it the exact entropy; nats a token.",
        "loss": "The whole loss, mean over the optimizer steps of the update.",
        "loss_policy": "Its part that follows the advantages.",
        "loss_value": "Its part that trains the critic, weighted.",
        "loss_entropy": "Its entropy bonus, weighted and negative.",
        "loss_kl": "Its penalty for leaving the reference, weighted.",
        "loss_nll": "Mean of -log p of the demonstrated tokens.",
        "grad_norm": "Norm of the policy's gradient before clipping, mean over optimizer steps.",
        "advantage_std": "Standard deviation of the advantages over sampled tokens.",
        "shaped_reward": "Mean reward after penalties, where there are any.",
        "ratio_mean": "Mean probability ratio of the policy at a step to that before the update.",
        "ratio_max": "The largest such ratio.",
        "old_kl": "KL divergence of the policy at a step from that before the update, k3 estimate, nats a token.",
        "learning_rate": "Of the policy, mean over optimizer steps.",
        "clip_share": "Share of tokens whose ratio left the trust region, so that they gave no gradient.",
        "num_optimizer_steps": "Steps that the optimizer made.",
        "num_steps_without_gradient": "Steps left out because no parameter had a gradient: all advantages zero.",
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
        "correction_weight_mean": "Mean importance weight, learner against sampler, before bounds.",
        "correction_weight_max": "The largest such weight.",
        "correction_cut_share": "Share of tokens whose weight was out of bounds; to clip, those alone that the "
        "advantage pushes farther.",
    },
    "agreement": {
        "sampler_kl": "KL divergence of the learner's policy from the sampler's, k3 estimate, nats a token; 0 where "
        "they agree.",
        "sampler_ratio_mean": "Mean ratio of learner probability to sampling probability; 1 where they agree.",
        "sampler_ratio_max": "The largest such ratio.",
        "mean_logprob_gap": "Mean absolute difference of their log-probabilities, nats a token.",
        "max_logprob_gap": "The largest such difference.",
    },
    "modes": {
        "staleness_mean": "Updates between the weights that sampled a token and those that learn from it, mean over "
        "the tokens learned from.",
        "staleness_max": "The most of them.",
        "num_dropped_stale": "Episodes that were left out, with their groups, as they were older than "
        "`training.max_staleness` allows.",
        "num_in_flight_updates": "1 where the sampler took the new weights in the middle of episodes.",
    },
    "losses": {
        "num_replaced_envs": "Environments that failed again and again, and that others stand for.",
        "num_replayed_episodes": "Episodes played again, as the process that played or sampled them was lost.",
        "num_lost_samplers": "Ray's sampler actors that were lost and replaced.",
        "num_lost_workers": "Ray's environment workers that were lost and replaced.",
        "num_engine_restarts": "vLLM processes that died and were started again.",
        "num_resampled_turns": "Turns sampled again, as the vLLM process that sampled them died.",
    },
    "time": {
        "seconds": "Wall time of the step.",
        "seconds_sampling": "Of these, producing tokens.",
        "seconds_env": "Of these, waiting for environments and verifiers.",
        "seconds_learning": "Of these, the update.",
        "tokens_per_second_sampling": "Sampled tokens by the time that sampling took.",
        "tokens_per_second_learning": "Tokens learned from by the time that the update took.",
        "peak_memory_gib_learning": "Most memory of the GPU that PyTorch held during the update, GiB.",
        "model_flops_utilization": "Operations that the update needs at least, by what the GPU could do in its time in "
        "bfloat16.",
    },
}
"""By part of the log, then by name."""


def meaning(name: str) -> str:
    """What a metric means; "" for one that an agent of somebody else reports."""
    if name.startswith("env/") and not name.endswith("/weight"):
        return meaning(name.rpartition("/")[2])
    prefix, _, rest = name.partition("/")
    name = f"{prefix}/NAME" + ("/weight" if rest.endswith("/weight") else "") if rest else name
    return next((part[name] for part in GLOSSARY.values() if name in part), "")
