"""Control tokens against plain text, reasoning against words, and turns in an episode."""

import asyncio
import json
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.chat_families import FAMILIES, TOOLS, backend_of

from llmgym import (
    EnvResponse,
    FiniteTasks,
    InitialMessages,
    Message,
    Score,
    Task,
    TokenEnv,
    ToolCall,
    ToolEnv,
    check_env,
)
from llmgym.episode import StopReason
from llmgym.errors import ConfigError
from llmgym.messages import AssistantMessage, ByteTokenizer, TurnParser, load_tokenizer, turn_style
from llmgym.sampling import ScriptedSampler, ask_sampler
from llmgym.tools import Tool

BYTES = ByteTokenizer()
CALL = ToolCall("search", {"text": "red fox"})


@pytest.fixture(scope="session")
def tokenizer_of(trained_bpe):
    return cache(lambda name: load_tokenizer(backend_of(FAMILIES[name], trained_bpe)))


def parser_of(tokenizer, form="auto", reasoning="auto", tools=TOOLS):
    return turn_style(tokenizer).parser(form, reasoning, tools, tokenizer)


def thinking(text, *, at_once=False):
    message = TurnParser("hermes", TOOLS, BYTES, thinks=True).parse(BYTES.encode(text), is_thinking=at_once)
    return message.reasoning, message.content, len(message.tool_calls)


SEARCH = '<tool_call>{"name": "search", "arguments": {"text": "a"}}</tool_call>'

# -- control tokens and plain text -------------------------------------------------------------------------------

SPECIAL = ["gpt-oss", "gemma4", "deepseek-v3", "lfm2.5"]


@pytest.mark.parametrize("name", SPECIAL)
def test_marks_written_as_plain_text_are_plain_text(tokenizer_of, name):
    tokenizer = tokenizer_of(name)
    parser = parser_of(tokenizer, reasoning="none")
    text = parser.write(CALL)

    as_control, as_plain = parser.parse(parser.encode(text)), parser.parse(tokenizer.encode(text))

    assert [call.name for call in as_control.tool_calls] == ["search"]
    assert (as_plain.tool_calls, as_plain.malformed_calls, as_plain.content) == ((), (), text)
    assert as_plain.text == as_control.text + "<|call|>" * (name == "gpt-oss") + "<|tool_response>" * (name == "gemma4")


@pytest.mark.parametrize("name", SPECIAL)
def test_plain_text_of_marks_may_stand_in_an_argument(tokenizer_of, name):
    tokenizer = tokenizer_of(name)
    parser = parser_of(tokenizer, reasoning="none")
    plain = "<|end|> <|call|> <tool_call|> <|tool_call_end|> <\uff5ctool▁calls▁end\uff5c>"
    ids = parser.encode(parser.write(ToolCall("search", {"text": "HERE"})))
    here = tokenizer.encode("HERE")
    at = next(place for place in range(len(ids)) if ids[place : place + len(here)] == here)

    message = parser.parse([*ids[:at], *tokenizer.encode(plain), *ids[at + len(here) :]])

    assert [dict(call.arguments) for call in message.tool_calls] == [{"text": plain}]


def test_words_are_written_behind_the_head_of_their_channel(tokenizer_of):
    tokenizer = tokenizer_of("gpt-oss")
    parser = parser_of(tokenizer)

    assert tokenizer.decode_turn(parser.encode("4")) == "<|channel|>final<|message|>4"
    assert parser.encode(parser.write(CALL)) == tokenizer.encode_protected(parser.write(CALL))


def test_text_of_a_control_token_in_a_written_call_stays_plain_text(tokenizer_of):
    tokenizer = tokenizer_of("qwen2.5")
    parser = parser_of(tokenizer)
    call = ToolCall("search", {"text": "a <|im_end|> b"})

    ids = parser.encode(parser.write(call))

    assert not tokenizer.control_texts.keys() & set(ids)
    assert [dict(each.arguments) for each in parser.parse(ids).tool_calls] == [dict(call.arguments)]


def test_marks_that_are_no_control_tokens_count_as_plain_text(tokenizer_of):
    tokenizer = tokenizer_of("qwen2.5")

    assert len(parser_of(tokenizer).parse(tokenizer.encode(SEARCH)).tool_calls) == 1


