"""Alarms: each fires on the history that it is for, and on no healthy one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgym.errors import ConfigError
from llmgym.training.alarms import (
    ALARMS,
    AlarmsConfig,
    AlarmWatch,
    entropy_collapse,
    large_steps,
    length_runaway,
    no_signal,
    repetition,
    reward_hacking,
    success_fall,
)

CONFIG = AlarmsConfig()


def course(num_steps: int = 30, **metrics: Any) -> list[dict[str, Any]]:
    """Rows of training; a metric is a constant, or goes evenly from one value to another."""
    steps = range(1, num_steps + 1)
    columns = {name: np.linspace(*np.broadcast_to(value, 2), num_steps).tolist() for name, value in metrics.items()}
    return [
        {"step": step, **{name: values[index] for name, values in columns.items()}} for index, step in enumerate(steps)
    ]


def evaluated(*steps_and_success: tuple[int, float]) -> list[dict[str, Any]]:
    return [
        {"step": step, "success": success, "success_low": success - 0.04, "success_high": success + 0.04}
        for step, success in steps_and_success
    ]


def test_entropy_that_is_gone_before_the_policy_succeeds_has_collapsed() -> None:
    text = entropy_collapse(course(entropy=(0.8, 0.0), success=(0.2, 0.4)), [], CONFIG)

    assert text is not None
    assert "entropy collapsed" in text


@pytest.mark.parametrize(
    "rows",
    [
        course(entropy=(0.8, 0.0), success=(0.3, 1.0)),  # sure of itself, and right
        course(entropy=(0.8, 0.3), success=(0.2, 0.4)),
        course(num_steps=60, entropy=(0.8, 0.0), success=(0.0, 0.9))[:59],  # becomes sure as it becomes right
        course(num_steps=9, entropy=(0.8, 0.0), success=0.2),  # too early to tell
        course(success=0.2),
    ],
)
def test_entropy_that_falls_with_success_or_a_little_has_not(rows: list[dict[str, Any]]) -> None:
    assert entropy_collapse(rows, [], CONFIG) is None


def test_answers_that_grow_without_getting_better_run_away() -> None:
    text = length_runaway(course(mean_action_tokens=(100, 400), success=(0.3, 0.31)), [], CONFIG)

    assert text is not None
    assert "length runs away" in text


@pytest.mark.parametrize(
    "rows",
    [
        course(mean_action_tokens=(100, 400), success=(0.3, 0.6)),  # thinking longer pays
        course(mean_action_tokens=(100, 160), success=0.3),
        course(mean_action_tokens=(400, 100), success=0.3),
    ],
)
def test_answers_that_grow_and_pay_or_hardly_grow_do_not(rows: list[dict[str, Any]]) -> None:
    assert length_runaway(rows, [], CONFIG) is None


def test_answers_that_repeat_themselves_are_noticed_and_fluent_ones_are_not() -> None:
    assert "repeat" in str(repetition(course(num_steps=5, repetition=0.7), [], CONFIG))
    assert repetition(course(num_steps=4, repetition=0.7), [], CONFIG) is None
    assert repetition(course(repetition=(0.0, 0.3)), [], CONFIG) is None


def test_reward_that_rises_while_held_out_success_falls_beyond_its_interval_is_noticed() -> None:
    rows = course(num_steps=40, reward=(0.3, 0.8))

    text = reward_hacking(rows, evaluated((0, 0.4), (20, 0.6), (40, 0.5)), CONFIG)

    assert text is not None
    assert "0.600 (step 20) to 0.500" in text


@pytest.mark.parametrize(
    ("reward", "evaluations"),
    [
        ((0.3, 0.8), evaluated((0, 0.4), (20, 0.6), (40, 0.56))),  # within the intervals
        ((0.3, 0.8), evaluated((0, 0.4), (20, 0.6), (40, 0.7))),
        ((0.8, 0.3), evaluated((0, 0.8), (20, 0.6), (40, 0.5))),  # both fall: bad, but not hacked
        ((0.3, 0.8), evaluated((0, 0.4))),
    ],
)
def test_reward_and_success_that_go_together_are_not(reward: Any, evaluations: list[dict[str, Any]]) -> None:
    assert reward_hacking(course(num_steps=40, reward=reward), evaluations, CONFIG) is None


def trained(*success: float, **metrics: Any) -> list[dict[str, Any]]:
    return [
        {"step": step, "success": value, "success_high": value + 0.1, **metrics}
        for step, value in enumerate(success, start=1)
    ]


def test_success_that_falls_to_less_than_half_is_noticed_in_training_and_on_held_out_tasks() -> None:
    train = trained(*[0.3] * 3, *[0.6] * 5, *[0.2] * 5)
    by_training = success_fall([{**row, "reward_part/weight": row["success"]} for row in train], [], CONFIG)
    by_evaluations = success_fall(trained(0.3), evaluated((0, 0.32), (10, 0.09)), CONFIG)

    assert "0.20 on training tasks, 0.60 at best" in str(by_training)
    assert "0.09 on held-out tasks, 0.32 at best" in str(by_evaluations)


@pytest.mark.parametrize(
    ("train", "evaluations"),
    [
        (trained(*[0.6] * 5, *[0.35] * 5), []),  # a worse stretch
        (trained(*[0.6] * 5, *[0.2] * 4, 0.4), []),  # not lasting
        (trained(*[0.09] * 5, *[0.0] * 5), []),  # within its interval
        (trained(*[0.6] * 5) + trained(*[0.2] * 5, **{"env/hard/weight": 0.9}), []),  # a curriculum's harder tasks
        (trained(0.3), evaluated((0, 0.07), (10, 0.03))),
    ],
)
def test_success_that_wavers_or_belongs_to_harder_tasks_has_not_fallen(train: Any, evaluations: Any) -> None:
    assert success_fall(train, evaluations, CONFIG) is None


def test_hacked_rewards_are_told_once() -> None:
    train = [{"step": step, "success": 0.5, "success_high": 0.5, "reward": step / 40} for step in range(1, 41)]
    evaluations = evaluated((0, 0.6), (40, 0.1))

    assert reward_hacking(train, evaluations, CONFIG) is not None
    assert success_fall(train, evaluations, CONFIG) is None


def test_steps_that_leave_the_sampling_policy_far_behind_twice_in_a_row_are_too_large() -> None:
    far, once = trained(0.4, 0.4, old_kl=0.12), [*trained(0.4, old_kl=0.02), *trained(0.4, old_kl=0.3)]

    assert "0.12 nats a token" in str(large_steps(far, [], CONFIG))
    assert large_steps(once, [], CONFIG) is None
    assert large_steps(trained(*[0.4] * 9), [], CONFIG) is None


def test_groups_that_are_alike_say_nothing_unless_all_is_solved() -> None:
    failing, solved = trained(*[0.01] * 5, zero_variance_share=0.98), trained(*[0.97] * 5, zero_variance_share=1.0)

    assert "98% of groups have equal rewards, with success at 0.01" in str(no_signal(failing, [], CONFIG))
    assert no_signal(failing[:4], [], CONFIG) is None
    assert no_signal(solved, [], CONFIG) is None
    assert no_signal(trained(*[0.4] * 9), [], CONFIG) is None


def test_entropy_of_long_ago_is_not_taken_for_that_of_now() -> None:
    skipped = [{"step": step, "success": 0.0} for step in range(11, 21)]

    assert entropy_collapse([*course(num_steps=10, entropy=(0.8, 0.0), success=0.2), *skipped], [], CONFIG) is None


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_a_healthy_run_rings_no_alarm(seed: int, num_steps: int) -> None:
    rng = np.random.default_rng(seed)
    watch = AlarmWatch(CONFIG)
    rung = []
    for step in range(1, num_steps + 1):
        done = step / 60
        noise = rng.normal(0, 0.02, size=4)
        success = float(np.clip(0.4 + 0.55 * done + noise[0], 0, 1))
        watch.add_step(
            step,
            {
                "reward": success,
                "success": success,
                "entropy": 0.5 - 0.45 * done + abs(noise[1]),
                "mean_action_tokens": 100 + 60 * done + 50 * noise[2],
                "repetition": 0.1 + abs(noise[3]),
            },
        )
        if step % 10 == 0:
            watch.add_evaluation(step, evaluated((step, success))[0])
        rung += watch.ring(step)

    assert rung == []


def test_the_recorded_demo_rings_no_alarm() -> None:
    rows = [json.loads(line) for line in (Path(__file__).parent / "support" / "demo_metrics.jsonl").open()]
    watch, rung = AlarmWatch(CONFIG), []
    for row in rows:
        step = row["step"]
        if row["phase"] == "evaluation":
            watch.add_evaluation(step, row)
        else:
            watch.add_step(step, row)
        rung += watch.ring(step)

    assert len(watch.train) == 60
    assert len(watch.evaluations) > 5
    assert rung == []


def test_an_alarm_is_told_when_it_begins_and_again_when_it_comes_back() -> None:
    watch = AlarmWatch(AlarmsConfig(window=2))
    shares = [0.9] * 4 + [0.0] * 5 + [0.9] * 3

    rung = []
    for step, share in enumerate(shares, start=1):
        watch.add_step(step, {"repetition": share})
        rung += watch.ring(step)

    assert [(alarm.step, alarm.name) for alarm in rung] == [(2, "repetition"), (11, "repetition")]


def test_alarms_can_be_switched_off() -> None:
    watch = AlarmWatch(AlarmsConfig(enabled=False, window=1))
    watch.add_step(1, {"repetition": 1.0})

    assert watch.ring(1) == []


@pytest.mark.parametrize("name", ALARMS)
def test_no_alarm_minds_metrics_that_are_missing_or_not_finite(name: str) -> None:
    rows = [{"step": 1}, {"step": 2, "entropy": None, "success": float("nan"), "reward": float("inf")}]

    assert ALARMS[name](rows, [], CONFIG) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 0}, "at least 1 step"),
        ({"length_factor": 1.0}, "above 1"),
        ({"entropy_share": 2.0}, "from 0 to 1"),
        ({"max_old_kl": 0.0}, "inf switches it off"),
    ],
)
def test_thresholds_that_make_no_sense_are_refused(changes: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AlarmsConfig(**changes)
