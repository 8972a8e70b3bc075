"""Episodes in the hands of environments, tokens and callers that do not behave."""

import asyncio
import copy
import json
import multiprocessing
import pickle
import threading
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import llmgym
from llmgym.episode import EnvResponse, Segment, TokenEnv
from llmgym.episode.trajectory_json import trajectory_from_json, trajectory_to_json
from llmgym.errors import ConfigError, EnvironmentFailure, PromptTooLong, ResetNeeded, ShapeError, VerifierError
from llmgym.messages.stop_strings import first_stop
from llmgym.sampling import KeptTokens
from llmgym.scoring import Score

BYTES = llmgym.ByteTokenizer()


class WaywardEnv(llmgym.MessageEnv):
    """Answers as told; says "so </" for the policy where it is to begin with that."""

    def __init__(self, *, answer: Any = None, prefill: str = "") -> None:
        self.answer, self.prefill, self.is_broken = answer, prefill, False

    def tasks(self, split: str) -> llmgym.TaskSource:
        return llmgym.FiniteTasks([llmgym.Task(key=f"{split}{n}", prompt=f"task {n}") for n in range(6)])

    def reset(self, task: llmgym.Task, rng: np.random.Generator) -> llmgym.InitialMessages:
        if self.is_broken:
            raise OSError("the service is gone")
        self.noise = int(rng.integers(10**9))
        return llmgym.InitialMessages((llmgym.Message("user", f"{task.prompt} {self.noise}"),), prefill=self.prefill)

    def step(self, message: llmgym.AssistantMessage) -> EnvResponse:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]


class AsyncEnv(WaywardEnv):
    async def step(self, message: llmgym.AssistantMessage) -> EnvResponse:  # type: ignore[override]
        await asyncio.sleep(0)
        return EnvResponse(score=Score(reward=1.0), terminated=True)


class EnvInEnv(AsyncEnv):
    """Its answer comes from an environment inside, which is stepped without awaiting."""

    async def step(self, message: llmgym.AssistantMessage) -> EnvResponse:  # type: ignore[override]
        play(AsyncEnv())
        return EnvResponse(score=Score(reward=1.0), terminated=True)


def play(env: llmgym.MessageEnv, text: str = "x") -> float:
    inner = TokenEnv(env, view="text")
    inner.reset(seed=0)
    return inner.step(text)[1]


GO_ON = EnvResponse(messages=(llmgym.Message("user", "go on"),))


@pytest.mark.parametrize("view", ["token", "turn"])
def test_no_token_follows_a_failure_of_the_environment(view: str) -> None:
    env = TokenEnv(WaywardEnv(answer=OSError("gone")), view=view)
    env.reset(seed=0)
    for token in (65, 66):
        env.step(token if view == "token" else [token])

    with pytest.raises(EnvironmentFailure):
        env.step(BYTES.eos_id if view == "token" else [BYTES.eos_id])

    with pytest.raises(ResetNeeded, match="env_error"):
        env.step(67 if view == "token" else [67])
    assert env.trajectory().num_actions == 3


def test_the_last_episode_does_not_go_on_where_the_next_one_could_not_begin() -> None:
    inner = WaywardEnv(answer=GO_ON)
    env = TokenEnv(inner)
    env.reset(seed=0)
    env.step(65)
    inner.is_broken = True

    with pytest.raises(EnvironmentFailure, match="began"):
        env.reset()
    with pytest.raises(ResetNeeded, match="No episode was begun"):
        env.step(66)

    inner.is_broken = False
    env.reset(seed=0)
    assert env.step(65)[4] == {}