def test_other_control_tokens_say_nothing_and_stand_in_the_text(tokenizer_of):
    tokenizer = tokenizer_of("qwen2.5")
    (start,) = tokenizer.encode_protected("<|im_start|>")

    message = parser_of(tokenizer).parse(
        [*tokenizer.encode("a"), start, *tokenizer.encode("b<|im_start|>"), tokenizer.eos_id]
    )

    assert (message.content, message.text) == ("ab<|im_start|>", "a<|im_start|>b<|im_start|>")


@settings(max_examples=40)
@given(st.lists(st.integers(0, 800), max_size=12))
@pytest.mark.parametrize("name", ["gpt-oss", "gemma4", "deepseek-v3", "qwen3.5"])
def test_any_ids_are_read(tokenizer_of, name, ids):
    tokenizer = tokenizer_of(name)
    ids = [token % tokenizer.vocab_size for token in ids]

    message = parser_of(tokenizer).parse(ids)

    assert message.token_ids == tuple(ids)
    assert message.text == tokenizer.decode_turn(ids[:-1] if ids and ids[-1] in tokenizer.end_ids else ids)


# -- reasoning ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reasoning", "content", "num_calls"),
    [
        ("<think>\nso\n</think>\n\n4", "so", "4", 0),
        ("\n<think>so</think> 4\n", "so", " 4\n", 0),
        ("<think></think>4", "", "4", 0),
        (f"<think>so {SEARCH}</think>4", f"so {SEARCH}", "4", 0),
        (f"<think>so</think>I look. {SEARCH}", "so", "I look.", 1),
        (f"<think>so {SEARCH}", f"so {SEARCH}", "", 0),
        ("so</think>4", "so", "4", 0),
        ("4", "", "4", 0),
        ("4 <think>", "", "4 <think>", 0),
        ("<think>so</think>4 <think>more</think>", "so", "4 <think>more</think>", 0),
    ],
)
def test_reasoning_is_told_from_words_and_calls(text, reasoning, content, num_calls):
    assert thinking(text) == (reasoning, content, num_calls)


def test_a_turn_that_the_prompt_began_in_reasoning_says_nothing_before_it_closes_it():
    assert thinking(f"so {SEARCH}", at_once=True) == (f"so {SEARCH}", "", 0)
    assert thinking(f"so</think>{SEARCH}", at_once=True) == ("so", "", 1)


def test_without_reasoning_its_marks_are_words_and_calls_between_them_count():
    message = TurnParser("hermes", TOOLS, BYTES).parse(BYTES.encode(f"<think>{SEARCH}</think>4"))

    assert (message.reasoning, message.content, len(message.tool_calls)) == ("", "<think></think>4", 1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gpt-oss", "<|channel|>analysis<|message|>so<|end|><|start|>assistant<|channel|>final<|message|>4"),
        ("gemma4", "<|channel>thought\nso\n<channel|>4"),
        ("qwen3", "<think>\nso\n</think>\n\n4"),
        ("qwen3.5", "so\n</think>\n\n4"),
        ("glm4.5", "\n<think>so</think>\n4"),
        ("deepseek-v3", "so\n</think>\n\n4"),
    ],
)
def test_each_family_tells_reasoning_from_words(tokenizer_of, name, text):
    tokenizer = tokenizer_of(name)
    ids = tokenizer.backend(text, add_special_tokens=False)["input_ids"]

    message = parser_of(tokenizer, tools=[]).parse(ids)

    assert (message.reasoning, message.content) == ("so", "4")


@pytest.mark.parametrize(
    ("prompt", "prefill", "is_opened"),
    [
        ("<user>a<end><assistant><think>\n", "", True),
        ("<user>a<end><assistant><think>\n", "so", True),
        ("<user>a<end><assistant><think>\n\n</think>\n\n", "", False),
        ("<user>a<end><assistant>", "<think>", False),  # the prefill is part of the turn
        ("<user><think> a<end><assistant>", "", False),
    ],
)
def test_whether_a_prompt_opens_the_reasoning_is_seen_at_its_end(prompt, prefill, is_opened):
    ids = BYTES.encode(prompt + prefill)
    parser = TurnParser("hermes", TOOLS, BYTES, thinks=True)

    assert parser.opens_thinking([*ids, 1, 2], len(ids), prefill=prefill) == is_opened
    assert not TurnParser("hermes", TOOLS, BYTES).opens_thinking(ids, len(ids), prefill=prefill)


