"""Mistakes that others made in learning from sampled tokens, each as what happens here instead.

Those that concern one function are tested beside it.
"""

import dataclasses
import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from llmgym.agents.grpo import GRPO
from llmgym.agents.gspo import GSPO
from llmgym.agents.reinforce_pp import ReinforcePP
from llmgym.agents.sft import SFT
from support.bandit import bandit_model, trajectory

import llmgym  # noqa: F401  registers the environments
from llmgym.errors import ConfigError, DataError
from llmgym.learning import ActionBatch, KLConfig, Learner, LearnerConfig, ModelOutputs, Policy
from llmgym.learning.correction import raw_weights


def logprobs_of(rows, model=None):
    return Policy(model or bandit_model()).action_outputs(rows, temperature=1.0).logprobs_BA.detach()


def with_logprobs(row, values):
    segment = dataclasses.replace(row.segments[0], sampling_logprobs=np.array(values, dtype=np.float32))
    return dataclasses.replace(row, segments=(segment,))


def test_an_end_token_that_is_also_the_padding_id_is_learned_from():
    ended, longer = trajectory("1 .2 .0"), trajectory("1 .2 .3 .4 .5")
    model = bandit_model()

    logprobs_BA = logprobs_of([ended, longer], model)

    expected = model(torch.tensor([[1, 2]])).logits[0, 1].log_softmax(-1)[0]
    assert logprobs_BA[0, 1].item() == pytest.approx(expected.item(), abs=1e-5)
    assert ActionBatch.from_trajectories([ended, longer]).mask_BA[0].tolist() == [True, True, False, False]
    before = logprobs_BA[0, 1]
    Learner(model, SFT(), LearnerConfig(learning_rate=1e-3)).update([[ended, longer]])
    assert logprobs_of([ended], model)[0, 1] > before


def test_log_probabilities_do_not_depend_on_what_is_padded_beside_them():
    row = trajectory("1 .2 .3")

    alone, beside = logprobs_of([row]), logprobs_of([trajectory("1 2 3 4 5 6 .7 .8 .9 .1"), row])

    torch.testing.assert_close(beside[1, :2], alone[0])


def test_no_end_token_is_put_behind_an_answer_that_the_limit_cut():
    env = gym.make("llmgym/Copy-v0", text="hi", limits={"turn_tokens": 2})
    env.reset(seed=0)
    sampled = env.unwrapped.tokenizer.encode("hi")

    for token in sampled:
        *_, terminated, truncated, _ = env.step(token)

    (segment,) = env.unwrapped.trajectory().segments
    assert (terminated, truncated) == (False, True)
    assert segment.token_ids[segment.action_mask].tolist() == list(sampled)


def test_an_action_before_a_tools_answer_has_the_return_of_what_came_after_it():
    plain, with_tool = trajectory("1 .2 .3 .4 .5", 1.0), trajectory("1 .2 .3 9 9 9 .4 .5", 1.0)
    other = trajectory("1 .2", 0.0)

    tables = [ReinforcePP().advantages(ActionBatch.from_trajectories([row, other])) for row in (plain, with_tool)]

    assert torch.equal(tables[0].advantages_BA, tables[1].advantages_BA)
    assert tables[1].advantages_BA[0].unique().numel() == 1


def test_a_reward_paid_after_the_last_tool_answer_sits_on_the_last_action():
    batch = ActionBatch.from_trajectories([trajectory("1 .2 9 .3 9 9", 1.0)])

    assert batch.rewards_BA.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("kl", [KLConfig(coef=1.0), KLConfig(coef=1.0, estimator="k2", placement="loss")], ids=str)
def test_what_a_tool_said_is_no_part_of_the_kl(kl):
    rows = [trajectory("1 .2 9 8 7 9 .3", 1.0), trajectory("1 .4 9 .5", 0.0)]
    learner = Learner(bandit_model(), GRPO(scale_by_std=False), LearnerConfig(learning_rate=1e-2, kl=kl))
    learner.update([rows])
    policies = (learner.policy, learner.reference)
    p_BA, q_BA = (one.action_outputs(rows, temperature=1.0).logprobs_BA.detach() for one in policies)

    metrics = learner.update([rows])

    log_ratio = (p_BA - q_BA).double()
    expected = log_ratio if kl.estimator == "k1" else log_ratio**2 / 2
    assert log_ratio.numel() == 4
    assert metrics["kl"] == pytest.approx(float(expected.mean()), rel=1e-3)


def test_a_kl_penalty_in_the_reward_is_not_blown_up_where_samples_were_paid_the_same():
    different, alike = ([trajectory("1 .2 .3", paid), trajectory("1 .4 .5", 0.5)] for paid in (1.0, 0.5))
    config = LearnerConfig(learning_rate=1e-4, kl=KLConfig(coef=0.01))

    learner = Learner(bandit_model(), GRPO(scale_by_std=False), config)
    for _ in range(2):
        learner.update([different, alike])

    assert 0 < max(abs(learner.last_advantages[row]).max() for row in alike) < 0.01
    with pytest.raises(ConfigError, match="blown up to the size of a whole reward"):
        Learner(bandit_model(), GRPO(), config)


