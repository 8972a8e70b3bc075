import math

import numpy as np
import pytest
import torch
from llmgym.agents.cispo import CISPO
from llmgym.agents.grpo import GRPO, GRPOConfig
from llmgym.agents.gspo import GSPO
from llmgym.agents.ppo import PPO
from llmgym.agents.presets import DAPO, DrGRPO
from llmgym.agents.reinforce import Reinforce
from llmgym.agents.reinforce_pp import ReinforcePP, ReinforcePPBaseline
from llmgym.agents.rloo import RLOO
from llmgym.agents.sft import SFT
from support.bandit import PAID, bandit_model, log_probabilities

from llmgym.episode import Segment, StopReason, Trajectory
from llmgym.errors import ConfigError
from llmgym.learning import ActionBatch, Aggregation, Learner, LearnerConfig, ModelOutputs, check_agent
from llmgym.learning.aggregation import action_weights, weighted_loss
from llmgym.registry import AGENTS


def trajectory(token_ids, *, reward, logprob=-1.0):
    """The first token is the prompt, the others were sampled."""
    ids = np.array(token_ids, dtype=np.int32)
    is_action = np.arange(len(ids)) > 0
    return Trajectory(
        segments=(Segment(ids, is_action, np.where(is_action, logprob, 0).astype(np.float32)),),
        turns=(),
        reward=reward,
        terminated=True,
        truncated=False,
        stop_reason=StopReason.ANSWERED,
        metadata={},
    )


def batch_of(rewards):
    return ActionBatch.from_trajectories([trajectory([0, 1, 2], reward=reward) for reward in rewards])


def outputs_like(batch, logprob):
    return ModelOutputs(torch.full(batch.mask_BA.shape, logprob).requires_grad_())


@pytest.mark.parametrize(
    "agent",
    [
        GRPO(),
        GRPO(scale_by_std=False, epochs=2, clip_high=0.3),
        GRPO(aggregation=Aggregation.TRAJECTORY_MEAN),
        GRPO(aggregation=Aggregation.CONSTANT),
        GRPO(dual_clip=3.0, drop_equal_groups=True, resample_rounds=2),
        GRPO(overlong_buffer=0.5, mask_truncated=True),
        DrGRPO(),
        DAPO(),
        GSPO(),
        GSPO(aggregation=Aggregation.TOKEN_MEAN, clip_low=0.2, clip_high=0.2, dual_clip=3.0),
        CISPO(),
        CISPO(minibatches=1, max_ratio=1.0),
        ReinforcePP(),
        ReinforcePP(epochs=2, dual_clip=3.0, group_size=4),
        ReinforcePPBaseline(),
        PPO(),
        PPO(gamma=0.9, lam=0.95, dual_clip=3.0, value_clip=0.1, vf_coef=1.0, entropy_coef=0.01, epochs=2),
        PPO(aggregation=Aggregation.TRAJECTORY_MEAN, minibatches=1),
        Reinforce(),
        Reinforce(scale_by_std=False, group_size=2),
        RLOO(),
        SFT(),
        SFT(aggregation=Aggregation.TRAJECTORY_MEAN),
    ],
    ids=lambda agent: type(agent).__name__,
)
def test_agent_keeps_all_promises(agent):
    assert check_agent(agent) is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("cispo", CISPO),
        ("dapo", DAPO),
        ("drgrpo", DrGRPO),
        ("grpo", GRPO),
        ("gspo", GSPO),
        ("ppo", PPO),
        ("reinforce", Reinforce),
        ("reinforce++", ReinforcePP),
        ("reinforce++-baseline", ReinforcePPBaseline),
        ("rloo", RLOO),
        ("sft", SFT),
    ],
)
def test_agents_are_registered_by_name(name, kind):
    assert AGENTS.lookup(name) is kind


def test_settings_come_by_name_or_as_a_config():
    assert GRPO(group_size=4, aggregation="constant").config == GRPOConfig(
        group_size=4, aggregation=Aggregation.CONSTANT
    )
    assert GRPO(GRPOConfig(epochs=2)).rollout.epochs == 2


def test_misspelt_setting_is_an_error_that_names_the_nearest():
    with pytest.raises(ConfigError, match=r"agent\.group_sise is not a setting\. Did you mean 'group_size'\?"):
        GRPO(group_sise=4)


