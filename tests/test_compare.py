"""Whether a difference between two policies is more than luck."""

import itertools
import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llmgym.episode import StopReason, Trajectory
from llmgym.errors import ConfigError
from llmgym.evaluation import Evaluation
from llmgym.evaluation.compare import compare_reward, compare_success, mcnemar_test, sign_flip_test, tango_interval

Z = NormalDist().inv_cdf(0.975)


def evaluation(rewards: dict[str, list[float]]) -> Evaluation:
    def episode(key: str, group: int, sample: int, reward: float) -> Trajectory:
        return Trajectory(
            segments=(), turns=(), reward=reward, terminated=True, truncated=False, stop_reason=StopReason.ANSWERED,
            task_key=key, group_id=group, sample_index=sample, is_valid=not math.isnan(reward), metadata={},
        )  # fmt: skip

    episodes = [
        episode(key, group, sample, reward)
        for group, (key, of_task) in enumerate(rewards.items())
        for sample, reward in enumerate(of_task)
    ]
    return Evaluation(tuple(episodes), 1.0)


def share_of_sign_patterns(differences: list[float]) -> float:
    """The definition: of all ways to give the differences signs, those whose sum is as far from 0."""
    sums = [abs(sum(s * d for s, d in zip(signs, differences, strict=True))) for signs in
            itertools.product((-1, 1), repeat=len(differences))]  # fmt: skip
    return sum(total >= abs(sum(differences)) for total in sums) / len(sums)


@given(st.integers(0, 7), st.integers(0, 7))
def test_mcnemar_is_the_share_of_sign_patterns_of_the_pairs_that_differ(gained: int, lost: int) -> None:
    assert mcnemar_test(gained, lost) == pytest.approx(share_of_sign_patterns([1.0] * gained + [-1.0] * lost))


@given(st.lists(st.integers(-8, 8), min_size=1, max_size=9))
def test_sign_flips_are_counted_exactly_where_there_are_few(eighths: list[int]) -> None:
    differences = [value / 8 for value in eighths]

    assert sign_flip_test(differences) == pytest.approx(share_of_sign_patterns(differences))


def test_many_sign_flips_are_drawn_and_come_near_the_exact_share() -> None:
    differences = [1.0] * 25 + [-1.0] * 12

    assert sign_flip_test(differences) == pytest.approx(mcnemar_test(25, 12), abs=0.003)
    assert sign_flip_test([1.0] * 200) == 1e-5  # never 0


def test_a_large_count_of_pairs_overflows_nothing() -> None:
    assert 0 < mcnemar_test(3000, 2700) < 1e-4


def likeliest_share_lost(gained: int, lost: int, same: int, d: float) -> float:
    """By trying: the share of lost pairs that makes what was seen likeliest, where gained exceeds it by d."""
    shares = np.linspace(max(0.0, -d), (1 - d) / 2, 20001)[1:-1]
    likelihood = gained * np.log(shares + d) + lost * np.log(shares) + same * np.log(1 - 2 * shares - d)
    return float(shares[likelihood.argmax()])


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 40))
def test_tango_ends_are_where_the_score_test_just_rejects(gained: int, lost: int, same: int) -> None:
    n = gained + lost + same

    estimate = tango_interval(gained, lost, n)

    assert -1 <= estimate.low <= estimate.value <= estimate.high <= 1
    for end in (estimate.low, estimate.high):
        q = likeliest_share_lost(gained, lost, same, end)
        deviation = math.sqrt(n * (2 * q + end - end**2))
        assert abs(gained - lost - n * end) / deviation == pytest.approx(Z, rel=0.01)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_tango_interval_turns_over_with_the_order_of_the_two(gained: int, lost: int, same: int) -> None:
    assume(gained + lost + same)

    one, other = tango_interval(gained, lost, gained + lost + same), tango_interval(lost, gained, gained + lost + same)

    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)


def test_tango_interval_without_a_pair_that_differs_is_that_of_wilson() -> None:
    assert tango_interval(0, 0, 100).high == pytest.approx(Z**2 / (100 + Z**2))


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ConfigError, match="3 gained and 2 lost of 4 pairs"):
        tango_interval(3, 2, 4)


def test_tasks_are_paired_by_key_and_the_others_are_named() -> None:
    first = evaluation({"a": [1.0], "b": [0.0], "c": [1.0], "only": [0.0]})
    second = evaluation({"c": [0.0], "b": [1.0], "a": [1.0], "new": [1.0], "broken": [math.nan]})

    comparison = compare_success(first, second)

    assert comparison.values == {"a": (1.0, 1.0), "b": (0.0, 1.0), "c": (1.0, 0.0)}
    assert (comparison.only_first, comparison.only_second) == (("only",), ("new",))
    assert list(comparison.changed) == ["c", "b"]
    assert (comparison.difference.value, comparison.p_value) == (0.0, 1.0)
    assert "McNemar" in comparison.method


def test_several_samples_of_a_task_are_compared_by_their_means() -> None:
    first = evaluation({"a": [1.0, 0.0], "b": [0.0, 0.0], "c": [0.0, 0.0, 0.0, 1.0]})
    second = evaluation({"a": [1.0, 1.0], "b": [1.0, 0.0], "c": [0.0, 1.0]})

    comparison = compare_success(first, second)

    assert comparison.difference.value == pytest.approx((0.5 + 0.5 + 0.25) / 3)
    assert comparison.p_value == pytest.approx(share_of_sign_patterns([0.5, 0.5, 0.25]))
    assert "sign-flip" in comparison.method


def test_rewards_below_the_full_one_are_no_successes_but_differ() -> None:
    first, second = evaluation({"a": [0.5], "b": [0.25]}), evaluation({"a": [0.75], "b": [0.5]})

    assert compare_success(first, second).difference.value == 0.0
    assert compare_reward(first, second).difference.value == pytest.approx(0.25)


def test_evaluations_without_a_common_task_cannot_be_compared() -> None:
    with pytest.raises(ConfigError, match="same split of the same environment"):
        compare_success(evaluation({"a": [1.0]}), evaluation({"b": [1.0]}))


def test_equal_policies_are_told_apart_once_in_twenty_times_at_most() -> None:
    rng = np.random.default_rng(0)

    def rejects() -> bool:
        outcomes: Any = rng.random((2, 60)) < 0.6
        gained, lost = int((outcomes[1] & ~outcomes[0]).sum()), int((outcomes[0] & ~outcomes[1]).sum())
        return mcnemar_test(gained, lost) < 0.05

    assert sum(rejects() for _ in range(2000)) / 2000 < 0.055
