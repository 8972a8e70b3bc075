"""Many programming episodes at once, over several turns, and with a sandbox that dies."""

import asyncio
import json
import pickle

import gymnasium as gym
import numpy as np
import pytest

import llmgym
from llmgym.episode import StopReason
from llmgym.errors import DataError, SandboxError
from llmgym.execution import open_sandbox
from llmgym.rollout import collect
from llmgym.sampling import ScriptedSampler

BYTES = llmgym.ByteTokenizer()
TRUSTED = {"sandbox": "process", "allow_unsafe": True}
WRONG, NONE = "```python\ndef count_vowels(text):\n    return len(text)\n```", "I do not know."
RIGHT = "```python\ndef count_vowels(text):\n    return sum(c in 'aeiouAEIOU' for c in text)\n```"
TASK = {"split": "train", "task": "count_vowels"}


def collected(*, group_size=8, **kwargs):
    """Groups on the first task, each of whose samples says something drawn in each turn, and in the third RIGHT."""

    def policy(prompt_ids, params, rng):
        turn = sum(token == BYTES.eos_id for token in prompt_ids)
        say = RIGHT if turn >= 6 else [WRONG, NONE][int(rng.integers(2))]
        return [*BYTES.encode(say), BYTES.eos_id]

    return collect(
        "llmgym/Code-v0",
        ScriptedSampler(policy),
        num_tasks=1,
        group_size=group_size,
        seed=5,
        env_kwargs={**TRUSTED, "difficulty": 1, "limits": {"turn_tokens": 400}, **kwargs},
    )


def test_many_episodes_of_several_attempts_run_at_once_and_repeat_with_their_seed():
    first, again = collected(attempts=3), collected(attempts=3)

    assert len(first) == 8
    assert {len(trajectory.turns) for trajectory in first} == {3}
    assert {(trajectory.is_valid, trajectory.reward) for trajectory in first} == {(True, 1.0)}
    for one, two in zip(first, again, strict=True):
        assert np.array_equal(one.segments[0].token_ids, two.segments[0].token_ids)
        assert one.reward == two.reward


def test_a_sandbox_that_dies_makes_episodes_invalid_and_never_nought(monkeypatch):
    dead = open_sandbox("process", allow_unsafe=True)
    dead.close()
    monkeypatch.setattr("llmgym.envs.code.env.shared_sandbox", lambda *_, **__: dead)

    trajectories = collected(attempts=1, group_size=2, code_format="whole")

    assert [(t.is_valid, t.stop_reason) for t in trajectories] == [(False, StopReason.ENV_ERROR)] * 2


def test_a_sandbox_that_dies_is_raised_by_gymnasiums_side(monkeypatch):
    env = gym.make("llmgym/Code-v0", view="text", **TRUSTED)
    env.reset(seed=0, options=TASK)
    dead = open_sandbox("process", allow_unsafe=True)
    dead.close()
    monkeypatch.setattr("llmgym.envs.code.env.shared_sandbox", lambda *_, **__: dead)

    with pytest.raises(SandboxError, match="closed"):
        env.step(RIGHT)


@pytest.mark.parametrize("copied", [lambda env: pickle.loads(pickle.dumps(env)), lambda env: env.fork()])
def test_an_episode_goes_on_in_a_copy(copied):
    env = gym.make("llmgym/Code-v0", view="text", attempts=2, **TRUSTED)
    env.reset(seed=0, options=TASK)
    env.step(WRONG)
    message_env = copied(env.unwrapped.message_env)

    response = asyncio.run(message_env.step(llmgym.AssistantMessage(RIGHT)))
    assert (response.terminated, response.score.reward) == (True, 1.0)


def test_it_passes_the_environment_check_with_several_attempts():
    report = llmgym.check_env("llmgym/Code-v0", attempts=3, reward="fraction", num_tasks=3, **TRUSTED)

    assert {"seeds", "views", "pickling", "rewards"} <= set(report.passed)


def test_a_data_set_of_test_problems_alone_says_how_to_ask_for_them(tmp_path):
    row = {
        "prompt": 'def one():\n    """Return 1."""\n',
        "entry_point": "one",
        "canonical_solution": "    return 1\n",
        "test": "def check(candidate):\n    assert candidate() == 1\n",
    }
    path = tmp_path / "humaneval.jsonl"
    path.write_text(json.dumps(row) + "\n")
    kwargs = {"view": "text", "dataset": str(path), **TRUSTED}

    with pytest.raises(DataError, match=r"no task for the split 'train'.*split='test'"):
        gym.make("llmgym/HumanEval-v0", **kwargs).reset()
    env = gym.make("llmgym/HumanEval-v0", split="test", **kwargs)
    env.reset(seed=0)
    assert env.step("```python\ndef one(): return 1\n```")[1] == 1.0
