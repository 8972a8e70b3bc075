"""The token view, the turn view and the collected trajectory of one episode are the same, whatever the policy does."""

import asyncio
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import llmgym
from llmgym.episode import EnvResponse, StopReason, TokenEnv, Trajectory
from llmgym.episode.trajectory_json import trajectory_from_json, trajectory_to_json
from llmgym.errors import InfrastructureError
from llmgym.rollout import Collector, EpisodePlan, load_trajectories, save_trajectories
from llmgym.sampling import SamplingParams, ScriptedSampler
from llmgym.scoring import Score

ENVS = {
    "llmgym/Copy-v0": {},
    "llmgym/Reverse-v0": {},
    "llmgym/Calculator-v0": {},
    "llmgym/GuessNumber-v0": {},
    "llmgym/Math-v0": {"families": ("addition",)},
}
TOKENIZERS = ("bytes", "characters", "bpe", "forgetful bpe", "tekken")
WIDE = {"turn_tokens": 300, "episode_tokens": 4000, "context_tokens": 3000}
SEED = 7


class Policy:
    """Plays reference turns, spelt as a tokenizer never would, mixed with nonsense; the same in every view."""

    def __init__(self, env: TokenEnv, task: llmgym.Task, style: str) -> None:
        self.tokenizer, self.style = env.tokenizer, style
        self.turns = env.solve(task) or []

    def __call__(self, prompt: Any, params: SamplingParams, rng: np.random.Generator) -> list[int]:
        ids = self._turn_of(len(prompt), rng) if self.style != "random" else self._noise(rng)
        return ids[: params.max_new_tokens]

    def _turn_of(self, prompt_length: int, rng: np.random.Generator) -> list[int]:
        # The place in the script follows from the prompt, which all views must agree on.
        index = min(prompt_length > self._first_prompt, len(self.turns) - 1)
        if self.style == "mixed" and rng.random() < 0.4:
            return self._noise(rng)
        return [*self.split(self.turns[index], rng), self.tokenizer.eos_id]

    def split(self, text: str, rng: np.random.Generator) -> list[int]:
        """A non-canonical spelling: pieces of one to three characters, each encoded by itself."""
        ids: list[int] = []
        while text:
            size = int(rng.integers(1, 4))
            ids += self.tokenizer.encode(text[:size])
            text = text[size:]
        return ids

    def _noise(self, rng: np.random.Generator) -> list[int]:
        ids = [int(token) for token in rng.integers(self.tokenizer.vocab_size, size=rng.integers(1, 40))]
        ids = [token for token in ids if token != self.tokenizer.eos_id]
        return [*ids, self.tokenizer.eos_id] if rng.random() < 0.7 or not ids else ids

    _first_prompt = 0


def make(env_id: str, view: str, tokenizer: Any, **kwargs: Any) -> TokenEnv:
    env = gym.make(env_id, view=view, tokenizer=tokenizer, **{**ENVS.get(env_id, {}), **kwargs}).unwrapped
    assert isinstance(env, TokenEnv)
    return env


def play(env: TokenEnv, policy: Policy, key: str, num_turns: int = 100) -> tuple[Trajectory, float]:
    """One episode in the token or turn view; checks every observation against the episode itself."""
    observation, info = env.reset(seed=SEED, options={"task": key})
    policy._first_prompt = len(env.episode.ids)
    total = 0.0
    for turn in range(num_turns):
        params = SamplingParams(max_new_tokens=info["max_new_tokens"])
        ids = policy(env.episode.ids, params, np.random.default_rng((SEED, turn)))
        for action in ids if env.view == "token" else [np.array(ids, dtype=np.int32)]:
            try:
                observation, reward, terminated, truncated, step_info = env.step(action)
            except InfrastructureError:
                return env.trajectory(), total
            info = info | step_info
            if not step_info:
                info["max_new_tokens"] -= 1
            total += reward
            assert observation in env.observation_space
            assert observation["ids"][: observation["length"]].tolist() == env.episode.ids
        if terminated or truncated:
            assert info["stop_reason"] == env.trajectory().stop_reason
            break
    return env.trajectory(), total


def collected(env_id: str, tokenizer: Any, policy: Policy, key: str, **kwargs: Any) -> Trajectory:
    env_kwargs = {**ENVS.get(env_id, {}), **kwargs}
    collector = Collector(env_id, ScriptedSampler(policy), tokenizer=tokenizer, env_kwargs=env_kwargs)
    plan = EpisodePlan(task=collector.tasks("train").get(key), seed=SEED, sampling_seed=SEED)
    (trajectory,) = asyncio.run(collector.run([plan], SamplingParams()))
    return trajectory


