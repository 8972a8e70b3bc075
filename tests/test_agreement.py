"""Where the learner refuses to go on because the sampler is another policy: first, and after new weights were sent."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from llmgym.agents.grpo import GRPO
from support.bandit import trajectory
from support.models import tiny_model

from llmgym.errors import LearnerError
from llmgym.learning import CorrectionConfig, Learner, LearnerConfig
from llmgym.learning.action_batch import ActionBatch
from llmgym.learning.agreement import AgreementCheck


def check_of(*, dtype=torch.float32, sampler_dtype="float32", max_mean_gap=0.05):
    check = AgreementCheck(max_mean_gap, dtype)
    check.sampler_dtype = sampler_dtype
    return check


def require(check, gaps, versions, *, version, is_first_update=False):
    """The check on tokens of these versions, about which the learner says this much more than the sampler."""
    learner_BA = torch.tensor([gaps])
    batch = ActionBatch(
        mask_BA=torch.ones_like(learner_BA, dtype=torch.bool),
        rewards_BA=torch.zeros_like(learner_BA),
        reward_B=torch.zeros(1, dtype=torch.float64),
        group_B=torch.zeros(1, dtype=torch.int64),
        bootstrap_value_B=torch.zeros(1),
        max_actions=len(gaps),
        sampling_logprobs_BA=torch.zeros_like(learner_BA),
        weight_version_BA=torch.tensor([versions]),
    )
    check.require(batch, learner_BA, is_first_update=is_first_update, version=version)


def test_weights_that_did_not_arrive_stop_the_run_and_the_error_says_where_to_look():
    check = check_of()
    require(check, [1e-6, 1e-6], [0, 0], version=0, is_first_update=True)

    with pytest.raises(LearnerError, match=r"After the weights of version 1 .* tied .* prefix cache"):
        require(check, [0.01, 0.0], [1, 1], version=1)


@given(st.lists(st.tuples(st.floats(-9, 9), st.integers(0, 6)), min_size=1), st.floats(-1e-4, 1e-4))
def test_only_tokens_of_exactly_the_present_weights_are_looked_at(others, rounding):
    gaps, versions = zip(*others, (rounding, 7), strict=True)

    require(check_of(), [float(gap) for gap in gaps], list(versions), version=7)


def test_where_there_is_no_such_token_the_next_update_is_looked_at():
    check = check_of()
    require(check, [9.0], [0], version=1)

    with pytest.raises(LearnerError):
        require(check, [9.0], [2], version=2)


def test_weights_that_never_arrive_are_found_once_the_policy_has_moved_away_from_the_first_ones():
    """As with a small learning rate: each update moves it by less than rounding may explain."""
    check = check_of()
    for version in range(1, 4):
        require(check, [3e-4 * version], [version], version=version)

    with pytest.raises(LearnerError, match="version 4"):
        require(check, [3e-4 * 4], [4], version=4)


def test_a_gap_that_comes_late_is_a_metric_and_no_error():
    check = check_of()
    for version in range(1, 11):
        check.num_moves += 1
        require(check, [1e-6], [version], version=version)
    check.num_moves += 1

    require(check, [9.0], [11], version=11)


def update_of(reward, learner):
    """An update in which one of two trajectories earns `reward` and the other nothing, sampled by the learner."""
    learner.weight_version = learner.num_updates
    rows = sampled_by(learner, version=learner.num_updates)
    learner.update([[dataclasses.replace(rows[0], reward=reward), rows[1]]])


def test_updates_that_leave_the_policy_as_it_was_use_up_no_look():
    learner = Learner(tiny_model(0), GRPO(), LearnerConfig(learning_rate=1e-2))
    for reward in [1.0, *[0.0] * 11, *[1.0] * 9]:
        update_of(reward, learner)
    learner.weight_version = learner.num_updates
    lying = [as_sampled(row, np.zeros(row.num_actions), learner.num_updates) for row in sampled_by(learner, version=0)]

    with pytest.raises(LearnerError, match=f"version {learner.num_updates}"):
        learner.update([lying])


@pytest.mark.parametrize(
    ("dtype", "sampler_dtype", "gap", "is_explained"),
    [
        (torch.float32, "float32", 0.01, False),
        (torch.float32, "bfloat16", 0.01, True),
        (torch.bfloat16, "bfloat16", 0.02, True),
        (torch.bfloat16, "bfloat16", 0.1, False),
        (torch.float32, None, 0.01, True),
        (torch.float32, "float32", math.nan, False),
    ],
)
def test_a_gap_is_allowed_as_far_as_rounding_explains_it(dtype, sampler_dtype, gap, is_explained):
    check = check_of(dtype=dtype, sampler_dtype=sampler_dtype)

    if is_explained:
        require(check, [gap], [1], version=1)
    else:
        with pytest.raises(LearnerError, match="nats a token"):
            require(check, [gap], [1], version=1)


# -- tokens that are older than the weights ----------------------------------------------------------------------------


def learner_one_step_off(**options):
    """A learner whose next update is the second, and what the first one's weights said of the trajectories."""
    learner = Learner(
        tiny_model(0), GRPO(), LearnerConfig(learning_rate=1e-2, correction=CorrectionConfig(), **options)
    )
    learner.agreement.sampler_dtype, learner.agreement.looks_back = "float32", True
    rows = sampled_by(learner, version=0)
    learner.weight_version = 0
    learner.update([rows])
    learner.weight_version = 1
    return learner, rows


