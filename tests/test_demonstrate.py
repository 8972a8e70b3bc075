"""Written turns, played through the real environment: their ids, masks and answers are those of an episode."""

import asyncio

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgym import EnvResponse, FiniteTasks, InitialMessages, Message, MessageEnv, Score, Task, TokenEnv, ToolCall
from llmgym.episode import Role, StopReason
from llmgym.errors import ConfigError
from llmgym.messages import ByteTokenizer, chat_for
from llmgym.rollout import demonstrate

BYTES = ByteTokenizer()
TASK = Task(key="task", prompt="say a, then b", answer="b")


class Waits(MessageEnv):
    """Answers "a" with a random number, and anything else with the end; it is asynchronous."""

    def tasks(self, _):
        return FiniteTasks([TASK])

    def reset(self, task, rng):
        self.rng = rng
        return InitialMessages((Message("user", task.prompt),))

    async def step(self, message):
        await asyncio.sleep(0)
        if message.content == "a":
            return EnvResponse(messages=(Message("user", str(self.rng.integers(10**6))),))
        return EnvResponse(score=Score(reward=float(message.content == "b")), terminated=True)


def sampled(trajectory):
    """The ids of each turn, as the action mask of its segment has them."""
    ids = [segment.token_ids[segment.action_mask].tolist() for segment in trajectory.segments]
    return [token for segment in ids for token in segment]


def encoded(*turns):
    return [token for turn in turns for token in [*BYTES.encode(turn), BYTES.eos_id]]


@pytest.mark.parametrize("tool_format", ["tag", "hermes"])
@pytest.mark.parametrize("env_id", ["llmgym/Calculator-v0", "llmgym/GuessNumber-v0", "llmgym/Math-v0"])
def test_reference_turns_earn_the_full_reward_in_each_form_of_calls(env_id, tool_format):
    env = gym.make(env_id, tool_format=tool_format).unwrapped

    for task in env.message_env.tasks("train").first(5):
        trajectory = demonstrate(env, task, env.solve(task))

        assert trajectory.reward == pytest.approx(1.0)
        assert (trajectory.role, trajectory.stop_reason) == (Role.DEMONSTRATION, StopReason.ANSWERED)


def test_what_a_demonstration_holds_is_the_conversation_and_its_mask_the_policys_part():
    env = gym.make("llmgym/Calculator-v0").unwrapped
    task = env.message_env.tasks("train")[0]
    turns = env.solve(task)

    trajectory = demonstrate(env, task, turns)

    (segment,) = trajectory.segments
    messages = [Message("user", task.prompt), Message("assistant", turns[0]), Message("tool", task.answer)]
    prompt = chat_for(BYTES).render(messages)
    assert segment.token_ids.tolist() == [*prompt, *encoded(turns[1])]
    assert sampled(trajectory) == encoded(*turns)
    assert (segment.sampling_logprobs, segment.weight_version) == (None, None)
    assert [turn.message.text for turn in trajectory.turns] == turns
    assert (trajectory.env_id, trajectory.task_key) == ("llmgym/Calculator-v0", task.key)


@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_text_is_demonstrated_to_the_letter(text):
    trajectory = demonstrate(TokenEnv(Waits()), TASK, ["a", text])

    assert sampled(trajectory) == encoded("a", text)
    assert trajectory.turns[1].message.content == text
    assert trajectory.reward == (text == "b")


def test_answers_in_between_are_the_environments_own_and_follow_from_the_seed():
    env = TokenEnv(Waits())
    one, again, other = (demonstrate(env, TASK, ["a", "b"], seed=seed) for seed in (1, 1, 2))

    env.reset(seed=1, options={"task": "task"})
    env.episode.feed(encoded("a"))
    number = env.episode.answer().messages[0].content

    assert number in BYTES.decode(one.segments[0].token_ids)
    assert one.segments[0].token_ids.tolist() == again.segments[0].token_ids.tolist()
    assert one.segments[0].token_ids.tolist() != other.segments[0].token_ids.tolist()
    assert (one.seed, one.reward) == (1, 1.0)


@pytest.mark.parametrize("turns", [["b", "a"], ["a", "b", "b"]])
def test_a_turn_after_the_end_is_an_error(turns):
    with pytest.raises(ConfigError, match=f"ended before turn {len(turns) - 1} of {len(turns)}"):
        demonstrate(TokenEnv(Waits()), TASK, turns)


def test_a_turn_that_does_not_fit_is_an_error_and_one_that_just_fits_is_not():
    env = TokenEnv(Waits(), limits={"turn_tokens": 6})

    assert sampled(demonstrate(env, TASK, ["12345"])) == encoded("12345")
    with pytest.raises(ConfigError, match="'123456' has 7 tokens, but the turn has room for 6"):
        demonstrate(env, TASK, ["123456"])


def test_demonstrations_that_stop_early_are_no_episodes_that_ended():
    trajectory = demonstrate(TokenEnv(Waits()), TASK, ["a"])

    assert (trajectory.terminated, trajectory.stop_reason) == (False, StopReason.ABORTED)


def test_a_turn_that_a_stop_string_closes_has_no_end_token():
    env = gym.make("llmgym/Calculator-v0", stop_strings=["</call>"]).unwrapped
    task = env.message_env.tasks("train")[0]

    trajectory = demonstrate(env, task, env.solve(task))

    assert sampled(trajectory) == [*BYTES.encode(f"<call>{task.prompt}</call>"), *encoded(task.answer)]
    assert trajectory.reward == 1.0


class CallsWhatIsNotThere(Waits):
    def solve(self, _):
        return [ToolCall("search", {"query": "b"}), "b"]


def test_a_reference_turn_that_calls_an_unknown_tool_is_an_error():
    with pytest.raises(ConfigError, match=r"search.*no text in the form 'tag'.*There are the tools none"):
        TokenEnv(CallsWhatIsNotThere()).solve(TASK)


def test_without_reference_turns_there_are_none_to_write():
    assert TokenEnv(Waits()).solve(TASK) is None