def test_rewards_that_add_up_to_the_same_are_equal_whatever_the_order_of_turns_rounds_them_to():
    sums = [0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1, 0.6]
    rows = [trajectory("1 .2", reward) for reward in sums]

    learner = Learner(bandit_model(), GRPO())
    metrics = learner.update([rows])

    assert len(set(sums)) == 2
    assert [learner.last_advantages[row].tolist() for row in rows] == [[0.0]] * 3
    assert metrics["zero_variance_share"] == 1
    assert GRPO(drop_equal_groups=True).select([rows]) == []


def test_a_dropped_group_is_in_no_denominator_and_feels_no_kl():
    kl = KLConfig(coef=1.0, estimator="k3", placement="loss")
    differ = [trajectory("1 .2 .3", 1.0), trajectory("1 .4", 0.0)]
    equal = [trajectory("5 .6 .7 .8", 1.0), trajectory("5 .6", 1.0)]

    def weights_after(groups):
        learner = Learner(bandit_model(), GRPO(drop_equal_groups=True), LearnerConfig(learning_rate=1e-2, kl=kl))
        for _ in range(2):
            learner.update(groups)
        return learner.policy.module.state_dict()

    with_equal, without = weights_after([differ, equal]), weights_after([differ])

    assert all(torch.equal(with_equal[name], tensor) for name, tensor in without.items())


def test_at_a_temperature_the_ratio_to_the_sampler_is_one_because_logits_are_divided_and_not_log_probabilities():
    model, row = bandit_model(), trajectory("1 .2 .3")
    logits = model(torch.tensor([[1, 2]])).logits[0].detach()
    sampled = [(logits[t] / 0.6).log_softmax(-1)[token].item() for t, token in enumerate((2, 3))]
    wrong = [logits[t].log_softmax(-1)[token].item() / 0.6 for t, token in enumerate((2, 3))]

    metrics = Learner(model, GRPO(temperature=0.6)).update([[with_logprobs(row, [0.0, *sampled])]])

    assert metrics["sampler_ratio_max"] == pytest.approx(1, abs=1e-5)
    assert max(abs(s - w) for s, w in zip(sampled, wrong, strict=True)) > 0.1


@pytest.mark.parametrize("logprob", [math.nan, -math.inf])
def test_sampling_log_probabilities_that_are_no_numbers_are_an_error_and_no_dropped_sequence(logprob):
    row = with_logprobs(trajectory("1 .2 .3"), [0.0, logprob, -1.0])

    with pytest.raises(DataError, match="log-probabilities that are not finite"):
        Learner(bandit_model(), GRPO()).update([[row]])


def test_a_trust_region_for_tokens_never_clips_a_trajectory_and_that_of_gspo_does():
    generator = torch.Generator().manual_seed(0)
    rows = [trajectory("1 " + " ".join([".2"] * 200), float(index % 2)) for index in range(16)]
    old_BA = torch.full((16, 200), -1.0)
    drift_BA = 0.1 * torch.randn(16, 200, generator=generator)  # some ratios of tokens reach 1.3

    def clip_share(agent):
        batch = agent.advantages(ActionBatch.from_trajectories(rows)).replace(old_logprobs_BA=old_BA)
        return float(agent.diagnostics(ModelOutputs(old_BA + drift_BA), batch)["clip_share"].mean())

    assert clip_share(GRPO(clip_low=0.2, clip_high=0.2)) > 0.01
    assert clip_share(GSPO(clip_low=0.2, clip_high=0.2)) == 0
    assert clip_share(GSPO()) > 0.2


def test_the_loss_is_zero_on_policy_and_its_gradient_is_not():
    rows = [trajectory("1 .2 .3", 1.0), trajectory("1 .4 .5", 0.0)]

    metrics = Learner(bandit_model(), GRPO()).update([rows])

    assert metrics["loss"] == pytest.approx(0, abs=1e-6)
    assert metrics["grad_norm"] > 0.1


def test_log_probabilities_of_a_bfloat16_model_are_summed_in_float32():
    model = bandit_model().bfloat16()

    logprobs_BA = logprobs_of([trajectory("1 .2")], model)

    expected = model(torch.tensor([[1]])).logits[0, 0].float().log_softmax(-1)[2]
    assert logprobs_BA.dtype == torch.float32
    assert logprobs_BA.item() == pytest.approx(expected.item(), abs=1e-6)


def test_a_small_gap_of_each_token_makes_the_weight_of_a_long_sequence_useless_but_not_its_geometric_mean():
    sampling, mask = torch.full((1, 100), -1.0), torch.ones(1, 100, dtype=torch.bool)

    product, mean = (
        raw_weights(sampling + 0.012, sampling, mask, level=level)[0, 0].item() for level in ("sequence", "geometric")
    )

    assert product > 3.0
    assert mean == pytest.approx(1.012, abs=1e-3)
