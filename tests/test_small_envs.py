"""Copying, reversing, the calculator and the guessing game."""

from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmgym.envs.calculator import CalculatorEnv
from llmgym.envs.copying import CopyEnv, ReverseEnv
from llmgym.envs.guess_number import GuessNumberEnv

import llmgym
from llmgym.episode.tool_env import ToolEnv
from llmgym.errors import ConfigError
from llmgym.messages import AssistantMessage, MalformedCall, ToolCall
from llmgym.tools import Calculator

RNG = np.random.default_rng(0)


def play(env, turns, task=None, split="train"):
    """The responses to these turns, up to the end of the task."""
    env.reset(task or env.tasks(split)[0], RNG)
    responses = []
    for turn in turns:
        responses.append(env.step(turn if isinstance(turn, AssistantMessage) else AssistantMessage(content=turn)))
        if responses[-1].terminated:
            break
    return responses


def reward_of(responses):
    return sum(response.score.reward for response in responses if response.score is not None)


def calls(*expressions):
    tool_calls = tuple(ToolCall("calculator", {"expression": e}, id=str(i)) for i, e in enumerate(expressions))
    return AssistantMessage(content="a call", tool_calls=tool_calls)


@pytest.mark.parametrize("text", ["hi", "a b\n", "日本", "{prompt}"])
def test_a_given_text_is_the_only_task_of_both_splits(text):
    env = CopyEnv(text)

    assert [len(env.tasks(split)) for split in ("train", "test")] == [1, 1]
    assert env.tasks("train")[0].key == env.tasks("test")[0].key
    assert env.reset(env.tasks("train")[0], RNG).messages[-1].content == f"Copy: {text}"


@pytest.mark.parametrize(("said", "reward"), [("hi", 1.0), ("hi ", 0.0), ("Hi", 0.0), ("", 0.0), ("Copy: hi", 0.0)])
def test_only_the_exact_copy_earns_the_reward(said, reward):
    (response,) = play(CopyEnv("hi"), [said])

    assert (response.score.reward, response.terminated) == (reward, True)


def test_reversing_earns_the_reward_for_the_text_backwards():
    assert [reward_of(play(ReverseEnv("abc"), [said])) for said in ("cba", "abc")] == [1.0, 0.0]


def test_generated_texts_keep_to_lengths_and_alphabet_and_to_their_split():
    env = ReverseEnv(min_length=2, max_length=4, alphabet="xyz")
    texts = {split: {env.tasks(split)[i].prompt for i in range(300)} for split in ("train", "test")}

    assert {len(text) for text in texts["train"]} == {2, 3, 4}
    assert set("".join(texts["train"])) == set("xyz")
    assert not texts["train"] & texts["test"]


@pytest.mark.parametrize(
    "settings", [{"text": ""}, {"min_length": 3, "max_length": 2}, {"min_length": 0}, {"alphabet": ""}]
)
def test_settings_that_make_no_text_are_refused(settings):
    with pytest.raises(ConfigError):
        CopyEnv(**settings)


@pytest.mark.parametrize("make", [CopyEnv, ReverseEnv, CalculatorEnv, GuessNumberEnv])
def test_the_wording_of_the_prompt_is_the_users(make):
    env = make(system_prompt="Be brief.", prompt_template='{"do": {prompt}}')
    task = env.tasks("train")[0]

    system, user = env.reset(task, RNG).messages

    assert (system.role, system.content) == ("system", "Be brief.")
    assert (user.role, user.content) == ("user", f'{{"do": {task.prompt}}}')
    with pytest.raises(ConfigError, match="prompt"):
        make(prompt_template="Do it.")


@pytest.mark.parametrize("make", [CopyEnv, ReverseEnv, CalculatorEnv, GuessNumberEnv])
@pytest.mark.parametrize("split", ["train", "test"])
def test_reference_turns_earn_exactly_one(make, split):
    env = make()
    for task in env.tasks(split).first(20):
        responses = play(env, map(read_call, env.solve(task)), task)

        assert responses[-1].terminated
        assert reward_of(responses) == 1.0


def read_call(turn):
    return AssistantMessage(content="a call", tool_calls=(turn,)) if isinstance(turn, ToolCall) else turn


@pytest.mark.parametrize("tool_format", ["tag", "hermes"])
def test_the_calculator_keeps_every_promise_in_each_form_of_calls(tool_format):
    report = llmgym.check_env("llmgym/Calculator-v0", tool_format=tool_format, num_tasks=4)

    assert {"reference", "views", "seeds"} <= set(report.passed)


