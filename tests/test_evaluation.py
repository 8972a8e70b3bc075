"""Rates with intervals, and the evaluation of anything that answers."""

import itertools
import json
import math
from collections import Counter
from fractions import Fraction
from statistics import NormalDist, mean, stdev
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import llmgym
from llmgym.errors import ConfigError
from llmgym.evaluation import clustered_mean, clustered_share, majority_share, pass_at_k, wilson_interval
from llmgym.sampling import ScriptedSampler

Z = NormalDist().inv_cdf(0.975)


@given(st.integers(1, 2000), st.integers(0, 2000))
def test_wilson_ends_are_where_the_score_test_just_rejects(trials: int, successes: int) -> None:
    assume(successes <= trials)

    estimate = wilson_interval(successes, trials)

    for end in (estimate.low, estimate.high):
        if 0 < end < 1:
            assert abs(estimate.value - end) == pytest.approx(Z * math.sqrt(end * (1 - end) / trials), rel=1e-6)
    assert estimate.low <= estimate.value <= estimate.high
    assert (estimate.low == 0) == (successes == 0)
    assert (estimate.high == 1) == (successes == trials)


@given(st.lists(st.lists(st.floats(-5, 5), min_size=1, max_size=5), min_size=2, max_size=20))
def test_clustered_mean_counts_tasks_and_not_samples(samples: list[list[float]]) -> None:
    estimate = clustered_mean(samples)

    means = [float(sum(map(Fraction, values)) / len(values)) for values in samples]
    assert estimate.value == pytest.approx(mean(means), abs=1e-9)
    assert estimate.high - estimate.low == pytest.approx(2 * Z * stdev(means) / math.sqrt(len(means)), abs=1e-6)


@given(st.lists(st.booleans(), min_size=1, max_size=50))
def test_one_sample_a_task_has_the_wilson_interval(successes: list[bool]) -> None:
    estimate = clustered_share([float(success) for success in successes], num_samples=len(successes))

    plain = wilson_interval(sum(successes), len(successes))
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((plain.value, plain.low, plain.high))


@given(st.lists(st.integers(0, 4), min_size=2, max_size=30))
def test_several_samples_a_task_are_worth_as_many_trials_as_vary_alike(counts: list[int]) -> None:
    shares = [Fraction(count, 4) for count in counts]
    p = sum(shares) / len(shares)
    variance = sum((share - p) ** 2 for share in shares) / len(shares)

    estimate = clustered_share([float(share) for share in shares], num_samples=4 * len(shares))

    assert estimate.value == pytest.approx(float(p))
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    trials = len(shares) if variance == 0 else min(4 * len(shares), len(shares) * p * (1 - p) / variance)
    assert len(shares) <= trials
    for end in (estimate.low, estimate.high):
        if 0 < end < 1:
            assert abs(float(p) - end) == pytest.approx(Z * math.sqrt(end * (1 - end) / trials), rel=1e-6)


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.integers(1, 8))
def test_pass_at_k_is_the_share_of_choices_of_k_samples_with_a_success(samples: list[bool], k: int) -> None:
    assume(k <= len(samples))

    chosen = list(itertools.combinations(samples, k))

    assert pass_at_k(len(samples), sum(samples), k) == pytest.approx(sum(map(any, chosen)) / len(chosen))


def test_pass_at_k_needs_k_samples() -> None:
    with pytest.raises(ConfigError, match="at least 3 samples"):
        pass_at_k(2, 1, 3)
    with pytest.raises(ConfigError, match="no pass@0"):
        pass_at_k(2, 1, 0)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.booleans()), min_size=1, max_size=8))
def test_the_majority_is_a_random_most_frequent_answer_with_a_random_verdict_on_it(votes: list[Any]) -> None:
    counts = Counter(answer for answer, _ in votes if answer is not None)
    winners = [answer for answer in counts if counts[answer] == max(counts.values())]
    chances = [mean(float(success) for answer, success in votes if answer == winner) for winner in winners]

    share = majority_share([answer for answer, _ in votes], [success for _, success in votes])

    assert share == pytest.approx(mean(chances) if chances else 0.0)


def test_one_wrong_answer_given_often_outvotes_several_right_ones_that_differ() -> None:
    assert majority_share(["1/2", "0.5", "7", "7"], [True, True, False, False]) == 0.0
    assert majority_share(["4", "4", "7", None], [True, True, False, False]) == 1.0


def test_no_trial_is_no_rate() -> None:
    with pytest.raises(ConfigError, match="0 trials"):
        wilson_interval(0, 0)
    with pytest.raises(ConfigError, match="at least one task"):
        clustered_mean([])


