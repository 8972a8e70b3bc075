"""The soft punishment of answers near the token limit, and no gradient from those that were cut."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from llmgym.agents.grpo import GRPO
from llmgym.agents.presets import DAPO
from support.bandit import bandit_model, trajectory

from llmgym.episode import StopReason
from llmgym.errors import ConfigError
from llmgym.learning import ActionBatch, Learner, LearnerConfig
from llmgym.learning.overlong import charge, overlong_penalty, without_truncated


def answer(length, reward=0.0, stop_reason=StopReason.ANSWERED):
    return trajectory("1 " + " ".join([".2"] * length), reward, stop_reason)


def batch_of(rows, max_actions=None):
    return ActionBatch.from_trajectories(rows, max_actions=max_actions)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=5), st.integers(1, 20), st.integers(1, 20), st.floats(0, 3))
def test_penalty_equals_the_three_cases_of_the_paper(lengths, limit, buffer, penalty):
    buffer = min(buffer, limit)
    mask = torch.arange(20)[None, :] < torch.tensor(lengths)[:, None]

    found = overlong_penalty(mask, max_actions=limit, buffer=buffer / limit, penalty=penalty)

    def by_definition(length):
        if length <= limit - buffer:
            return 0.0
        if length <= limit:
            return ((limit - buffer) - length) / buffer
        return -1.0

    assert found.tolist() == pytest.approx([-penalty * by_definition(length) for length in lengths], abs=1e-9)


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(-2, 2, width=32)), min_size=1, max_size=5))
def test_a_cost_stands_on_the_last_token_and_in_the_sum_and_nowhere_else(entries):
    batch = batch_of([answer(length, reward=1.0) for length, _ in entries])

    charged = charge(batch, torch.tensor([cost for _, cost in entries], dtype=torch.float64))

    for row, (length, cost) in enumerate(entries):
        before, after = batch.rewards_BA[row].tolist(), charged.rewards_BA[row].tolist()
        expected = [r - (cost if t == length - 1 else 0.0) for t, r in enumerate(before)]
        assert after == pytest.approx(expected, abs=1e-6)
        assert charged.reward_B[row] == pytest.approx(1.0 - cost)


@given(st.lists(st.tuples(st.floats(-3, 3, width=32), st.booleans()), min_size=1, max_size=5))
def test_without_truncated_sets_their_advantages_to_zero_and_no_others(entries):
    advantages = torch.tensor([[a, a] for a, _ in entries])

    kept = without_truncated(advantages, torch.tensor([is_cut for _, is_cut in entries]))

    assert kept.tolist() == [[0.0, 0.0] if is_cut else [a, a] for a, is_cut in entries]


def test_a_long_right_answer_is_worth_less_than_a_short_one_and_the_environments_reward_stays_visible():
    rows = [answer(2, 1.0), answer(8, 1.0), answer(10, 1.0), answer(2, 0.0)]
    agent = GRPO(overlong_buffer=0.4, overlong_penalty=0.5, scale_by_std=False)
    learner = Learner(bandit_model(), agent, LearnerConfig(max_actions=10))

    metrics = learner.update([rows])

    shaped = [1.0, 0.75, 0.5, 0.0]
    found = [float(learner.last_advantages[row][0]) for row in rows]
    assert found == pytest.approx([r - sum(shaped) / 4 for r in shaped])
    assert metrics["shaped_reward"] == pytest.approx(sum(shaped) / 4)
    assert [row.reward for row in rows] == [1.0, 1.0, 1.0, 0.0]


def test_rewards_that_nothing_changed_are_reported_once():
    assert "shaped_reward" not in Learner(bandit_model(), GRPO()).update([[answer(1, 1.0), answer(1)]])


def test_dapo_drops_groups_by_what_the_environment_paid_and_not_by_their_length():
    same_reward = [answer(2, 1.0), answer(10, 1.0)]

    assert DAPO().select([same_reward]) == []


def test_the_limit_must_be_known_where_its_nearness_costs():
    with pytest.raises(ConfigError, match=r"DAPO measures .* learner\.max_actions is not set"):
        Learner(bandit_model(), DAPO())


@pytest.mark.parametrize("mask_truncated", [False, True])
def test_truncated_trajectories_move_the_policy_only_where_they_are_not_filtered(mask_truncated):
    cut, other = answer(3, 0.0, StopReason.TIME_LIMIT), answer(1, 1.0)
    learner = Learner(bandit_model(), GRPO(mask_truncated=mask_truncated))

    learner.update([[cut, other]])

    assert (learner.last_advantages[cut] == 0).all() == mask_truncated
    assert learner.last_advantages[other][0] == pytest.approx(math.sqrt(0.5))


def test_truncated_is_what_the_environment_said_whatever_the_last_token_is():
    rows = [answer(2), dataclasses.replace(answer(2), terminated=False, truncated=True)]

    assert batch_of(rows).is_truncated_B.tolist() == [False, True]


@pytest.mark.parametrize("wrong", [{"overlong_buffer": 1.5}, {"overlong_penalty": -1.0}, {"resample_rounds": 3}])
def test_setting_without_a_sense_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        GRPO(**wrong)
