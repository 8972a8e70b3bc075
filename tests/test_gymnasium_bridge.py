"""Gymnasium environments played in text."""

import copy

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from llmgym.envs.gymnasium_bridge import GymnasiumEnv
from llmgym.envs.gymnasium_tables import best_play

import llmgym
from llmgym.episode import StopReason
from llmgym.errors import ConfigError
from llmgym.messages import AssistantMessage


class Corridor(gym.Env):
    """Walk right three times; stumbles at random, and calls it a day by itself after `patience` steps."""

    metadata = {"render_modes": []}  # noqa: RUF012  as Gymnasium has it
    observation_space, action_space = spaces.Discrete(4), spaces.Discrete(2, start=5)

    def __init__(self, patience=100, stumbles=0.0, render_mode=None):
        self.patience, self.stumbles, self.render_mode = patience, stumbles, render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at, self.num_steps = int(self.np_random.integers(2)), 0
        return self.at, {}

    def step(self, action):
        assert action in self.action_space
        self.num_steps += 1
        if self.np_random.random() >= self.stumbles:
            self.at = max(0, self.at + (1 if action == 6 else -1))
        return self.at, np.float32(-0.5), np.bool_(self.at >= 3), np.bool_(self.num_steps >= self.patience), {}


gym.register("llmgym-tests/Corridor-v0", Corridor)


def corridor(**kwargs):
    env_kwargs = {name: kwargs.pop(name) for name in ("patience", "stumbles") if name in kwargs}
    return GymnasiumEnv("llmgym-tests/Corridor-v0", action_names=("left", "right"), env_kwargs=env_kwargs, **kwargs)


def play(env, turns, task=None, seed=0):
    env.reset(task or env.tasks("train")[0], np.random.default_rng(seed))
    responses = []
    for turn in turns:
        responses.append(env.step(AssistantMessage(content=turn)))
        if responses[-1].terminated or responses[-1].truncated:
            break
    return responses


def earned(responses):
    return sum(response.score.reward for response in responses)


SOLVED = ("Taxi-v4", "CliffWalking-v1", "FrozenLake-v1", "FrozenLake8x8-v1")


@pytest.mark.parametrize("env_id", SOLVED)
def test_the_best_play_of_a_table_earns_one(env_id):
    env = GymnasiumEnv(env_id, env_kwargs={"is_slippery": False} if "Lake" in env_id else {})
    source = env.tasks("train")
    for index in range(min(8, source.size or 8)):
        responses = play(env, env.solve(source[index]), source[index])

        assert responses[-1].terminated
        assert earned(responses) == pytest.approx(env.reward_range[1]) == 1.0
    env.close()


@pytest.mark.parametrize(("env_id", "best"), [("CliffWalking-v1", -13), ("Taxi-v4", None)])
def test_without_the_comparison_rewards_are_those_of_the_wrapped_environment(env_id, best):
    env = GymnasiumEnv(env_id, relative_to_best=False)
    task = env.tasks("train")[0]
    turns = env.solve(task)

    rewards = [response.score.reward for response in play(env, turns, task)]

    wrapped = gym.make(env_id)
    wrapped.reset(seed=task.metadata["seed"])
    assert rewards == [wrapped.step(env.action_names.index(turn))[1] for turn in turns]
    assert best in (None, sum(rewards))


def test_every_reward_is_scaled_and_the_end_pays_up_to_one():
    env = GymnasiumEnv("CliffWalking-v1", reward_scale=0.01)
    task = env.tasks("train")[0]

    responses = play(env, ["left", *env.solve(task)], task)

    assert responses[0].score.reward == pytest.approx(-0.01)
    assert earned(responses) == pytest.approx(0.99)


tables = st.integers(1, 6).flatmap(
    lambda n: st.lists(
        st.lists(st.tuples(st.integers(0, n - 1), st.integers(-3, 0), st.booleans()), min_size=2, max_size=2),
        min_size=n,
        max_size=n,
    )
)


@given(tables)
def test_the_best_return_is_that_of_trying_all_plays(rows):
    best = best_play({s: {a: [(1.0, *row[a])] for a in range(2)} for s, row in enumerate(rows)})

    # With no reward above 0 nothing is gained by coming to a state twice.
    def tried(state, seen):
        if state in seen:
            return -np.inf
        return max(r + (0 if is_end else tried(after, {*seen, state})) for after, r, is_end in rows[state])

    for state in range(len(rows)):
        assert best.return_S[state] == tried(state, set())
        if np.isfinite(best.return_S[state]):
            total, at = 0, state
            for action in best.actions(state):
                at, reward, is_end = rows[at][action]
                total += reward
            assert is_end
            assert total == best.return_S[state]