def test_the_last_episode_does_not_go_on_behind_a_prompt_that_is_too_long() -> None:
    env = TokenEnv(WaywardEnv(answer=GO_ON), view="turn", limits={"context_tokens": 40})
    env.reset(seed=0)
    env.message_env.prefill = "x" * 40  # type: ignore[attr-defined]

    with pytest.raises(PromptTooLong):
        env.reset(seed=0)

    with pytest.raises(ResetNeeded, match="No episode was begun"):
        env.step([65])
    with pytest.raises(ResetNeeded, match="no trajectory"):
        env.trajectory()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (None, r"WaywardEnv\.step\(\) must return EnvResponse\(...\), but returned None"),
        (EnvResponse(score=1.0, terminated=True), r"score as Score\(reward=...\), but gave 1.0"),  # type: ignore[arg-type]
    ],
)
def test_an_answer_that_is_none_is_said_so_and_is_no_reward(answer: Any, problem: str) -> None:
    env = TokenEnv(WaywardEnv(answer=answer), view="text")
    env.reset(seed=0)

    with pytest.raises(EnvironmentFailure, match=problem):
        env.step("x")

    assert not env.trajectory().is_valid


def test_the_reward_of_a_score_that_is_not_valid_is_not_in_the_record() -> None:
    score = Score(reward=1.0, is_valid=False, reason="the worker was lost")
    env = TokenEnv(WaywardEnv(answer=EnvResponse(score=score, terminated=True)), view="text")
    env.reset(seed=0)

    with pytest.raises(VerifierError):
        env.step("x")

    trajectory = env.trajectory()
    assert (trajectory.reward, trajectory.action_rewards().sum(), trajectory.is_valid) == (0.0, 0.0, False)


def test_a_reward_of_numpy_can_be_stored() -> None:
    score = Score(reward=np.float32(0.5), parts={"part": np.float32(0.25)})  # type: ignore[arg-type,dict-item]
    env = TokenEnv(WaywardEnv(answer=EnvResponse(score=score, terminated=True)), view="text")
    env.reset(seed=0)
    env.step("x")

    stored = trajectory_from_json(json.loads(json.dumps(trajectory_to_json(env.trajectory()))))

    assert stored.reward == 0.5
    assert stored.turns[0].score is not None
    assert stored.turns[0].score.parts == {"part": 0.25}


def test_the_recorded_seed_begins_the_same_episode_again_where_none_was_given() -> None:
    env = TokenEnv(WaywardEnv(), view="text")
    env.reset(seed=5)
    observation, info = env.reset()

    again, _ = TokenEnv(WaywardEnv(), view="text").reset(seed=env.trajectory().seed, options={"task": info["task"]})

    assert again == observation


def test_nothing_to_show_before_the_first_episode_is_no_crash() -> None:
    env = TokenEnv(WaywardEnv(), render_mode="ansi")

    assert env.render() == ""
    with pytest.raises(ResetNeeded, match="no trajectory"):
        env.trajectory()


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_made_in_the_middle_of_a_turn_goes_its_own_way(twin: Any) -> None:
    env = TokenEnv(WaywardEnv(answer=GO_ON))
    env.reset(seed=0)
    env.step(65)

    other = twin(env)
    for token in (66, BYTES.eos_id, 67):
        observation = other.step(token)[0]

    assert observation["ids"][: observation["length"]].tolist() == other.episode.ids
    assert env.step(70)[0]["length"] == len(env.episode.ids)
    assert env.trajectory().turns[0].message.content == "AF"


def test_kept_tokens_that_do_not_fit_the_actions_are_refused() -> None:
    kept = KeptTokens.from_rows([np.array([1, 2])])

    with pytest.raises(ShapeError, match="1 rows, but the segment has 2"):
        Segment(np.array([5, 6, 7], np.int32), np.array([False, True, True]), kept_tokens=kept)


# -- stop strings --------------------------------------------------------------------------------------------------


def decode(ids: Any) -> str:
    """Bytes; 300 is a token whose text goes on behind a stop string."""
    return b"".join(b"b>\n" if token == 300 else bytes([token]) if token < 256 else b"" for token in ids).decode(
        "utf-8", "replace"
    )


def stop_by_definition(ids: list[int], stops: tuple[str, ...], prefill: str) -> int | None:
    for place in range(len(ids)):
        text = prefill + decode(ids[: place + 1])
        for stop in stops:
            at = [at for at in range(len(text)) if text.startswith(stop, at) and at + len(stop) > len(prefill)]
            if at:
                return place
    return None


