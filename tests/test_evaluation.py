"""Rates with intervals, and the evaluation of anything that answers."""

import json
import math
from fractions import Fraction
from statistics import NormalDist, mean, stdev
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import llmgym
from llmgym.errors import ConfigError
from llmgym.evaluation import clustered_mean, wilson_interval
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
    assert (result.success.low, result.success.high) == (0.0, 1.0)  # one task says nothing of others


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

    assert (result.success.low, result.success.value, result.success.high) == (0.0, 1.0, 1.0)
    json.dumps(result.summary(), allow_nan=False)
