"""The penalty for leaving the reference policy, and the correction for another sampler."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from llmgym.agents.grpo import GRPO
from llmgym.agents.reinforce import Reinforce
from llmgym.agents.rloo import RLOO
from llmgym.agents.sft import SFT
from support.models import tiny_model

from llmgym.episode import Segment, StopReason, Trajectory, TurnRecord
from llmgym.errors import ConfigError
from llmgym.learning import ActionBatch, CorrectionConfig, KLConfig, Learner, LearnerConfig, Policy, head_logprobs
from llmgym.learning.correction import bounded_weights, corrected_loss, raw_weights
from llmgym.learning.kl import penalize_rewards
from llmgym.messages import AssistantMessage
from llmgym.scoring import Score
from llmgym.settings import from_mapping


def trajectory(num_actions, reward=0.0, logprob=-1.0):
    ids = np.arange(1, num_actions + 2, dtype=np.int32)
    is_action = np.arange(len(ids)) > 0
    return Trajectory(
        segments=(Segment(ids, is_action, np.where(is_action, logprob, 0).astype(np.float32)),),
        turns=(TurnRecord(0, 1, len(ids), AssistantMessage(""), Score(reward=reward)),),
        reward=reward,
        terminated=True,
        truncated=False,
        stop_reason=StopReason.ANSWERED,
        metadata={},
    )


def varied():
    return [trajectory(length, reward=float(index % 2)) for index, length in enumerate((3, 1, 5, 2))]


def on_policy(model, rows, gap=0.0):
    """The same trajectories, as if a sampler had sampled them whose log-probabilities are off by `gap`."""
    table = Policy(model).action_outputs(rows, temperature=1.0).logprobs_BA.detach().numpy() + gap
    return [
        dataclasses.replace(
            row,
            segments=(
                dataclasses.replace(
                    row.segments[0], sampling_logprobs=np.append([0], logprobs[: row.num_actions]).astype(np.float32)
                ),
            ),
        )
        for row, logprobs in zip(rows, table, strict=True)
    ]


def table(rows, padding=0):
    """Rows of numbers as a right-padded table with garbage on the padding, and its mask."""
    width = max((len(row) for row in rows), default=0) + padding
    padded = torch.tensor([[*row, *[7.7] * (width - len(row))] for row in rows], dtype=torch.float64)
    mask = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows], dtype=torch.bool)
    return padded.reshape(len(rows), width), mask.reshape(len(rows), width)


def number(low, high):
    """A number that float32 holds exactly, so that comparisons with bounds mean the same everywhere."""
    return st.floats(low, high, width=32)


logprob = st.floats(-5, 0)
pairs = st.lists(st.lists(st.tuples(logprob, logprob), max_size=5), min_size=1, max_size=4)


def split(rows):
    return [[pair[0] for pair in row] for row in rows], [[pair[1] for pair in row] for row in rows]


# KL

ESTIMATES = {
    "k1": lambda p, q: p - q,
    "k2": lambda p, q: (p - q) ** 2 / 2,
    "k3": lambda p, q: math.exp(q - p) - 1 + p - q,
}


@given(pairs, st.sampled_from(["k1", "k2", "k3"]), st.floats(0.01, 2), st.integers(0, 2))
def test_kl_in_the_reward_equals_its_definition_whatever_the_padding(rows, estimator, coef, padding):
    (old, mask), (ref, _) = (table(side, padding) for side in split(rows))
    batch = ActionBatch(
        mask_BA=mask,
        rewards_BA=torch.where(mask, 0.5, 0.0).double(),
        reward_B=torch.full((len(rows),), 3.0, dtype=torch.float64),
        group_B=torch.zeros(len(rows), dtype=torch.int64),
        bootstrap_value_B=torch.zeros(len(rows)),
        max_actions=9,
        old_logprobs_BA=old,
        ref_logprobs_BA=ref,
    )

    penalized, metrics = penalize_rewards(batch, KLConfig(coef=coef, estimator=estimator))

    estimates = [[ESTIMATES[estimator](p, q) for p, q in row] for row in rows]
    flat = [estimate for row in estimates for estimate in row]
    assert penalized.rewards_BA[mask].tolist() == pytest.approx([0.5 - coef * kl for kl in flat])
    assert penalized.reward_B.tolist() == pytest.approx([3.0 - coef * sum(row) for row in estimates])
    assert not penalized.rewards_BA[~mask].any()
    assert metrics["kl"] == pytest.approx(sum(flat) / max(1, len(flat)))


def test_reference_stays_where_the_policy_began():
    learner = learner_of(GRPO(), kl=KLConfig(coef=0.5, estimator="k3", placement="loss"))

    first = learner.update([varied()])
    policies = (learner.policy, learner.reference)
    p, q = (policy.action_outputs(varied(), temperature=1.0).logprobs_BA.detach() for policy in policies)
    second = learner.update([varied()])

    expected = sum(map(ESTIMATES["k3"], p.flatten().tolist(), q.flatten().tolist())) / second["num_action_tokens"]
    assert first["kl"] == pytest.approx(0, abs=1e-9)
    assert second["kl"] == pytest.approx(expected, rel=1e-4)
    assert expected > 1e-4
    assert second["loss_kl"] == pytest.approx(0.5 * expected, rel=1e-4)
    assert second["loss"] == pytest.approx(second["loss_policy"] + second["loss_kl"], abs=1e-6)
    assert torch.equal(learner.reference.module.lm_head.weight, tiny_model().lm_head.weight)


def learner_of(agent, model=None, **config):
    return Learner(model or tiny_model(), agent, LearnerConfig(learning_rate=1e-2, max_sampling_gap=math.inf, **config))


def test_kl_in_the_reward_reaches_agents_that_learn_from_whole_rewards():
    learner = learner_of(Reinforce(scale_by_std=False), kl=KLConfig(coef=1.0))
    learner.update([varied()])
    rows = [dataclasses.replace(row, reward=0.0, turns=()) for row in varied()]

    metrics = learner.update([rows])

    # Nobody earned anything, so all that is left to be told apart is how far each row is from the reference.
    policy, reference = (
        p.action_outputs(rows, temperature=1.0).logprobs_BA.sum(1) for p in (learner_before(learner), learner.reference)
    )
    expected = -(policy - reference)
    expected = expected - expected.mean()
    found = [float(learner.last_advantages[row][0]) for row in rows]
    assert found == pytest.approx(expected.tolist(), abs=1e-5)
    assert metrics["kl"] != 0
    assert metrics["zero_variance_share"] == 1


def learner_before(learner):
    """The policy before the second of two updates, made again."""
    again = learner_of(Reinforce(scale_by_std=False), kl=KLConfig(coef=1.0))
    again.update([varied()])
    return again.policy


@pytest.mark.parametrize("kl", [KLConfig(coef=5.0), KLConfig(coef=5.0, estimator="k2", placement="loss")], ids=str)
def test_either_placement_keeps_the_policy_nearer_to_the_reference(kl):
    def distance(**options):
        learner = learner_of(GRPO(epochs=2, scale_by_std=False), **options)
        for _ in range(6):
            learner.update([varied()])
        policies = (learner.policy, learner.reference or Policy(tiny_model()))
        now, reference = (p.action_outputs(varied(), temperature=1.0).logprobs_BA.detach() for p in policies)
        return float((now - reference).abs().mean())

    assert distance(kl=kl) < 0.7 * distance()


def test_k1_in_the_loss_is_refused_with_the_reason():
    with pytest.raises(ConfigError, match=r"mean is zero.*Use k2 or k3"):
        KLConfig(coef=0.1, placement="loss")


def test_kl_without_a_weight_is_refused():
    with pytest.raises(ConfigError, match=r"learner\.kl\.coef is 0"):
        KLConfig(coef=0.0)
    with pytest.raises(ConfigError, match=r"learner\.kl\.coef is missing"):
        from_mapping(LearnerConfig, {"kl": {}}, where="learner")


def test_options_come_as_tables():
    config = from_mapping(LearnerConfig, {"kl": {"coef": 0.04, "estimator": "k3", "placement": "loss"}})

    assert config.kl == KLConfig(coef=0.04, estimator="k3", placement="loss")


# Correction


@given(pairs, st.sampled_from(["token", "sequence", "geometric"]), st.integers(0, 2))
def test_raw_weights_equal_their_definition_whatever_the_padding(rows, level, padding):
    (old, mask), (sampling, _) = (table(side, padding) for side in split(rows))

    weights = raw_weights(old, sampling, mask, level=level)

    for row, found, real in zip(rows, weights, mask, strict=True):
        ratios = [math.exp(p - s) for p, s in row]
        product = math.prod(ratios)
        geometric = product ** (1 / max(1, len(row)))
        expected = {"token": ratios, "sequence": [product] * len(row), "geometric": [geometric] * len(row)}[level]
        assert found[real].tolist() == pytest.approx(expected, rel=1e-5)
        assert not found[~real].any()


@given(st.lists(number(0, 10), min_size=1), number(0, 1), number(1, 5))
def test_bounded_weights_equal_their_definition(weights, low, high):
    mask = torch.tensor([[True] * len(weights) + [False]])
    given_weights = torch.tensor([[*weights, 1.0]])

    truncated = bounded_weights(given_weights, mask, action="truncate", low=low, high=high)
    masked = bounded_weights(given_weights, mask, action="mask", low=low, high=high)

    assert truncated[0].tolist() == pytest.approx([*(min(max(w, low), high) for w in weights), 0.0])
    assert masked[0].tolist() == pytest.approx([*(w if low <= w <= high else 0.0 for w in weights), 0.0])


@example([(0.5, 1e-45)], 0.0, 1.0)
@given(st.lists(st.tuples(number(0, 10), number(-2, 2)), min_size=1), number(0, 1), number(1, 5))
def test_clipped_weights_are_those_of_the_clipped_surrogate_up_to_the_upper_bound(tokens, low, high):
    weights, advantages = zip(*tokens, strict=True)
    mask = torch.tensor([[True] * len(tokens) + [False]])

    clipped = bounded_weights(
        torch.tensor([[*weights, 1.0]]),
        mask,
        action="clip",
        low=low,
        high=high,
        advantages_BA=torch.tensor([[*advantages, 1.0]]),
    )

    expected = []
    for weight, advantage in tokens:
        # Of new to sampler: its gradient by log p is ratio * A. In float64, where products of these are exact.
        ratio = torch.tensor(weight, dtype=torch.float64, requires_grad=True)
        gain = torch.minimum(ratio * advantage, ratio.clamp(low, high) * advantage)
        (slope,) = torch.autograd.grad(gain, ratio)
        is_at_bound = weight in (low, high)  # where torch may take either side
        expected.append(min(weight, high) if slope or advantage == 0 or is_at_bound else 0.0)
    assert clipped[0].tolist() == pytest.approx([*expected, 0.0])


def test_without_advantages_clipping_rejects_on_both_sides():
    weights, mask = torch.tensor([[0.5, 1.0, 1.5]]), torch.ones(1, 3, dtype=torch.bool)

    assert bounded_weights(weights, mask, action="clip", low=0.8, high=1.2).tolist() == [[0.0, 1.0, 0.0]]


def test_a_sampler_that_agrees_changes_nothing():
    def weights_after(**options):
        model = tiny_model()
        rows = on_policy(model, varied())
        learner = learner_of(GRPO(), model, **options)
        metrics = learner.update([rows])
        return metrics, learner.policy.module.state_dict()

    _, plain = weights_after()
    metrics, corrected = weights_after(correction=CorrectionConfig())

    assert metrics["correction_weight_mean"] == pytest.approx(1, abs=1e-5)
    assert metrics["correction_weight_max"] == pytest.approx(1, abs=1e-4)
    assert metrics["correction_cut_share"] == 0
    assert all(torch.allclose(corrected[name], plain[name], atol=1e-4) for name in plain)


@pytest.mark.parametrize(
    ("agent", "level"),
    [(Reinforce, "token"), (Reinforce, "sequence"), (Reinforce, "geometric"), (RLOO, "sequence"), (RLOO, "geometric")],
)
def test_policy_loss_is_weighted_and_rejected_tokens_stay_in_the_denominator(agent, level):
    def loss_policy(**options):
        model = tiny_model()
        rows = on_policy(model, varied())
        # The second row was sampled by a policy that gave its one token e times less: its weight is e.
        rows[1] = on_policy(model, [rows[1]], gap=-1.0)[0]
        learner = learner_of(agent(), model, max_grad_norm=math.inf, **options)
        grads = []
        learner.steps.optimizer.step = lambda: grads.append(learner.policy.module.lm_head.weight.grad.clone())
        metrics = learner.update([rows])
        return metrics, grads[0]

    _, plain = loss_policy()
    metrics, masked = loss_policy(correction=CorrectionConfig(level=level, action="mask", high=2.0))
    _, kept = loss_policy(correction=CorrectionConfig(level=level, action="mask", high=100.0))

    assert metrics["correction_weight_max"] == pytest.approx(math.e, rel=1e-4)
    assert metrics["correction_cut_share"] == pytest.approx(1 / 11)
    assert float((plain - masked).abs().max()) > 1e-3
    # kept = others + e * row, plain = others + row, masked = others: so row = (kept - masked) / e.
    torch.testing.assert_close(plain - masked, (kept - masked) / math.e, atol=1e-5, rtol=1e-3)


def test_huge_weights_stay_finite():
    (old, mask), (sampling, _) = table([[0.0] * 40]), table([[-50.0] * 40])

    weights = raw_weights(old, sampling, mask, level="sequence")

    assert bool(torch.isfinite(weights).all())
    assert bounded_weights(weights, mask, action="truncate", low=0.0, high=2.0).unique().tolist() == [2.0]


@pytest.mark.parametrize("bounds", [{"high": 0.5}, {"low": 1.5}, {"low": -0.1}])
def test_bounds_that_leave_out_agreement_are_refused(bounds):
    with pytest.raises(ConfigError, match="a sampler that agrees has weight 1"):
        CorrectionConfig(**bounds)


def test_trajectories_without_sampling_logprobs_cannot_be_corrected():
    batch = ActionBatch.from_trajectories([trajectory(2)])
    batch = batch.replace(sampling_logprobs_BA=None)

    with pytest.raises(ConfigError, match="some trajectories have none"):
        corrected_loss(torch.ones(1, 2), torch.zeros(1, 2), batch, CorrectionConfig())


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_correction_costs_no_pass_where_a_batch_makes_one_step(level, monkeypatch):
    model, passes, made_again = tiny_model(), [], []
    rows = on_policy(model, varied(), gap=-0.01)
    learner = learner_of(GRPO(), model, correction=CorrectionConfig(level=level))
    run, gradient = learner._run, head_logprobs._tile_gradient
    monkeypatch.setattr(learner, "_run", lambda *given, **options: passes.append(options) or run(*given, **options))
    monkeypatch.setattr(head_logprobs, "_MAX_PLAIN_LOGITS", 0)
    monkeypatch.setattr(head_logprobs, "_tile_gradient", lambda *given: made_again.append(0) or gradient(*given))

    metrics = learner.update([rows])

    longest = 1 if level == "token" else max(row.num_actions for row in rows)
    assert metrics["correction_weight_max"] == pytest.approx(math.exp(0.01 * longest), rel=1e-5)
    assert len(passes) == 1
    # A token's weight is known where its logits are: their gradient is made there, and rightly.
    assert ("loss_gradient" in passes[0], bool(made_again)) == ((True, False) if level == "token" else (False, True))


@pytest.mark.parametrize("options", [{"kl": KLConfig(coef=0.1)}, {"correction": CorrectionConfig()}], ids=str)
def test_options_for_sampled_tokens_are_refused_where_nothing_is_sampled(options):
    with pytest.raises(ConfigError, match="SFT learns offline"):
        learner_of(SFT(), **options)


def test_token_weights_are_refused_where_a_trajectory_has_one_loss():
    with pytest.raises(ConfigError, match="RLOO has one loss for a whole trajectory"):
        learner_of(RLOO(), correction=CorrectionConfig())


def test_correction_needs_a_policy_loss():
    class Nameless(GRPO):
        def loss(self, outputs, batch):
            return {"mine": super().loss(outputs, batch)["policy"]}

    with pytest.raises(ConfigError, match=r"works on the loss component 'policy', but Nameless has mine"):
        learner_of(Nameless(), correction=CorrectionConfig()).update([varied()])


def test_options_of_an_update_without_any_action_do_nothing():
    options = {"kl": KLConfig(coef=0.1), "correction": CorrectionConfig()}

    metrics = learner_of(GRPO(scale_by_std=False), **options).update([[trajectory(0), trajectory(0)]])

    assert (metrics["num_optimizer_steps"], metrics["kl"]) == (0, 0)


@pytest.mark.parametrize("epochs", [1, 2])
def test_ratio_of_a_single_step_is_one_exactly_whatever_the_options_had_computed(epochs):
    seen = []

    class Watching(GRPO):
        def loss(self, outputs, batch):
            seen.append(batch.old_logprobs_BA is None)
            return super().loss(outputs, batch)

    agent = Watching(epochs=epochs, scale_by_std=False)
    learner_of(agent, kl=KLConfig(coef=0.1), correction=CorrectionConfig()).update([varied()])

    assert seen == [epochs == 1] * epochs
