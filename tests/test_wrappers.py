"""Wrappers: our own, and Gymnasium's around our environments."""

import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import (
    Autoreset,
    FlattenObservation,
    NormalizeReward,
    OrderEnforcing,
    RecordEpisodeStatistics,
    TimeLimit,
    TransformReward,
)

import llmgym
from llmgym.episode.trajectory_json import trajectory_from_json, trajectory_to_json
from llmgym.episode.wrappers import RecordTrajectories
from llmgym.errors import ConfigError, DataError, EnvironmentFailure
from llmgym.sampling import KeptTokens, SamplingParams

HI = [104, 105, 257]


def make(view="token", env_id="llmgym/Copy-v0", **kwargs):
    return gym.make(env_id, view=view, **({"text": "hi"} if "Copy" in env_id else {}), **kwargs)


def play(env, actions, seed=0):
    env.reset(seed=seed)
    return [env.step(action) for action in actions]


def recorded(path):
    return [trajectory_from_json(json.loads(line)) for line in path.read_text().splitlines()]


def same(a, b):
    return json.dumps(trajectory_to_json(a)) == json.dumps(trajectory_to_json(b))


def test_a_finished_episode_is_recorded_as_the_environment_tells_it(tmp_path):
    env = RecordTrajectories(make(), tmp_path / "runs" / "episodes.jsonl")
    play(env, HI)

    (trajectory,) = recorded(tmp_path / "runs" / "episodes.jsonl")

    assert same(trajectory, env.unwrapped.trajectory())
    assert (trajectory.reward, trajectory.env_id, trajectory.stop_reason) == (1.0, "llmgym/Copy-v0", "answered")
    assert trajectory.segments[0].token_ids[trajectory.segments[0].action_mask].tolist() == HI


def test_episodes_are_appended_and_an_abandoned_one_is_aborted(tmp_path):
    path = tmp_path / "episodes.jsonl"
    env = RecordTrajectories(make(), path)

    play(env, HI)
    play(env, HI[:1])
    play(env, [])
    play(env, HI[:2])
    env.close()
    env.close()

    assert [(t.stop_reason, t.num_actions) for t in recorded(path)] == [("answered", 3), ("aborted", 1), ("aborted", 2)]


def test_an_episode_that_a_budget_ended_is_recorded_at_once(tmp_path):
    env = RecordTrajectories(make(limits={"turn_tokens": 2}), tmp_path / "episodes.jsonl")
    play(env, HI[:2])

    (trajectory,) = recorded(tmp_path / "episodes.jsonl")

    assert (trajectory.truncated, trajectory.stop_reason) == (True, "token_budget")


class Failing(llmgym.MessageEnv):
    def tasks(self, split):
        return llmgym.FiniteTasks([llmgym.Task(key=split, prompt=split)])

    def reset(self, *_):
        return llmgym.InitialMessages((llmgym.Message("user", "?"),))

    def step(self, message):
        raise OSError(message.content)


def test_an_episode_that_our_machinery_failed_is_recorded_as_not_valid(tmp_path):
    env = RecordTrajectories(llmgym.TokenEnv(Failing(), view="text"), tmp_path / "episodes.jsonl")
    env.reset(seed=0)

    with pytest.raises(EnvironmentFailure):
        env.step("oh")
    env.reset()

    (trajectory,) = recorded(tmp_path / "episodes.jsonl")
    assert (trajectory.is_valid, trajectory.stop_reason) == (False, "env_error")


def test_recording_a_foreign_environment_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="llmgym"):
        RecordTrajectories(gym.make("CartPole-v1"), tmp_path / "x")


def test_a_recorder_is_part_of_the_spec_and_can_be_made_again(tmp_path):
    env = RecordTrajectories(make(), tmp_path / "episodes.jsonl")

    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    play(again, HI)

    assert len(recorded(tmp_path / "episodes.jsonl")) == 1


