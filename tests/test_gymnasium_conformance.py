"""Every registered environment is a Gymnasium environment, in every view, without a warning."""

import json
import os
import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env, data_equivalence

import llmgym  # registers the environments

VIEWS = ("token", "turn", "text")
SMALL = ("llmgym/Calculator-v0", "llmgym/Copy-v0", "llmgym/GuessNumber-v0", "llmgym/Reverse-v0")


NEED_DATA = ("llmgym/GSM8K-v0", "llmgym/MATH-v0")
OTHER_ROWS = {"llmgym/HumanEval-v0", "llmgym/MBPP-v0"}
"""Code-v0 with other problems; test_code_env.py plays them."""
WITH_EXTRA = {"llmgym/ReasoningGym-v0"}
"""They need a package that may be missing; test_reasoning_gym.py plays them."""
IDS = sorted({env_id for env_id in gym.registry if env_id.startswith("llmgym/")} - OTHER_ROWS - WITH_EXTRA)
KWARGS = {"llmgym/Code-v0": {"allow_unsafe": True}}
"""Where no sandbox holds hostile code, our own solutions run without one."""


@pytest.fixture
def env_id(request, monkeypatch):
    """A registered id; where it needs a data set, the files are named, so that nothing is downloaded."""
    if request.param in NEED_DATA:
        folder = request.getfixturevalue("data_folder") / "math" / "datasets"
        monkeypatch.setenv("LLMGYM_DATA_DIR", str(folder))
    return request.param


every_id = pytest.mark.parametrize("env_id", IDS, indirect=True)
LONG = {f"llmgym/{name}-v0" for name in ("Gymnasium", "MathPython", "Shell", "SQL", "Store")}
"""To play: many turns, or a sandbox or a database for each task."""


@pytest.fixture(autouse=True)
def _warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_the_announced_environments_are_registered():
    assert {*SMALL, *NEED_DATA, "llmgym/Math-v0"} <= set(IDS)


@pytest.mark.parametrize("observation", ["full", "last"])
@pytest.mark.parametrize("view", VIEWS)
@every_id
def test_gymnasiums_checker_has_nothing_to_say(env_id, view, observation):
    env = gym.make(env_id, view=view, observation=observation, **KWARGS.get(env_id, {}))

    assert check_env(env.unwrapped) is None


@pytest.mark.parametrize(
    ("mode", "vector_kwargs"),
    [("sync", {}), ("async", {}), ("async", {"shared_memory": False}), ("vector_entry_point", {})],
    ids=["sync", "async", "async without shared memory", "own"],
)
@pytest.mark.parametrize("view", VIEWS)
@every_id
def test_make_vec_steps_every_environment(env_id, view, mode, vector_kwargs):
    kwargs = {"view": view, **KWARGS.get(env_id, {})}
    env = gym.make_vec(env_id, 2, vectorization_mode=mode, vector_kwargs=vector_kwargs, **kwargs)
    env.action_space.seed(0)

    observations = [env.reset(seed=0)[0]]
    for _ in range(2):
        observation, rewards, terminated, truncated, _ = env.step(env.action_space.sample())
        observations.append(observation)
        if (terminated | truncated).any() and mode == "vector_entry_point":
            break

    assert all(observation in env.observation_space for observation in observations)
    assert (rewards.shape, terminated.shape) == ((2,), (2,))
    env.close()


@pytest.mark.parametrize(
    "env_id", [pytest.param(each, marks=pytest.mark.slow if each in LONG else ()) for each in IDS], indirect=True
)
def test_every_environment_keeps_the_promises_that_llmgym_adds(env_id):
    num_tasks = 2 if env_id in ("llmgym/Gymnasium-v0", "llmgym/SQL-v0") else 5  # 200 turns; a database for each task
    report = llmgym.check_env(env_id, num_tasks=num_tasks, **KWARGS.get(env_id, {}))

    assert {"seeds", "views", "reference", "cheap answers", "rewards"} <= set(report.passed)