@pytest.mark.parametrize(
    "table",
    [
        None,
        {},
        {0: {0: [(0.5, 0, 0.0, True), (0.5, 0, 1.0, True)]}},
        {0: {0: [(1.0, 0, 1.0, False)], 1: [(1.0, 0, 0.0, True)]}},
        {1: {0: [(1.0, 1, 0.0, True)]}},
    ],
    ids=["none", "empty", "chance", "rewards in a circle", "other states"],
)
def test_tables_without_a_best_play_are_left_alone(table):
    assert best_play(table) is None


def test_slippery_ice_has_no_reference_turns():
    env = GymnasiumEnv("FrozenLake-v1")

    assert env.solve(env.tasks("train")[0]) is None
    assert env.reward_range == (0.0, 1.0)


def test_what_names_no_action_is_answered_with_the_names_and_not_played():
    env = corridor(invalid_reward=-2.0, reward_scale=0.5)

    wrong, right = play(env, ["go west", "right"])

    assert wrong.messages[0].content == "'go west' is no action; say one of: left, right"
    assert (wrong.score.reward, right.score.reward) == (-1.0, -0.25)
    assert env._env.unwrapped.num_steps == 1


@pytest.mark.parametrize("said", ["right", " RIGHT ", "1", "the goal is at the right\n\nright\n"])
def test_actions_are_named_or_numbered_in_the_last_line(said):
    (response,) = play(corridor(), [said])

    assert response.score.extracted == "right"


@pytest.mark.parametrize("said", ["2", "-1", "5", "r", "right left", "٣", ""])
def test_nothing_else_is_an_action(said):
    (response,) = play(corridor(), [said])

    assert response.score.reason == "no action"


def test_the_budget_of_tokens_lasts_as_long_as_the_wrapped_environment():
    env = gym.make("llmgym/Gymnasium-v0", env_id="Taxi-v4", view="text")
    env.reset(seed=0)

    ends = [env.step("drop off") for _ in range(200)]

    assert not any(end[2] or end[3] for end in ends[:-1])
    assert ends[-1][4]["stop_reason"] == StopReason.TIME_LIMIT


def test_the_wrapped_environments_own_time_limit_truncates_and_does_not_end_the_task():
    for wrapped in ({"patience": 2}, {}):
        kwargs = {} if wrapped else {"max_episode_steps": 2}
        env_kwargs = {**wrapped, **kwargs}
        made = gym.make(
            "llmgym/Gymnasium-v0", env_id="llmgym-tests/Corridor-v0", env_kwargs=env_kwargs, view="text"
        ).unwrapped
        made.reset(seed=0)

        made.step("0")
        _, _, terminated, truncated, info = made.step("0")

        assert (terminated, truncated, info["stop_reason"]) == (False, True, StopReason.TIME_LIMIT)


def test_a_task_that_ends_in_the_last_moment_has_ended():
    env = corridor(patience=2)
    task = next(t for split in ("train", "test") for t in env.tasks(split) if t.prompt == "1")

    responses = play(env, ["right", "right"], task)

    assert (responses[-1].terminated, responses[-1].truncated) == (True, False)


def test_messages_that_name_no_action_end_with_the_turn_budget():
    made = gym.make("llmgym/Gymnasium-v0", view="text", limits={"turns": 2}).unwrapped
    made.reset(seed=0)

    made.step("hm")
    _, reward, terminated, truncated, info = made.step("hm")

    assert (reward, terminated, truncated, info["stop_reason"]) == (-1.0, False, True, StopReason.TURN_BUDGET)


def test_chance_after_the_beginning_comes_from_the_episodes_seed():
    env = corridor(stumbles=0.5)
    task = env.tasks("train")[0]

    told = [[r.messages[0].content for r in play(env, ["right"] * 9, task, seed=seed)] for seed in (0, 0, 1, 2, 3)]

    assert told[0] == told[1]
    assert len(set(map(tuple, told))) > 2