def sampled_by(learner, *, version):
    rows = [trajectory("1 .2 .3 .4 .5", 1.0), trajectory("3 .1 .9 .8", 0.0)]
    logprobs = learner.policy.action_outputs(rows, temperature=1.0).logprobs_BA.detach().numpy()
    return [as_sampled(row, row_logprobs, version) for row, row_logprobs in zip(rows, logprobs, strict=True)]


def as_sampled(row, logprobs, version):
    logprobs = np.concatenate([[0], logprobs[: row.num_actions]]).astype(np.float32)
    versions = np.full(len(logprobs), version, dtype=np.int32)
    return dataclasses.replace(
        row, segments=(dataclasses.replace(row.segments[0], sampling_logprobs=logprobs, weight_version=versions),)
    )


def test_tokens_of_the_weights_before_agree_with_these_and_the_look_back_changes_nothing():
    learner, rows = learner_one_step_off()
    plain, _ = learner_one_step_off()
    plain.agreement.looks_back = False

    metrics, expected = learner.update([rows]), plain.update([rows])

    assert metrics["mean_logprob_gap"] > 0.01  # which the present weights do not agree with
    assert metrics == expected
    states = learner.policy.module.state_dict(), plain.policy.module.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[1])


def test_a_sampler_that_lies_is_caught_one_step_off():
    learner, rows = learner_one_step_off()
    lying = [as_sampled(row, row.segments[0].sampling_logprobs[1:] + 0.01, 0) for row in rows]

    with pytest.raises(LearnerError, match=r"disagree .* by 0\.01 nats"):
        learner.update([lying])


def test_a_sampler_that_did_not_take_the_weights_is_caught_one_step_off():
    learner, rows = learner_one_step_off()
    learner.update([rows])
    learner.weight_version = 2

    with pytest.raises(LearnerError, match="version 1"):
        learner.update([[as_sampled(row, row.segments[0].sampling_logprobs[1:], 1) for row in rows]])


@pytest.mark.parametrize("age", [0, 1])
def test_past_weights_are_kept_for_ten_updates_whether_or_not_tokens_of_theirs_come(age):
    learner, _ = learner_one_step_off(max_sampling_gap=math.inf)
    for version in range(1, 12):
        was_kept = learner.agreement._past is not None
        learner.weight_version = version
        learner.update([sampled_by(learner, version=version - age)])
        assert was_kept is (version <= 10)


def test_tokens_that_are_several_updates_old_are_compared_with_the_weights_that_sampled_them():
    learner, rows = learner_one_step_off()
    honest = sampled_by(learner, version=1)
    lying = [as_sampled(row, row.segments[0].sampling_logprobs[1:] + 0.01, 1) for row in honest]
    for learner.weight_version in (1, 2, 3):
        learner.update([rows])
    learner.weight_version = 4

    with pytest.raises(LearnerError, match=r"version 1 .* by 0\.01 nats"):
        learner.update([lying])
    assert learner.update([honest])["mean_logprob_gap"] > 0.01  # of the present weights


def test_the_checks_can_be_switched_off():
    check = check_of(max_mean_gap=math.inf)

    require(check, [9.0], [0], version=0, is_first_update=True)
    require(check, [9.0], [1], version=1)