@pytest.mark.parametrize("view", VIEWS)
def test_async_and_sync_vectors_tell_the_same_episodes(view):
    told = []
    for mode in ("sync", "async"):
        env = gym.make_vec("llmgym/GuessNumber-v0", 2, vectorization_mode=mode, view=view)
        env.action_space.seed(0)
        told.append([env.reset(seed=0)[0], *(env.step(env.action_space.sample())[:4] for _ in range(3))])
        env.close()

    assert data_equivalence(*told, exact=True)


@every_id
def test_specs_survive_json_and_make_the_same_environment(env_id):
    limits = {"turns": 2, "turn_tokens": 32}
    env = gym.make(env_id, view="text", split="test", limits=limits, **KWARGS.get(env_id, {}))

    text = env.spec.to_json()
    again = gym.make(EnvSpec.from_json(text))

    assert json.loads(text)["kwargs"]["limits"] == limits
    assert again.spec == env.spec
    assert again.reset(seed=3) == env.reset(seed=3)


def test_environments_can_be_made_without_importing_llmgym_first(tmp_path):
    script = """
import gymnasium as gym
env = gym.make("llmgym:llmgym/Copy-v0", text="hi")
env.reset(seed=0)
for token in (104, 105, 257):
    observation, reward, terminated, truncated, info = env.step(token)
print(reward, terminated, truncated)
"""
    command = [sys.executable, "-W", "error", "-c", script]
    # In another folder, so that what is installed is imported, not the checkout.
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=dict(os.environ), check=False)

    assert (ran.stdout, ran.stderr) == ("1.0 True False\n", "")


def test_the_readmes_first_example_earns_the_reward():
    env = gym.make("llmgym/Copy-v0", text="hi")
    env.reset(seed=0)
    tokenizer = env.unwrapped.tokenizer

    rewards = [env.step(token)[1] for token in [*tokenizer.encode("hi"), tokenizer.eos_id]]

    assert rewards == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("view", VIEWS)
def test_the_reward_of_a_turn_in_the_middle_of_an_episode_is_paid(view):
    env = gym.make("llmgym/GuessNumber-v0", view=view).unwrapped
    env.reset(seed=0)
    turns = env.message_env.solve(env.episode.task)
    actions = {"token": [t for text in turns for t in ids_of(text)], "turn": map(ids_of, turns), "text": turns}[view]

    rewards = [env.step(action)[1] for action in actions]

    assert len(turns) > 1
    assert sum(rewards) == 1.0
    assert [reward for reward in rewards if reward] == [turn.reward for turn in env.trajectory().turns if turn.reward]


def ids_of(text):
    return [*text.encode(), 257]


@pytest.mark.parametrize("observation", ["full", "last"])
def test_numpy_token_ids_play_the_same_episode_as_ints(observation):
    told = []
    for kind in (int, np.int64, np.int32, np.array):
        env = gym.make("llmgym/Copy-v0", text="hi", observation=observation)
        told.append([env.reset(seed=0), *(env.step(kind(token)) for token in (104, 105, 257))])

    assert all(data_equivalence(told[0], other, exact=True) for other in told[1:])


def test_a_segment_near_the_width_of_the_context_is_observed_whole():
    env = gym.make("llmgym/Copy-v0", text="hi", limits={"context_tokens": 20, "turn_tokens": 64})
    observation, info = env.reset(seed=0)
    steps = [env.step(65) for _ in range(info["max_new_tokens"])]

    assert [step[0]["length"] for step in steps][-1] == 20
    assert [step[3] for step in steps] == [False] * (len(steps) - 1) + [True]
    assert np.array_equal(steps[-1][0]["ids"][: observation["length"]], observation["ids"][: observation["length"]])


def test_a_text_is_cut_at_its_first_stop_string_as_a_samplers_turn_would_be():
    env = gym.make("llmgym/Calculator-v0", view="text", stop_strings=["</call>", "!"]).unwrapped
    env.reset(seed=0)

    observation, _, terminated, _, info = env.step("<call>6*7</call> and so on!")
    answered = env.step("nothing")

    assert (observation, terminated) == ("42", False)
    assert bytes(info["new_ids"][: sum(info["new_mask"])]) == b"<call>6*7</call>"
    assert answered[2]
