"""Mixtures of environments: their shares, their state, and the curriculum that moves them."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import llmgym
from llmgym.errors import ConfigError
from llmgym.rollout import TaskMixture, whole_shares
from llmgym.training.curriculum import Curriculum, CurriculumConfig, curriculum_weights

NAMES = ("a", "b", "c", "d")
weights_of_some = st.lists(st.floats(0.05, 20), min_size=1, max_size=4).map(
    lambda values: dict(zip(NAMES, values, strict=False))
)


def mixture(weights: dict[str, float], *, seed: int = 0, size: int = 5) -> TaskMixture:
    sources = {
        name: llmgym.FiniteTasks([llmgym.Task(key=f"{name}{index}", prompt=str(index)) for index in range(size)])
        for name in weights
    }
    return TaskMixture(sources, weights, seed=seed)


@given(weights_of_some, st.integers(1, 200))
def test_no_environment_is_ever_a_whole_task_ahead_of_its_share(weights: dict[str, float], num_tasks: int) -> None:
    tasks = mixture(weights)

    counts = Counter(tasks.next()[0] for _ in range(num_tasks))

    for name, weight in weights.items():
        ahead = counts[name] - num_tasks * weight / sum(weights.values())
        assert -(len(weights) - 1) - 1e-9 < ahead < 1 + 1e-9


def test_whole_shares_are_exact_after_each_cycle() -> None:
    tasks = mixture({"a": 3.0, "b": 1.0, "c": 1.0})

    names = [tasks.next()[0] for _ in range(500)]

    assert Counter(names) == {"a": 300, "b": 100, "c": 100}
    assert max(len(run) for run in "".join(names).replace("b", "-").replace("c", "-").split("-")) <= 3


def test_each_environment_hands_out_all_its_tasks_once_an_epoch_in_an_order_of_the_seed() -> None:
    first, again, other = (mixture({"a": 1.0, "b": 1.0}, seed=seed) for seed in (3, 3, 4))

    tasks = [[each.next() for _ in range(10)] for each in (first, again, other)]
    keys = [[task.key for _, task in handed] for handed in tasks]

    assert keys[0] == keys[1] != keys[2]
    assert sorted(keys[0]) == sorted(f"{name}{index}" for name in "ab" for index in range(5))
    assert all(task.key.startswith(name) for name, task in tasks[0])


@given(weights_of_some, weights_of_some, st.integers(0, 40))
def test_a_mixture_goes_on_from_its_state_as_if_nothing_had_been(
    weights: dict[str, float], others: dict[str, float], num_before: int
) -> None:
    later = {name: others.get(name, 1.0) for name in weights}
    tasks, resumed = mixture(weights), mixture(weights)
    for _ in range(num_before):
        tasks.next()
    tasks.weights = resumed.weights = later

    resumed.load_state_dict(tasks.state_dict())

    assert [(n, t.key) for n, t in (resumed.next() for _ in range(30))] == [
        (n, t.key) for n, t in (tasks.next() for _ in range(30))
    ]


def test_new_weights_do_not_make_up_for_the_past() -> None:
    tasks = mixture({"a": 9.0, "b": 1.0})
    for _ in range(100):
        tasks.next()

    tasks.weights = {"a": 1.0, "b": 1.0}

    assert Counter(tasks.next()[0] for _ in range(20)) == {"a": 10, "b": 10}


@pytest.mark.parametrize("weights", [{"a": 1.0}, {"a": 1.0, "b": 0.0}, {"a": 1.0, "b": float("nan")}])
def test_weights_that_leave_an_environment_out_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="one finite number above 0 for each of a, b"):
        mixture({"a": 1.0, "b": 1.0}).weights = weights


def test_the_state_of_other_environments_is_refused() -> None:
    with pytest.raises(ConfigError, match="of the environments a, b, but these are a, c"):
        mixture({"a": 1.0, "c": 1.0}).load_state_dict(mixture({"a": 1.0, "b": 1.0}).state_dict())


@given(weights_of_some, st.integers(0, 1000))
def test_whole_shares_add_up_and_none_is_a_whole_one_off(weights: dict[str, float], total: int) -> None:
    shares = {name: weight / sum(weights.values()) for name, weight in weights.items()}

    parts = whole_shares(shares, total)

    assert sum(parts.values()) == total
    assert all(abs(parts[name] - share * total) <= 1 + 1e-9 for name, share in shares.items())


def weights_by_definition(
    weights: dict[str, float], success: dict[str, float], target: float, width: float, floor: float
) -> dict[str, float]:
    wanted = {
        name: weight * np.exp(-0.5 * ((success.get(name, target) - target) / width) ** 2)
        for name, weight in weights.items()
    }
    return {
        name: floor * weight / sum(weights.values()) + (1 - floor) * wanted[name] / sum(wanted.values())
        for name, weight in weights.items()
    }


@given(
    weights_of_some,
    st.dictionaries(st.sampled_from(NAMES), st.floats(0, 1)),
    st.floats(0, 1),
    st.floats(0.1, 2),
    st.floats(0.01, 1),
)
def test_curriculum_weights_equal_their_definition(
    weights: dict[str, float], success: dict[str, float], target: float, width: float, floor: float
) -> None:
    given_success = {name: rate for name, rate in success.items() if name in weights}

    moved = curriculum_weights(weights, given_success, target=target, width=width, floor=floor)

    assert moved == pytest.approx(weights_by_definition(weights, given_success, target, width, floor))
    assert sum(moved.values()) == pytest.approx(1)


@given(weights_of_some, st.lists(st.floats(0, 1), min_size=4, max_size=4), st.floats(1e-3, 1), st.floats(0.01, 1))
def test_no_environment_starves_however_far_its_success_is_from_the_target(
    weights: dict[str, float], rates: list[float], width: float, floor: float
) -> None:
    success = {name: rate for name, rate in zip(NAMES, rates, strict=True) if name in weights}

    moved = curriculum_weights(weights, success, target=0.5, width=width, floor=floor)

    assert all(moved[name] >= floor * weights[name] / sum(weights.values()) * (1 - 1e-9) for name in weights)


def test_the_curriculum_prefers_what_is_half_mastered_and_what_was_never_tried() -> None:
    curriculum = Curriculum(CurriculumConfig(), {"easy": 1.0, "middle": 1.0, "hard": 1.0, "new": 1.0})
    for name, success in (("easy", 1.0), ("middle", 0.5), ("hard", 0.0)):
        curriculum.record(name, success, 64)

    weights = curriculum.weights()

    assert weights["middle"] == pytest.approx(weights["new"])
    assert weights["middle"] > 5 * weights["easy"]
    assert weights["easy"] == pytest.approx(weights["hard"])


def test_running_success_forgets_by_half_after_its_half_life() -> None:
    curriculum = Curriculum(CurriculumConfig(half_life=100), {"a": 1.0, "b": 1.0})
    curriculum.record("a", 0.0, 64)

    for _ in range(4):
        curriculum.record("a", 1.0, 25)
    curriculum.record("b", 0.0, 0)

    assert curriculum.success == {"a": pytest.approx(0.5)}


def test_a_curriculum_goes_on_from_its_state() -> None:
    weights = {"a": 1.0, "b": 2.0}
    curriculum, resumed = (Curriculum(CurriculumConfig(), weights) for _ in range(2))
    curriculum.record("a", 0.9, 40)

    resumed.load_state_dict(curriculum.state_dict())
    for each in (curriculum, resumed):
        each.record("a", 0.2, 10)

    assert resumed.weights() == curriculum.weights() != weights


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"floor": 0.0}, "starve"),
        ({"target": 1.5}, "0 to 1"),
        ({"width": 0.0}, "above 0"),
        ({"half_life": -1.0}, "above 0"),
    ],
)
def test_a_curriculum_that_makes_no_sense_is_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CurriculumConfig(**settings)


def test_what_is_left_out_gets_no_task_and_the_others_its_share() -> None:
    tasks = mixture({"a": 2.0, "b": 1.0, "c": 1.0})
    tasks.leave_out("a")
    resumed = mixture({"a": 2.0, "b": 1.0, "c": 1.0})

    resumed.load_state_dict(tasks.state_dict())

    assert Counter(tasks.next()[0] for _ in range(20)) == {"b": 10, "c": 10}
    assert Counter(resumed.next()[0] for _ in range(20)) == {"b": 10, "c": 10}


def test_the_last_environment_cannot_be_left_out() -> None:
    tasks = mixture({"a": 1.0, "b": 1.0})
    tasks.leave_out("a")

    with pytest.raises(ConfigError, match="b cannot be left out"):
        tasks.leave_out("b")