def test_every_field_of_a_trajectory_survives_json():
    segment = llmgym.Segment(
        token_ids=np.array([1, 2, 3], dtype=np.int32),
        action_mask=np.array([False, True, True]),
        sampling_logprobs=np.array([0, -0.1, -1e-8], dtype=np.float32),
        weight_version=np.array([-1, 4, 4], dtype=np.int32),
        kept_tokens=KeptTokens(np.array([2, 9, 3], dtype=np.int32), np.array([0, 2, 3])),
    )
    message = llmgym.AssistantMessage(
        content="é\ud800",
        tool_calls=(llmgym.ToolCall("calculator", {"expression": "1"}, id="0"),),
        malformed_calls=(llmgym.messages.MalformedCall("<call>", "no end"),),
        token_ids=(2, 3),
    )
    score = llmgym.Score(reward=0.1, parts={"a": 0.5}, extracted="x", expected="y", reason="z")
    trajectory = llmgym.Trajectory(
        segments=(segment,),
        turns=(llmgym.TurnRecord(0, 1, 3, message, score, 0.25),),
        reward=0.1,
        terminated=True,
        truncated=False,
        stop_reason=llmgym.StopReason.ANSWERED,
        env_id="a/B-v0",
        task_key="k",
        seed=2**63,
        group_id=3,
        sample_index=1,
        parent=(5, 6),
        role=llmgym.episode.Role.CHOSEN,
        sampling=SamplingParams(top_p=0.9, stop_token_ids=(257,), stop_strings=("x",)),
        metadata={"a": [1, "b"]},
    )

    back = trajectory_from_json(json.loads(json.dumps(trajectory_to_json(trajectory))))

    assert same(back, trajectory)
    assert (back.turns[0].message, back.turns[0].score, back.sampling) == (message, score, trajectory.sampling)
    assert (back.parent, back.role, back.stop_reason) == ((5, 6), trajectory.role, trajectory.stop_reason)
    for ours, theirs in zip(arrays_of(segment), arrays_of(back.segments[0]), strict=True):
        assert (ours.dtype, ours.tolist()) == (theirs.dtype, theirs.tolist())


def arrays_of(segment):
    names = ("token_ids", "action_mask", "sampling_logprobs", "weight_version")
    return [getattr(segment, name) for name in names] + [segment.kept_tokens.token_ids, segment.kept_tokens.offsets]


@pytest.mark.parametrize("values", [{}, {"segments": []}, []])
def test_what_is_no_trajectory_is_refused(values):
    with pytest.raises(DataError, match="not a trajectory"):
        trajectory_from_json(values)


def test_gymnasiums_time_limit_truncates_a_turn_in_the_middle():
    env = TimeLimit(make(), 2)

    *_, (_, _, terminated, truncated, _) = play(env, HI[:2])

    assert (terminated, truncated) == (False, True)


@pytest.mark.parametrize(("view", "actions", "length"), [("token", HI, 3), ("turn", [HI], 1), ("text", ["hi"], 1)])
def test_episode_statistics_count_return_and_steps_of_the_view(view, actions, length):
    env = RecordEpisodeStatistics(make(view))

    info = play(env, actions)[-1][-1]

    assert (info["episode"]["r"], info["episode"]["l"]) == (1.0, length)


def test_rewards_can_be_transformed_and_normalised():
    assert play(TransformReward(make("text"), lambda reward: 3 * reward - 1), ["hi"])[0][1] == 2.0
    assert np.isfinite(play(NormalizeReward(make("text")), ["hi"])[0][1])


def test_stepping_before_the_first_reset_is_refused_in_order():
    with pytest.raises(gym.error.ResetNeeded):
        OrderEnforcing(make().unwrapped).step(0)


def test_autoreset_begins_the_next_episode_on_the_step_after_the_last():
    env = Autoreset(make("text"))
    play(env, ["hi"])

    observation, reward, terminated, truncated, _ = env.step("ignored")

    assert (observation, reward, terminated, truncated) == ("Copy: hi", 0.0, False, False)


@pytest.mark.parametrize(("view", "action"), [("token", 104), ("text", "hi")])
def test_observations_can_be_flattened(view, action):
    env = FlattenObservation(make(view, limits={"context_tokens": 64, "turn_tokens": 8}))
    observation, _ = env.reset(seed=0)

    assert observation.ndim == 1
    env.step(action)