def essence(trajectory: Trajectory) -> dict[str, Any]:
    """What must be the same in all views."""
    return {
        "ids": [segment.token_ids.tolist() for segment in trajectory.segments],
        "masks": [segment.action_mask.tolist() for segment in trajectory.segments],
        "turns": [(turn.segment_index, turn.start, turn.stop, turn.message, turn.score) for turn in trajectory.turns],
        "reward": trajectory.reward,
        "ending": (trajectory.terminated, trajectory.truncated, trajectory.stop_reason, trajectory.is_valid),
        "task": trajectory.task_key,
    }


def agreed(env_id: str, tokenizer: Any, *, index: int, style: str, **kwargs: Any) -> Trajectory:
    """The trajectory of one episode, after all views were compared."""
    by_token, by_turn = (make(env_id, view, tokenizer, **kwargs) for view in ("token", "turn"))
    task = by_token.message_env.tasks("train")[index]
    policy = Policy(by_token, task, style)
    token_trajectory, token_reward = play(by_token, policy, task.key)
    turn_trajectory, turn_reward = play(by_turn, policy, task.key)
    collected_trajectory = collected(env_id, tokenizer, policy, task.key, **kwargs)
    stored = trajectory_from_json(trajectory_to_json(collected_trajectory))

    assert essence(token_trajectory) == essence(turn_trajectory) == essence(collected_trajectory) == essence(stored)
    if collected_trajectory.is_valid:
        assert token_reward == turn_reward == pytest.approx(collected_trajectory.reward)
    return collected_trajectory


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("env_id", ENVS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(index=st.integers(0, 20), style=st.sampled_from(["random", "solve", "mixed"]))
def test_every_view_of_an_episode_is_the_same(
    tokenizers: dict[str, Any], name: str, env_id: str, index: int, style: str
) -> None:
    agreed(env_id, tokenizers[name], index=index, style=style, limits=WIDE)


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("env_id", ["llmgym/GSM8K-v0", "llmgym/MATH-v0"])
def test_every_view_of_a_public_data_set_is_the_same(
    tokenizers: dict[str, Any], data_folder: Path, name: str, env_id: str
) -> None:
    kwargs = {"data_dir": str(data_folder / "math" / "datasets"), "limits": {**WIDE, "context_tokens": 8000}}

    rewards = [
        agreed(env_id, tokenizers[name], index=index, style=style, **kwargs).reward
        for index, style in enumerate(["solve", "mixed", "random"])
    ]

    assert rewards[0] == 1.0


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("env_id", ["llmgym/Copy-v0", "llmgym/Calculator-v0", "llmgym/Math-v0"])
def test_right_answers_in_unusual_tokens_earn_the_full_reward(
    tokenizers: dict[str, Any], name: str, env_id: str
) -> None:
    tokenizer = tokenizers[name]

    trajectories = [agreed(env_id, tokenizer, index=index, style="solve", limits=WIDE) for index in range(4)]

    turns = [turn.message for trajectory in trajectories for turn in trajectory.turns]
    unusual = [turn for turn in turns if tokenizer.encode(turn.content) != list(turn.token_ids[:-1])]
    assert {trajectory.reward for trajectory in trajectories} == {1.0}
    assert unusual or name in ("bytes", "characters")


class WorldEnv(llmgym.MessageEnv):
    """Goes on until it is told not to; fails for reasons of its own when asked to."""

    tools = (llmgym.Calculator(),)

    def __init__(self, *, fault: str = "") -> None:
        self.fault = fault

    def tasks(self, split: str) -> llmgym.TaskSource:
        return llmgym.FiniteTasks([llmgym.Task(key=f"{split}-{n}", prompt=f"say {n}", answer=str(n)) for n in range(5)])

    def reset(self, task: llmgym.Task, rng: np.random.Generator) -> llmgym.InitialMessages:
        self.task, self.noise = task, int(rng.integers(1000))
        return llmgym.InitialMessages((llmgym.Message("user", task.prompt),), prefill="so ")

    def step(self, message: llmgym.AssistantMessage) -> EnvResponse:
        if self.fault == "raise":
            raise ZeroDivisionError("a bug in the environment")
        if self.fault == "score":
            return EnvResponse(score=Score(reward=0.0, is_valid=False, reason="the worker was lost"), terminated=True)
        if message.content == f"so {self.task.answer}":
            return EnvResponse(score=Score(reward=1.0), terminated=True)
        return EnvResponse(messages=(llmgym.Message("user", f"no, {self.noise}"),), score=Score(reward=0.1))

    def solve(self, task: llmgym.Task) -> list[str]:
        return [task.answer or ""] if not self.fault else ["anything"]


class StubbornEnv(WorldEnv):
    """The same, played by a policy that never says the right thing."""

    def solve(self, task: llmgym.Task) -> list[str]:
        return ["<call>2*3</call> <call>2*"]


llmgym.register_env("test-exactness/World-v0", WorldEnv)
llmgym.register_env("test-exactness/Stubborn-v0", StubbornEnv)
WORLD, STUBBORN = "test-exactness/World-v0", "test-exactness/Stubborn-v0"

ENDINGS = {
    StopReason.ANSWERED: (WORLD, {"limits": WIDE}),
    StopReason.TURN_BUDGET: (STUBBORN, {"limits": {**WIDE, "turns": 3}}),
    StopReason.TOKEN_BUDGET: (STUBBORN, {"limits": {**WIDE, "turn_tokens": 4}}),
    StopReason.CONTEXT_FULL: (STUBBORN, {"limits": {**WIDE, "turns": 99, "context_tokens": 120}}),
    StopReason.TIME_LIMIT: (STUBBORN, {"limits": {**WIDE, "seconds": 1e-9}}),
    StopReason.PARSE_FAILURE: (STUBBORN, {"limits": WIDE, "malformed_call": "end"}),
    StopReason.ENV_ERROR: (WORLD, {"limits": WIDE, "fault": "raise"}),
}


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("reason", ENDINGS)
def test_every_ending_is_the_same_in_every_view(tokenizers: dict[str, Any], name: str, reason: StopReason) -> None:
    env_id, kwargs = ENDINGS[reason]

    trajectory = agreed(env_id, tokenizers[name], index=2, style="solve", **kwargs)

    assert trajectory.stop_reason is reason
    assert trajectory.terminated == (reason in (StopReason.ANSWERED, StopReason.PARSE_FAILURE))
    assert trajectory.truncated == (not trajectory.terminated)


def test_an_invalid_score_raises_in_gymnasium_and_is_recorded_by_the_collector(tokenizers: dict[str, Any]) -> None:
    trajectory = agreed(WORLD, tokenizers["bytes"], index=1, style="solve", limits=WIDE, fault="score")

    assert (trajectory.is_valid, trajectory.stop_reason) == (False, StopReason.ENV_ERROR)
    assert trajectory.metadata["attempts"] == 2


@pytest.mark.parametrize("view", ["token", "turn"])
def test_an_episode_left_before_its_end_counts_as_aborted(tokenizers: dict[str, Any], view: str) -> None:
    env = make(WORLD, view, tokenizers["bpe"], limits=WIDE)
    env.reset(seed=SEED)
    ids = env.tokenizer.encode("well")

    for action in ids if view == "token" else [ids]:
        env.step(action)

    trajectory = env.trajectory()
    assert trajectory.stop_reason is StopReason.ABORTED
    assert not trajectory.terminated
    assert trajectory.segments[0].token_ids[trajectory.segments[0].action_mask].tolist() == ids


def test_a_template_that_rewrites_history_begins_a_new_segment(tokenizers: dict[str, Any]) -> None:
    plain = agreed("llmgym/Calculator-v0", tokenizers["bpe"], index=4, style="solve", limits=WIDE)
    env = make(STUBBORN, "turn", tokenizers["forgetful bpe"], limits={**WIDE, "turns": 3})
    env.reset(seed=SEED)
    for text in ("1+1=2", "2", "3=4"):
        env.step([*env.tokenizer.encode(text), env.tokenizer.eos_id])
    forgetful = env.trajectory()

    assert len(plain.segments) == 1
    # After "1+1=2" the template drops "1+1="; "so 2" was seen as it is, so only one new segment begins there.
    assert [turn.segment_index for turn in forgetful.turns] == [0, 1, 1]
    assert sum(segment.num_actions for segment in forgetful.segments) == sum(t.stop - t.start for t in forgetful.turns)


def test_stored_trajectories_come_back_as_they_were(tokenizers: dict[str, Any], tmp_path: Any) -> None:
    trajectories = [
        agreed("llmgym/GuessNumber-v0", tokenizers["characters"], index=index, style="mixed", limits=WIDE)
        for index in range(5)
    ]

    save_trajectories(tmp_path / "some.jsonl.gz", trajectories)

    assert list(map(essence, load_trajectories(tmp_path / "some.jsonl.gz"))) == list(map(essence, trajectories))
