import dataclasses
import math
import statistics

import numpy as np
import pytest
import torch
from llmgym.agents.ppo import PPO
from support.bandit import PAID, bandit_model, bandit_rows, log_probabilities, trajectory

from llmgym.episode import StopReason
from llmgym.errors import ConfigError
from llmgym.learning import ActionBatch, CriticConfig, Learner, LearnerConfig, ModelOutputs, Policy


def batch_of(rows, values=0.0):
    batch = ActionBatch.from_trajectories(rows)
    return batch.replace(values_BA=torch.where(batch.mask_BA, values, 0.0))


def learner_of(agent=None, seed=0, critic=None, **config):
    critic = critic or CriticConfig(learning_rate=1e-2)
    return Learner(bandit_model(seed), agent or PPO(), LearnerConfig(learning_rate=1e-2, critic=critic, **config))


# Advantages


def test_reward_sits_on_the_last_real_token_of_each_row_and_not_on_padding():
    rows = [trajectory("1 .2 .3 .4", 1.0), trajectory("1 .2", 1.0)]

    batch = PPO(lam=0.0).advantages(batch_of(rows, values=0.25))

    # With lam = 0, an advantage is the temporal difference: the reward shows where it was paid, and nowhere else.
    assert batch.returns_BA.tolist() == [[0.25, 0.25, 1.0], [1.0, 0.0, 0.0]]


def test_tool_tokens_between_turns_change_no_advantage():
    plain, with_tool = trajectory("1 .2 .3 .4 .5", 1.0), trajectory("1 .2 .3 9 9 9 9 .4 .5", 1.0)
    other, agent = trajectory("1 .2", 0.0), PPO(gamma=0.9, lam=0.5)

    tables = [agent.advantages(batch_of([row, other], values=0.3)).advantages_BA for row in (plain, with_tool)]

    assert torch.equal(*tables)
    assert tables[0][0].unique().numel() == 4


def test_returns_keep_the_unit_of_rewards_and_advantages_are_whitened_over_real_tokens():
    rows = [trajectory("1 .2 .3 .4", 100.0), trajectory("1 .2", 0.0)]

    batch = PPO().advantages(batch_of(rows, values=20.0))

    assert batch.returns_BA.tolist() == [[100.0, 100.0, 100.0], [0.0, 0.0, 0.0]]
    real = [80.0, 80.0, 80.0, -20.0]
    expected = [(a - statistics.mean(real)) / statistics.stdev(real) for a in real]
    assert batch.advantages_BA[batch.mask_BA].tolist() == pytest.approx(expected)
    assert batch.advantages_BA[~batch.mask_BA].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "reason", [reason for reason in StopReason if reason not in (StopReason.TIME_LIMIT, StopReason.ENV_ERROR)]
)
def test_truncation_by_a_budget_is_an_end_after_which_nothing_is_expected(reason, monkeypatch):
    seen = returns_seen(monkeypatch, [trajectory("1 .2 .3", 0.0, reason)])

    assert seen.tolist() == [[0.0, 0.0]]


def test_after_a_time_limit_the_critic_says_what_was_still_to_be_expected(monkeypatch):
    cut = trajectory("1 .2 .3 4 5", 0.0, StopReason.TIME_LIMIT)

    seen = returns_seen(monkeypatch, [cut])

    # The value of the state that the episode was left in: what an action after the tool's last token would have.
    goes_on = trajectory("1 .2 .3 4 5 .6")
    value = Policy(bandit_model()).action_outputs([goes_on], temperature=1.0, critic=first_feature).values_BA[0, 2]
    assert seen.tolist() == [[pytest.approx(value.item(), abs=1e-5)] * 2]
    assert abs(value) > 0.1


def test_an_episode_that_our_machinery_broke_is_learned_from_in_no_way():
    broken = dataclasses.replace(trajectory("1 .2", 5.0, StopReason.ENV_ERROR), is_valid=False)
    learner = learner_of()

    metrics = learner.update([[broken]])

    assert (metrics["num_invalid"], metrics["num_trajectories"], metrics["num_optimizer_steps"]) == (1, 0, 0)
    assert learner.critic.weight.abs().sum() == 0


def first_feature(hidden):
    return hidden[:, 0].detach()


def returns_seen(monkeypatch, rows):
    """What the critic is to learn in an update on `rows`, where its values are the first feature."""
    found = []
    learner = learner_of(PPO(minibatches=1))
    with torch.no_grad():
        learner.critic.weight[0] = 1.0
    monkeypatch.setattr(learner, "_step", lambda rows, batch, units, report: found.append(batch.returns_BA))
    monkeypatch.setattr("llmgym.learning.update_metrics.UpdateReport.means", lambda self: {})
    learner.update([rows])
    return found[0]


# The agent


@pytest.mark.parametrize(
    "wrong",
    [
        {"gamma": 1.1},
        {"lam": -0.1},
        {"clip_low": 1.5},
        {"dual_clip": 1.1},
        {"value_clip": 0.0},
        {"vf_coef": -1.0},
        {"entropy_coef": -1.0},
        {"temperature": 0.0},
        {"group_size": 0},
    ],
)
def test_setting_out_of_range_is_an_error(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        PPO(**wrong)


def test_loss_has_a_policy_a_value_and_an_entropy_component():
    agent = PPO(vf_coef=0.5, entropy_coef=0.1, value_clip=math.inf)
    batch = agent.advantages(batch_of([trajectory("1 .2 .3", 1.0), trajectory("1 .2", 0.0)], values=0.5))
    full = torch.full(batch.mask_BA.shape, -1.0)

    components = agent.loss(ModelOutputs(full, entropy_BA=-2 * full, values_BA=0 * full), batch)

    assert components["value"].tolist() == [[0.25, 0.25], [0.0, 0.0]]
    assert components["entropy"].tolist() == [[pytest.approx(-0.2)] * 2, [pytest.approx(-0.2), 0.0]]
    torch.testing.assert_close(components["policy"], -batch.advantages_BA)


# It learns


@pytest.mark.parametrize("settings", [{}, {"epochs": 2}, {"minibatches": 1}], ids=str)
def test_ppo_on_a_bandit_raises_the_paid_tokens_probability_and_learns_its_value(settings):
    learner, rng = learner_of(PPO(**settings), critic=CriticConfig(learning_rate=3e-2)), np.random.default_rng(0)
    model = learner.policy.module
    before = log_probabilities(model)[PAID].exp()

    metrics = [learner.update([bandit_rows(model, rng)]) for _ in range(30)]

    assert before < 0.3
    assert log_probabilities(model)[PAID].exp() > 0.9
    assert metrics[-1]["value"] == pytest.approx(1.0, abs=0.2)
    assert all(math.isfinite(value) for entry in metrics for value in entry.values())