@pytest.mark.parametrize("env_id", ["Taxi-v4", "CartPole-v1", "Blackjack-v1"])
def test_an_environment_of_many_beginnings_has_tasks_without_end_in_disjoint_splits(env_id):
    env = GymnasiumEnv(env_id)
    prompts = {split: {env.tasks(split)[index].prompt for index in range(100)} for split in ("train", "test")}

    assert not prompts["train"] & prompts["test"]
    assert min(map(len, prompts.values())) > 10


def test_few_beginnings_are_listed_and_divided_and_a_single_one_is_in_both_splits():
    few = {split: {task.prompt for task in corridor().tasks(split)} for split in ("train", "test")}
    one = [GymnasiumEnv("CliffWalking-v1").tasks(split)[0].key for split in ("train", "test")]

    assert sorted(map(tuple, few.values())) == [("0",), ("1",)]
    assert one[0] == one[1]


def test_looking_at_tasks_does_not_disturb_the_episode():
    env, other = GymnasiumEnv("Taxi-v4"), GymnasiumEnv("Taxi-v4")
    task = env.tasks("train")[0]
    turns = env.solve(task)

    env.reset(task, np.random.default_rng(0))
    told = []
    for turn in turns:
        told.append(env.step(AssistantMessage(content=turn)).messages)
        env.tasks("train")[len(told)]
        env.solve(task)

    assert told == [response.messages for response in play(other, turns, task)]


def test_a_fork_goes_its_own_way():
    env = corridor(stumbles=0.5)
    play(env, ["right"])

    fork = copy.deepcopy(env)
    told = [[one.step(AssistantMessage(content="left")).messages for _ in range(5)] for one in (env, fork)]

    assert told[0] == told[1]


@pytest.mark.parametrize(
    ("env_id", "describe", "shown"),
    [
        ("FrozenLake-v1", "auto", "[S]FFF"),
        ("FrozenLake-v1", "observation", "0"),
        ("CliffWalking-v1", "ansi", "x  C  C"),
        ("Taxi-v4", "auto", "taxi: row"),
        ("CartPole-v1", "auto", "angular velocity"),
        ("CartPole-v1", "observation", "["),
        ("Blackjack-v1", "auto", "the dealer shows"),
        ("MountainCar-v0", "auto", "position -0."),
        ("Acrobot-v1", "auto", "cos 1"),
    ],
)
def test_the_beginning_is_told_in_words_pictures_or_numbers(env_id, describe, shown):
    env = GymnasiumEnv(env_id, describe=describe)
    task = env.tasks("train")[0]

    prompt = env.reset(task, np.random.default_rng(0)).messages[-1].content

    assert shown in task.prompt
    assert "\x1b" not in prompt
    assert prompt.endswith(f"one action: {', '.join(env.action_names)}.\n\n{task.prompt}")
    assert env.step(AssistantMessage(content="0")).messages[0].content


@pytest.mark.slow
@pytest.mark.parametrize("env_id", ["CartPole-v1", "Blackjack-v1", "CliffWalking-v1"])
def test_other_environments_keep_every_promise_too(env_id):
    llmgym.check_env("llmgym/Gymnasium-v0", env_id=env_id, num_tasks=2, skip=["gymnasium"])


@pytest.mark.parametrize(
    "kwargs",
    [
        {"env_id": "Nowhere-v0"},
        {"env_id": "Taxi-v3"},
        {"env_id": "no_such_module:Nowhere-v0"},
        {"describe": "rgb_array"},
        {"reward_scale": 0},
        {"reward_range": (1, 0)},
        {"prompt_template": "Play."},
    ],
)
def test_settings_of_the_bridge_out_of_range_are_refused_at_once(kwargs):
    with pytest.raises(ConfigError):
        GymnasiumEnv(**kwargs)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"env_id": "Pendulum-v1"},
        {"env_id": "CartPole-v1", "describe": "ansi"},
        {"env_kwargs": {"no_such": 1}},
        {"action_names": ["left", "right"]},
        {"env_id": "CartPole-v1", "action_names": ["same", "Same"]},
    ],
)
def test_environments_that_cannot_be_played_are_refused_with_the_first_task(kwargs):
    env = GymnasiumEnv(**kwargs)

    with pytest.raises(ConfigError):
        env.reset(env.tasks("train")[0], np.random.default_rng(0))


def test_closing_closes_what_was_opened_and_can_be_done_twice():
    env = GymnasiumEnv("CartPole-v1")
    play(env, ["left"])

    env.close()
    env.close()

    assert not {"_env", "_scout"} & vars(env).keys()