TOKENS = st.lists(st.sampled_from([*b"aab<>\n", *"é€".encode(), 258, 300]), max_size=120)


@settings(deadline=None)
@given(
    ids=TOKENS, stops=st.sampled_from([("a>",), ("<b>", "aa"), ("éa", "€")]), prefill=st.sampled_from(["", "a", "<b>"])
)
@example(ids=[258] * 100 + [*b"a"] + [258] * 100 + [*b">"], stops=("a>",), prefill="")
@example(ids=[*b"xyz<", 300], stops=("<b>",), prefill="")
def test_a_stop_string_is_found_where_its_definition_finds_it(
    ids: list[int], stops: tuple[str, ...], prefill: str
) -> None:
    found = first_stop(ids, 0, stops=stops, prefill=prefill, decode=decode)

    assert found == stop_by_definition(ids, stops, prefill)
    one_by_one = (first_stop(ids[: n + 1], n, stops=stops, prefill=prefill, decode=decode) for n in range(len(ids)))
    assert next((place for place in one_by_one if place is not None), None) == found


def test_a_token_that_ends_behind_a_stop_string_closes_the_turn() -> None:
    class Overshooting(llmgym.ByteTokenizer):
        def decode(self, ids: Any) -> str:
            return "".join(">\n" if token == ord("!") else chr(token) for token in ids if token < 256)

    env = TokenEnv(WaywardEnv(answer=GO_ON), view="turn", tokenizer=Overshooting(), stop_strings=["</a>"])
    env.reset(seed=0)

    env.step(list(b"7</a!"))

    assert env.trajectory().turns[0].message.content == "7</a>\n"
    assert env.episode.messages[-1].content == "go on"


def test_a_long_turn_is_not_decoded_again_for_each_token_of_it() -> None:
    num_decoded = 0

    class Counting(llmgym.ByteTokenizer):
        def decode(self, ids: Any) -> str:
            nonlocal num_decoded
            num_decoded += len(list(ids))
            return super().decode(ids)

    limits = {"turn_tokens": 4000, "context_tokens": 5000, "episode_tokens": 5000}
    env = TokenEnv(WaywardEnv(), tokenizer=Counting(), stop_strings=["</answer>"], limits=limits)
    env.reset(seed=0)
    for _ in range(3000):
        env.step(65)

    assert num_decoded < 3000 * 100


def test_a_text_whose_stop_string_began_in_the_prefill_ends_there() -> None:
    env = TokenEnv(WaywardEnv(answer=GO_ON, prefill="so </"), view="text", stop_strings=["</a>"])
    env.reset(seed=0)

    env.step("a> and more")

    assert env.trajectory().turns[0].message.content == "so </a>"


def test_an_empty_stop_string_is_refused() -> None:
    with pytest.raises(ConfigError, match="empty text"):
        TokenEnv(WaywardEnv(), stop_strings=["</a>", ""])


# -- waiting -------------------------------------------------------------------------------------------------------


def test_an_asynchronous_environment_answers_in_a_forked_process_too() -> None:
    context = multiprocessing.get_context("fork")
    assert play(AsyncEnv()) == 1.0  # in this process a thread waits from now on; a fork would not have it

    answers = context.SimpleQueue()
    child = context.Process(target=lambda: answers.put(play(AsyncEnv())), daemon=True)
    child.start()
    child.join(timeout=30)
    child.kill()

    assert not answers.empty()


def test_an_environment_inside_an_asynchronous_one_does_not_wait_for_itself() -> None:
    rewards: list[float] = []
    thread = threading.Thread(target=lambda: rewards.append(play(EnvInEnv())), daemon=True)

    thread.start()
    thread.join(timeout=30)

    assert rewards == [1.0]


def test_partial_limits_survive_the_way_through_a_spec_in_json() -> None:
    env = gym.make("llmgym/Copy-v0", limits={"turn_tokens": 7}, stop_strings=["!"])
    assert env.spec is not None

    again: Any = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json())).unwrapped

    assert again.limits == env.unwrapped.limits  # type: ignore[attr-defined]
    assert again.limits.turn_tokens == 7
