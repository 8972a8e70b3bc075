"""Environments with more to their reward than their own score."""

import numpy as np
import pytest
from llmgym.envs.copying import CopyEnv
from llmgym.envs.guess_number import GuessNumberEnv

import llmgym
from llmgym.episode import RubricEnv
from llmgym.errors import ConfigError, EnvironmentFailure
from llmgym.scoring import LengthPenalty, Part, Score

HI = [104, 105, 257]
SHORT = Part(name="short", verifier=LengthPenalty(free=3, limit=13))


def play(message_env, actions, view="text"):
    env = llmgym.TokenEnv(message_env, view=view)
    env.reset(seed=0)
    return env, [env.step(action) for action in actions]


class Waiting(CopyEnv):
    async def step(self, message):
        return super().step(message)


@pytest.mark.parametrize("kind", [CopyEnv, Waiting])
@pytest.mark.parametrize(("said", "reward"), [("hi", 1.0), ("hihi", -0.2), ("hi" * 20, -1.0)])
def test_parts_are_added_to_the_environments_own_score(kind, said, reward):
    _, [(_, given, terminated, _, info)] = play(RubricEnv(kind("hi"), final=[SHORT], reward_range=(-1, 1)), [said])

    assert (given, terminated) == (pytest.approx(reward), True)
    assert info["score"].parts["task"] == float(said == "hi")


def test_the_token_view_and_the_trajectory_agree_on_the_reward():
    part = Part(name="short", verifier=LengthPenalty(free=0, limit=10))
    env, steps = play(RubricEnv(CopyEnv("hi"), final=[part], reward_range=(-1, 1)), HI, view="token")

    assert sum(step[1] for step in steps) == env.trajectory().reward == pytest.approx(0.7)


def test_a_gate_closes_the_environments_own_score_too():
    gate = Part(name="polite", verifier=lambda message, task: Score(reward=0.0), opens_at=1.0)

    _, [(_, reward, *_)] = play(RubricEnv(CopyEnv("hi"), final=[gate], reward_range=(0, 1)), ["hi"])

    assert reward == 0.0


def test_process_rewards_are_paid_on_every_turn():
    polite = Part(name="polite", verifier=lambda message, task: Score(reward=0.1 if "please" in message.content else 0))
    env = RubricEnv(GuessNumberEnv(), every_turn=[polite], reward_range=(0, 3))

    _, steps = play(env, ["please 1", "2", "please 3"])

    assert [step[4]["score"].parts["polite"] for step in steps] == [0.1, 0.0, 0.1]


def test_a_part_that_fails_is_a_failure_of_ours_and_no_reward():
    lost = Part(name="judge", verifier=lambda message, task: Score(reward=0.0, is_valid=False, reason="lost"))

    with pytest.raises(llmgym.InfrastructureError, match="lost"):
        play(RubricEnv(CopyEnv("hi"), final=[lost], reward_range=(0, 1)), ["hi"])


def test_a_part_that_raises_is_a_failure_of_ours_too():
    def broken(message, task):
        raise KeyError("no such column")

    with pytest.raises(EnvironmentFailure, match="no such column"):
        play(RubricEnv(CopyEnv("hi"), final=[Part(name="b", verifier=broken)], reward_range=(0, 1)), ["hi"])


def test_it_passes_the_environment_check():
    env = RubricEnv(
        CopyEnv(min_length=2),
        final=[Part(name="short", verifier=LengthPenalty(free=30, limit=40))],
        reward_range=(-1, 1),
    )

    assert "reference" in llmgym.check_env(env).passed


def test_a_fork_goes_on_by_itself_and_shares_its_verifiers():
    class Unique:
        def __call__(self, message, task):
            return Score(reward=0.5)

        def __deepcopy__(self, memo):
            raise AssertionError("a verifier was copied")

    env = RubricEnv(GuessNumberEnv(), every_turn=[Part(name="half", verifier=Unique())], reward_range=(0, 9))
    env.reset(env.tasks("train")[0], np.random.default_rng(0))
    fork = env.fork()

    first, second = (each.step(llmgym.AssistantMessage("1")) for each in (env, fork))
    assert first.score.parts == second.score.parts == {"task": 0.0, "half": 0.5}


def not_a_number(message, task):
    return Score(reward=float("nan"))


def huge(message, task):
    return Score(reward=1e308)


@pytest.mark.parametrize("part", [Part(name="b", verifier=not_a_number), Part(name="b", verifier=huge, weight=1e9)])
def test_a_reward_that_is_no_number_is_a_failure_of_ours_and_ends_no_run(part):
    env = RubricEnv(CopyEnv("hi"), final=[part], reward_range=(0, 1))
    with pytest.raises(llmgym.InfrastructureError):
        play(env, ["hi"])


@pytest.mark.parametrize("parts", [{}, {"final": [Part(name="task", verifier=SHORT.verifier)]}, {"final": [SHORT] * 2}])
def test_parts_that_cannot_be_told_apart_are_refused(parts):
    with pytest.raises(ConfigError):
        RubricEnv(CopyEnv("hi"), reward_range=(0, 1), **parts)
