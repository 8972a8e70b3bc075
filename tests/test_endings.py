"""Runs that end before their last step: on a plateau, or because the policy is being destroyed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgym.errors import ConfigError, LearnerError
from llmgym.training.endings import DivergenceWatch, EndingConfig, has_plateaued

shares = st.lists(st.integers(0, 10).map(lambda tenths: tenths / 10), max_size=12)


@given(shares, st.integers(1, 5))
def test_a_plateau_is_a_best_that_the_last_evaluations_did_not_exceed(success: list[float], patience: int) -> None:
    earlier, last = success[:-patience], success[-patience:]

    is_plateau = bool(earlier) and max(last) <= max(earlier)

    assert has_plateaued(success, patience=patience, min_rise=0.0) == is_plateau


@given(shares)
def test_without_patience_there_is_no_plateau(success: list[float]) -> None:
    assert not has_plateaued(success, patience=0, min_rise=0.0)


def test_a_rise_that_is_too_small_is_no_new_best() -> None:
    creeping = [0.5, 0.52, 0.54]

    assert has_plateaued(creeping, patience=2, min_rise=0.05)
    assert not has_plateaued(creeping, patience=2, min_rise=0.01)


def watched(norms: list[float], *, max_growth: float = 100.0) -> DivergenceWatch:
    watch = DivergenceWatch(max_growth)
    for norm in norms:
        watch.add({"grad_norm": norm})
    return watch


@given(st.lists(st.floats(0.5, 49.0), min_size=1, max_size=80))
def test_norms_within_the_allowed_growth_never_stop_a_run(norms: list[float]) -> None:
    assert not watched(norms).is_suspicious


def test_norms_that_explode_twice_in_a_row_stop_the_run_and_once_do_not() -> None:
    usual = [1.0, 2.0, 1.0] * 5

    assert not watched([*usual, 500.0, 1.0, 500.0, 1.0]).is_suspicious
    assert watched([*usual, 500.0]).is_suspicious
    with pytest.raises(LearnerError, match=r"500, 500 times its median of 1.*diverged.*learning_rate"):
        watched([*usual, 500.0, 500.0])


def test_a_gradient_that_is_not_finite_makes_the_weights_suspicious() -> None:
    assert watched([1.0] * 20 + [math.nan]).is_suspicious
    assert not watched([1.0] * 20 + [math.nan, 1.0]).is_suspicious


def test_a_step_without_a_gradient_says_nothing() -> None:
    watch = watched([0.0] * 20)

    watch.add({})
    watch.add({"grad_norm": 5.0})

    assert not watch.is_suspicious


def test_a_watch_goes_on_from_its_state() -> None:
    former, watch = watched([1.0] * 15 + [500.0]), DivergenceWatch(100.0)

    watch.load_state_dict(former.state_dict())

    with pytest.raises(LearnerError):
        watch.add({"grad_norm": 500.0})


@pytest.mark.parametrize(
    "settings", [{"patience": -1}, {"min_rise": 1.0}, {"model": "first"}, {"max_norm_growth": 1.0}]
)
def test_settings_without_sense_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"ending.{next(iter(settings))}"):
        EndingConfig(**settings)  # type: ignore[arg-type]