class SaysIt(ToolEnv):
    """Has the policy say 42."""

    tools = ()

    def __init__(self, prefill):
        self.prefill = prefill

    def tasks(self, split):
        return FiniteTasks([Task(key=split, prompt="how many?")])

    def reset(self, task, rng):
        return InitialMessages((Message("user", task.prompt),), prefill=self.prefill)

    def answer(self, message):
        return EnvResponse(score=Score(reward=float(message.content.strip() == "42")), terminated=True)


@pytest.mark.parametrize("prefill", ["", "<think>\n", "<think>\nI see", "<think>I see</think>\n"])
@pytest.mark.parametrize("name", ["qwen3", "deepseek-r1", "glm4.5"])
def test_what_a_text_says_stands_behind_the_reasoning_that_the_prefill_began(tokenizer_of, name, prefill):
    env = TokenEnv(SaysIt(prefill), view="text", tokenizer=tokenizer_of(name))
    env.reset(seed=0)

    assert env.step("42")[1] == 1.0


def test_a_turn_that_a_template_does_not_begin_in_reasoning_is_read_as_it_stands(tokenizer_of):
    # DeepSeek's template opens the reasoning of an answer to the user, and not behind the result of a tool.
    env = TokenEnv(Asks(), view="turn", tokenizer=tokenizer_of("deepseek-v3"))
    env.reset(seed=0)
    call, _ = env.solve(env.episode.task)

    env.step(env.encode_turn(call))
    env.step([*env.tokenizer.encode("found"), env.tokenizer.eos_id])

    first, second = (turn.message for turn in env.trajectory().turns)
    assert first.text.startswith("\n</think>")
    assert (second.content, second.reasoning, env.trajectory().reward) == ("found", "", 1.0)


@pytest.mark.parametrize(
    "text", ["<|channel|>analysis<|message|>so", "<|channel|>ana", "<|channel|>analysis<|message|>"]
)
def test_a_gpt_oss_turn_that_is_cut_in_its_reasoning_says_nothing(tokenizer_of, text):
    tokenizer = tokenizer_of("gpt-oss")

    assert parser_of(tokenizer).parse(tokenizer.backend(text, add_special_tokens=False)["input_ids"]).content == ""


# -- in an episode -----------------------------------------------------------------------------------------------


class Search(Tool):
    name = "search"
    description = "Finds text."
    parameters = TOOLS[0]["function"]["parameters"]

    def run(self, text, limit=1):
        return f"found {text}"


class Asks(ToolEnv):
    """Search for a red fox, then say that it was found."""

    tools = (Search(),)
    has_found = False

    def tasks(self, split):
        return FiniteTasks([Task(key=split, prompt=f"find it, {split}", answer="found red fox")])

    def reset(self, task, _):
        self.has_found = False
        return InitialMessages((Message("user", task.prompt),))

    def step(self, message):
        self.has_found |= any(call.arguments.get("text") == "red fox" for call in message.tool_calls)
        return super().step(message)

    def answer(self, message):
        return EnvResponse(score=Score(reward=float(self.has_found and message.content == "found")), terminated=True)

    def solve(self, task):
        return [ToolCall("search", {"text": "red fox", "limit": 3}), "found"]


@pytest.mark.parametrize(
    "name", ["qwen2.5", "qwen3.5", "llama3.1", "gpt-oss", "gemma4", "deepseek-v3", "glm4.5", "lfm2.5"]
)
def test_reference_turns_earn_the_full_reward_in_the_form_of_each_family(tokenizer_of, name):
    env = TokenEnv(Asks(), view="turn", tokenizer=tokenizer_of(name))
    env.reset(seed=0)

    steps = [env.step(env.encode_turn(turn)) for turn in env.solve(env.episode.task)]

    assert [(reward, terminated) for _, reward, terminated, _, _ in steps] == [(0.0, False), (1.0, True)]
    called, said = (turn.message for turn in env.trajectory().turns)
    assert (called.content, said.content, called.tool_calls[0].arguments["limit"]) == ("", "found", 3)


@pytest.mark.parametrize("name", ["qwen3.5", "gemma4"])
def test_an_environment_keeps_its_promises_with_the_tokenizer_of_a_family(tokenizer_of, name):
    report = check_env(Asks(), tokenizer=tokenizer_of(name), num_tasks=1, limits={"turns": 3, "turn_tokens": 200})

    assert not report.problems