def calculates(messages: Any) -> str:
    if messages[-1]["role"] == "user":
        return f"<call>{messages[-1]['content']}</call>"
    return str(messages[-1]["content"])


def test_a_function_from_messages_to_text_is_a_policy() -> None:
    result = llmgym.evaluate(calculates, "llmgym/Calculator-v0", num_tasks=20)

    assert result.success.value == 1.0
    assert result.summary()["tool_share"] == 1.0
    env = gym.make("llmgym/Calculator-v0").unwrapped
    assert isinstance(env, llmgym.TokenEnv)
    held_out = [task.key for task in env.message_env.tasks("test").first(20)]
    assert [trajectory.task_key for trajectory in result.trajectories] == held_out


def test_a_sampler_is_a_policy_and_samples_of_a_task_are_a_cluster() -> None:
    tokenizer = llmgym.ByteTokenizer()
    env: dict[str, Any] = {"tokenizer": tokenizer, "env_kwargs": {"text": "ab"}}

    def sometimes(prompt: Any, params: Any, rng: Any) -> list[int]:
        return [*tokenizer.encode("ab" if rng.random() < 0.5 else "ba"), tokenizer.eos_id]

    result = llmgym.evaluate(ScriptedSampler(sometimes), "llmgym/Copy-v0", num_tasks=1, num_samples=200, **env)

    assert 0.35 < result.success.value < 0.65
    assert result.success.low < 0.1
    assert result.success.high > 0.9  # one task says next to nothing of others


def test_samples_of_a_task_give_pass_at_k_and_a_majority() -> None:
    tokenizer = llmgym.ByteTokenizer()

    def mostly(prompt: Any, params: Any, rng: Any) -> list[int]:
        return [*tokenizer.encode("ab" if rng.random() < 0.7 else f"{rng.integers(10**6)}"), tokenizer.eos_id]

    env = {"tokenizer": tokenizer, "env_kwargs": {"text": "ab"}}
    result = llmgym.evaluate(ScriptedSampler(mostly), "llmgym/Copy-v0", num_samples=11, **env)

    successes = sum(trajectory.reward == 1.0 for trajectory in result.trajectories)
    assert {k: share.value for k, share in result.pass_at_k.items()} == {
        k: pytest.approx(pass_at_k(11, successes, k)) for k in (1, 2, 4, 8)
    }
    assert 0 < result.success.value < 1
    assert result.majority is not None
    assert result.majority.value == 1.0
    assert list(result.figures()["pass_at_k"]) == ["1", "2", "4", "8"]


def test_invalid_episodes_count_nowhere_but_as_invalid() -> None:
    class FailingEnv(llmgym.MessageEnv):
        def tasks(self, split: str) -> llmgym.TaskSource:
            return llmgym.FiniteTasks([llmgym.Task(key=str(n), prompt=str(n)) for n in range(4)])

        def reset(self, task: llmgym.Task, rng: Any) -> llmgym.InitialMessages:
            self.task = task
            return llmgym.InitialMessages((llmgym.Message("user", task.prompt),))

        def step(self, message: llmgym.AssistantMessage) -> llmgym.EnvResponse:
            is_valid = self.task.key != "2"
            return llmgym.EnvResponse(score=llmgym.Score(reward=1.0, is_valid=is_valid), terminated=True)

    llmgym.register_env("test-evaluation/Failing-v0", FailingEnv)

    result = llmgym.evaluate(lambda messages: "x", "test-evaluation/Failing-v0", num_tasks=4)

    assert (result.num_invalid, result.success.value, len(result.trajectories)) == (1, 1.0, 4)


def test_what_is_no_policy_is_refused() -> None:
    with pytest.raises(ConfigError, match="int is not a policy"):
        llmgym.evaluate(3, "llmgym/Copy-v0")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="without the tokenizer"):
        llmgym.evaluate(ScriptedSampler(lambda prompt, params, rng: [1]), "llmgym/Copy-v0")
    with pytest.raises(ConfigError, match="seed is -1"):
        llmgym.evaluate(lambda messages: "", "llmgym/Copy-v0", seed=-1)


def test_the_interval_of_a_share_stays_within_0_and_1() -> None:
    def copy(messages: Any) -> str:
        return str(messages[-1]["content"]).removeprefix("Copy: ")

    result = llmgym.evaluate(copy, "llmgym/Copy-v0", num_tasks=1, num_samples=2)

    assert result.success == wilson_interval(1, 1)
    json.dumps(result.figures(), allow_nan=False)