def test_the_calculator_tasks_are_every_product_of_four_digits_in_disjoint_splits():
    prompts = {split: {task.prompt for task in CalculatorEnv().tasks(split)} for split in ("train", "test")}

    expected = {f"{a}*{b}" for a in range(10, 100) for b in range(10, 100) if a * b >= 1000}
    assert prompts["train"] | prompts["test"] == expected
    assert not prompts["train"] & prompts["test"]
    assert len(prompts["test"]) >= 500


def test_tool_calls_are_answered_in_order_and_do_not_end_the_task():
    (response,) = play(CalculatorEnv(), [calls("37*81", "1/0", "2+2")])

    assert [message.content for message in response.messages] == ["2997", "error: division by zero", "4"]
    assert [(message.role, message.name) for message in response.messages] == [("tool", "calculator")] * 3
    assert [message.tool_call_id for message in response.messages] == ["0", "1", "2"]
    assert (response.terminated, response.score) == (False, None)


def test_malformed_calls_and_unknown_tools_are_answered_with_the_problem():
    malformed = AssistantMessage(content="<call>1", malformed_calls=(MalformedCall("<call>1", "it must end"),))
    unknown = AssistantMessage(content="", tool_calls=(ToolCall("search", {}, id="0"),))

    responses = play(CalculatorEnv(), [malformed, unknown])

    assert responses[0].messages[0].content == "error: it must end"
    assert responses[1].messages[0].content == "error: there is no tool 'search'; there are calculator"
    assert not responses[1].terminated


@pytest.mark.parametrize(
    ("said", "reward"), [("2997", 1.0), (" 2997\n", 1.0), ("2998", 0.1), ("-5", 0.1), ("2997.", 0.0), ("", 0.0)]
)
def test_the_product_earns_one_and_another_whole_number_the_format_reward(said, reward):
    env = CalculatorEnv(format_reward=0.1)
    task = next(task for split in ("train", "test") for task in env.tasks(split) if task.prompt == "37*81")

    (response,) = play(env, [said], task)

    assert (response.score.reward, response.terminated) == (reward, True)


@pytest.mark.parametrize(
    "settings", [{"digits": 0}, {"digits": 4}, {"digits": 1}, {"format_reward": 1.0}, {"format_reward": -1}]
)
def test_calculator_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError):
        CalculatorEnv(**settings)


class BrokenToolEnv(CalculatorEnv):
    class Broken(Calculator):
        def run(self, **_):
            raise OSError("the tool is gone")

    tools = (Broken(),)


def test_a_tools_own_failure_is_not_answered_as_the_policys_mistake():
    with pytest.raises(OSError, match="gone"):
        play(BrokenToolEnv(), [calls("1+1")])
    assert issubclass(BrokenToolEnv, ToolEnv)


@given(st.integers(0, 10**6), st.lists(st.one_of(st.integers(-2, 110).map(str), st.text(max_size=4)), max_size=12))
def test_whatever_is_guessed_before_the_secret_the_episode_earns_exactly_one(index, guesses):
    env = GuessNumberEnv()
    task = env.tasks("train")[index]

    responses = play(env, [*guesses, task.answer], task)

    assert responses[-1].terminated
    assert reward_of(responses) == 1.0
    assert all(response.score.reward >= -1e-12 for response in responses)


@given(st.integers(0, 10**6), st.lists(st.integers(1, 100), min_size=1, max_size=8))
def test_a_guess_earns_the_share_of_the_uncertainty_that_it_removed(index, guesses):
    env = GuessNumberEnv()
    task = env.tasks("train")[index]
    secret, low, high = (task.metadata[name] for name in ("secret", "low", "high"))

    responses = play(env, map(str, guesses), task)

    candidates = set(range(low, high + 1))
    for guess, response in zip(guesses, responses, strict=False):
        left = {n for n in candidates if (n < guess) == (secret < guess) and (n == guess) == (secret == guess)}
        expected = log2(len(candidates) / len(left)) / log2(high - low + 1)
        assert response.score.reward == pytest.approx(expected)
        candidates = left


def test_replies_lead_to_the_secret_and_never_name_it_before_the_end():
    env = GuessNumberEnv()
    task = env.tasks("train")[0]
    secret = int(task.answer)

    lower, higher, strange, right = play(env, [str(secret + 1), str(secret - 1), "what?", str(secret)], task)

    replies = [response.messages[0].content for response in (lower, higher, strange, right)]
    assert replies == ["lower", "higher", "say one whole number", "right"]
    assert [response.score.expected for response in (lower, higher, strange, right)] == [None, None, None, task.answer]


def test_halving_the_largest_interval_fits_the_turns():
    env = GuessNumberEnv(upper=1000)
    longest = max(len(env.solve(env.tasks("train")[index])) for index in range(500))

    assert longest <= env.default_limits.turns


def test_intervals_of_fewer_than_three_numbers_are_refused():
    with pytest.raises(ConfigError, match="at least 3"):
        GuessNumberEnv(upper=2)