def test_a_strange_form_and_a_strange_reasoning_are_refused():
    with pytest.raises(ConfigError, match=r"tool_format is 'xml', but known are 'auto', 'tag', 'hermes', 'qwen_xml'"):
        TokenEnv(Asks(), tool_format="xml")
    with pytest.raises(ConfigError, match="reasoning is 'deep'"):
        TokenEnv(Asks(), reasoning="deep")
    with pytest.raises(ConfigError, match="malformed_penalty is -1"):
        TokenEnv(Asks(), malformed_penalty=-1.0)


def played(*turns, **settings):
    env = TokenEnv(Asks(), view="text", tool_format="hermes", **settings)
    env.reset(seed=0)
    return env, [env.step(turn) for turn in turns]


def test_an_unreadable_call_costs_the_penalty_in_its_turn_and_no_other():
    good = SEARCH.replace('"a"', '"red fox"')
    env, steps = played("<tool_call>?</tool_call><tool_call>", f"{good}<tool_call>", "found", malformed_penalty=0.25)

    assert [step[1] for step in steps] == [-0.25, -0.25, 1.0]
    assert "cannot be read: a call must hold one JSON value" in steps[0][4]["score"].reason
    assert "error: a call must end with </tool_call>" in steps[1][0]
    assert env.trajectory().reward == 0.5


def test_a_penalty_is_paid_where_unreadable_calls_end_the_episode_too():
    _, (step,) = played("<tool_call>?</tool_call>", malformed_penalty=0.25, malformed_call="end")

    assert (step[1], step[2], step[4]["stop_reason"]) == (-0.25, True, StopReason.PARSE_FAILURE)


def test_the_range_of_rewards_allows_for_a_penalty_in_each_turn():
    env = TokenEnv(Asks(), tool_format="hermes", malformed_penalty=0.25, limits={"turns": 4})

    assert env.reward_range == (-1.0, 1.0)
    assert not check_env(
        Asks(), tool_format="hermes", malformed_penalty=0.25, num_tasks=1, limits={"turns": 4}
    ).problems


def test_a_turn_cut_by_a_budget_keeps_its_text_and_calls_nothing():
    env, _ = played(SEARCH, limits={"turn_tokens": 30})

    (turn,) = env.trajectory().turns
    assert (turn.message.text, turn.message.tool_calls, turn.message.malformed_calls) == (SEARCH[:30], (), ())


def test_trajectories_of_before_are_read_with_their_text_as_content():
    from llmgym.episode.trajectory_json import trajectory_from_json, trajectory_to_json

    env, _ = played("I look. " + SEARCH, "found")
    now = trajectory_to_json(env.trajectory())
    before = json.loads(json.dumps(now))
    for turn in before["turns"]:
        turn["content"] = turn.pop("text", turn["content"])

    back, of_before = (trajectory_from_json(each).turns[0].message for each in (now, before))

    assert back == env.trajectory().turns[0].message
    assert (back.content, back.text) == ("I look.", "I look. " + SEARCH)
    assert of_before == replace(back, content=back.text)


def test_a_written_message_has_its_content_as_whole_text():
    from llmgym.messages import whole_text

    assert whole_text(AssistantMessage("4")) == whole_text(Message("user", "4")) == "4"
    assert whole_text(AssistantMessage("4", text="<think></think>4")) == "<think></think>4"


@pytest.mark.parametrize(
    ("name", "thought"), [("qwen3.5", "so\n</think>\n\n"), ("gpt-oss", "<|channel|>analysis<|message|>so")]
)
def test_of_a_model_that_is_asked_only_what_it_says_behind_its_reasoning_is_heard(tokenizer_of, name, thought):
    tokenizer = tokenizer_of(name)
    said = "<|end|><|start|>assistant<|channel|>final<|message|>4" if name == "gpt-oss" else "4"
    ids = [*tokenizer.backend(thought + said, add_special_tokens=False)["input_ids"], tokenizer.eos_id]
    ask = ask_sampler(ScriptedSampler(lambda prompt_ids, params, rng: ids), tokenizer)

    assert asyncio.run(ask([Message("user", "2+2")])) == "4"