@pytest.mark.parametrize("wrong", [{"group_size": 1}, {"clip_low": 1.5}, {"temperature": 0.0}])
def test_setting_out_of_range_is_an_error(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        GRPO(**wrong)


def test_grpo_scales_rewards_by_the_sample_deviation_of_the_group():
    batch = GRPO().advantages(batch_of([1.0, 0.0, 0.0, 0.0]))

    expected = [[0.75 / 0.5] * 2] + [[-0.25 / 0.5] * 2] * 3
    assert torch.allclose(batch.advantages_BA, torch.tensor(expected))


def test_grpo_compares_a_trajectory_with_its_own_group_only():
    batch = batch_of([1.0, 0.0, 101.0, 100.0]).replace(group_B=torch.tensor([0, 0, 1, 1]))

    advantages = GRPO(scale_by_std=False).advantages(batch).advantages_BA[:, 0]

    assert advantages.tolist() == [0.5, -0.5, 0.5, -0.5]


def test_grpo_reports_the_share_of_clipped_tokens():
    agent = GRPO(scale_by_std=False)
    batch = agent.advantages(batch_of([1.0, 0.0]))
    batch = batch.replace(old_logprobs_BA=torch.full((2, 2), -1.0))

    clipped = agent.diagnostics(outputs_like(batch, -0.5), batch)["clip_share"]

    # All ratios are exp(0.5); only where the advantage is positive does the upper bound matter.
    assert clipped.tolist() == [[1.0, 1.0], [0.0, 0.0]]


def test_sft_loss_is_the_negative_log_likelihood():
    batch = batch_of([0.0])

    assert SFT().loss(outputs_like(batch, -1.5), batch)["nll"].tolist() == [[1.5, 1.5]]


def bandit_group(model, rng):
    log_p = log_probabilities(model)
    p = log_p.double().exp().numpy()
    tokens = rng.choice(len(p), size=8, p=p / p.sum())
    return [trajectory([1, token], reward=float(token == PAID), logprob=log_p[token].item()) for token in tokens]


@pytest.mark.parametrize("settings", [{}, {"epochs": 2, "minibatches": 2}], ids=["on policy", "several steps"])
def test_grpo_on_a_bandit_raises_the_paid_tokens_probability(settings):
    model, rng = bandit_model(), np.random.default_rng(0)
    learner = Learner(model, GRPO(**settings), LearnerConfig(learning_rate=1e-2))
    before = log_probabilities(model)[PAID].exp()

    metrics = [learner.update([bandit_group(model, rng), bandit_group(model, rng)]) for _ in range(15)]

    assert before < 0.3
    assert log_probabilities(model)[PAID].exp() > 0.9
    assert max(entry["max_logprob_gap"] for entry in metrics) < 1e-4


def test_rloo_moves_each_trajectory_as_one_action_by_what_the_others_earned():
    rewards = [1.0, 0.0, 0.5]
    agent = RLOO(group_size=3)
    batch = agent.advantages(batch_of(rewards))
    logprobs_BA = torch.full(batch.mask_BA.shape, -1.0).requires_grad_()

    loss_B = agent.loss(ModelOutputs(logprobs_BA), batch)["policy"]
    weighted_loss(loss_B, action_weights(batch, agent.aggregation)).backward()

    others = [0.25, 0.75, 0.5]
    expected = [[-(reward - other) / 3] * 2 for reward, other in zip(rewards, others, strict=True)]
    torch.testing.assert_close(logprobs_BA.grad, torch.tensor(expected))


def test_reinforce_compares_with_the_whole_batch_whatever_the_groups():
    batch = batch_of([1.0, 0.0, 0.0, 1.0]).replace(group_B=torch.tensor([0, 0, 1, 1]))

    plain = Reinforce(scale_by_std=False).advantages(batch).advantages_BA
    scaled = Reinforce().advantages(batch).advantages_BA

    deviation = math.sqrt(4 * 0.25 / 3)
    torch.testing.assert_close(plain[:, 0], torch.tensor([0.5, -0.5, -0.5, 0.5]))
    torch.testing.assert_close(scaled, plain / deviation)


@pytest.mark.parametrize("agent", [RLOO, Reinforce])
def test_greedy_sampling_is_refused_where_samples_must_differ(agent):
    with pytest.raises(ConfigError, match="greedy"):
        agent(temperature=0.0)


def test_drgrpo_divides_neither_by_the_deviation_nor_by_the_length():
    rows = [trajectory([0, 1, 2, 3], reward=1.0), trajectory([0, 1], reward=0.0)]
    agent = DrGRPO()
    batch = agent.advantages(ActionBatch.from_trajectories(rows, max_actions=10))

    weights_BA = action_weights(batch, agent.aggregation)

    assert batch.advantages_BA.tolist() == [[0.5, 0.5, 0.5], [-0.5, 0.0, 0.0]]
    assert weights_BA[batch.mask_BA].tolist() == pytest.approx([1 / 20] * 4)


def test_dapo_drops_groups_whose_rewards_are_equal_and_clips_higher():
    groups = [[trajectory([0, 1], reward=reward) for reward in rewards] for rewards in ((1, 1), (0, 1), (0.1, 0.1))]

    agent = DAPO()

    assert agent.select(groups) == [groups[1]]
    assert (agent.config.clip_low, agent.config.clip_high) == (0.2, 0.28)
    assert agent.aggregation is Aggregation.TOKEN_MEAN


def test_dapo_asks_for_replacements_of_dropped_groups_and_grpo_does_not():
    assert DAPO().rollout.resample_rounds > 0
    assert GRPO().rollout.resample_rounds == 0
    with pytest.raises(ConfigError, match="resample_rounds is -1, but it must be at least 0"):
        DAPO(resample_rounds=-1)


def test_presets_can_be_changed_like_grpo_itself():
    assert DrGRPO(group_size=4, scale_by_std=True).config.scale_by_std
    with pytest.raises(ConfigError, match="A GRPOConfig was given, but DAPOConfig was expected"):
        DAPO(GRPOConfig())
