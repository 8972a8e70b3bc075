"""Where the learner refuses to go on because the sampler is another policy: first, and after new weights were sent."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmgym.errors import LearnerError
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
        require(check, [1e-6], [version], version=version)

    require(check, [9.0], [11], version=11)


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


def test_the_checks_can_be_switched_off():
    check = check_of(max_mean_gap=math.inf)

    require(check, [9.0], [0], version=0, is_first_update=True)
    require(check, [9.0], [1], version=1)
