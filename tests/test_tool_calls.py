"""Tool calls in each form: what is read, what is refused and in which words, and that nothing is ever raised."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmgym import EnvResponse, FiniteTasks, InitialMessages, Message, Score, Task, TokenEnv, Tool, ToolCall, ToolEnv
from llmgym.episode import StopReason
from llmgym.errors import ConfigError
from llmgym.messages import ByteTokenizer, TurnParser


class Search(Tool):
    name = "search"
    description = "Finds text."
    parameters = {  # noqa: RUF012
        "type": "object",
        "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}},
        "required": ["query"],
    }

    def run(self, **arguments):
        return f"found {arguments['query']}"


class Wait(Tool):
    name = "wait"
    description = "Waits."
    parameters = {"type": "object", "properties": {"seconds": {"type": "number"}}, "required": ["seconds"]}  # noqa: RUF012

    def run(self, **arguments):
        return f"waited {arguments['seconds']}"


class Asks(ToolEnv):
    """A task that any message without a call ends."""

    tools = (Search(), Wait())

    def tasks(self, _):
        return FiniteTasks([Task(key="task", prompt="find it", answer="it")])

    def reset(self, task, _):
        return InitialMessages((Message("user", task.prompt),))

    def answer(self, message):
        return EnvResponse(score=Score(reward=float(message.content == "it")), terminated=True)


ONE, TWO = [Search().schema], [Search().schema, Wait().schema]
BYTES = ByteTokenizer()


def parser_of(form, tools):
    return TurnParser(form, tools, BYTES)


def parse(parser, text, **keywords):
    return parser.parse(BYTES.encode(text), **keywords)


TAG, HERMES = parser_of("tag", TWO), parser_of("hermes", TWO)


def hermes(call):
    return f"<tool_call>{call if isinstance(call, str) else json.dumps(call)}</tool_call>"


def search(**arguments):
    return hermes({"name": "search", "arguments": arguments})


def read(parser, text):
    return [(call.name, dict(call.arguments)) for call in parse(parser, text).tool_calls]


def problem(parser, text):
    message = parse(parser, text)
    assert message.tool_calls == ()
    (malformed,) = message.malformed_calls
    return malformed.problem


# -- what is read ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "the answer is 4", "</call>", "<calls>1</calls>", "< call>1</call>", "\0"])
@pytest.mark.parametrize("form", ["tag", "hermes"])
def test_text_without_a_call_is_just_text(form, text):
    message = parse(parser_of(form, TWO), text)

    assert (message.content, message.tool_calls, message.malformed_calls) == (text, (), ())
    assert (message.text, message.token_ids) == (text, tuple(BYTES.encode(text)))


@pytest.mark.parametrize("text", ["cats", " cats ", "", "a\nb", "日本 🐈", "a <b> </b", "wait 5", '"quoted"'])
def test_the_argument_of_a_tag_is_its_text_to_the_letter(text):
    assert read(parser_of("tag", ONE), f"so <call>{text}</call> then") == [("search", {"query": text})]


def test_with_several_tools_a_tag_begins_with_the_name_and_numbers_are_numbers():
    text = "<call>search big cats</call> and <call>wait 1.5</call><call> wait 2</call>"

    assert read(TAG, text) == [("search", {"query": "big cats"}), ("wait", {"seconds": 1.5}), ("wait", {"seconds": 2})]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"query": "cats", "limit": 3},
        {"query": {"all": [["big", {"cats": None}], True, -0.5]}},
        {"query": '日本 🐈 " \\ \n \u2028 </call>'},
        {"query": "x" * 10_000},
        {"limit": 10**300},
        {"limit": -(2**63) - 1},
        {"limit": 1.7976931348623157e308},
        {"limit": 5e-324},
    ],
)
def test_hermes_arguments_are_what_was_written(arguments):
    assert read(HERMES, f"I look. {search(**arguments)} Done.") == [("search", arguments)]


def test_a_hermes_call_may_leave_out_arguments_and_stand_on_lines_of_its_own():
    assert read(HERMES, '<tool_call>\n{"name": "search"}\n</tool_call>') == [("search", {})]


def test_calls_are_read_in_order_beside_malformed_ones_with_ids_of_their_own():
    message = parse(HERMES, search(query="a") + hermes("?") + "x" + search(query="b"), turn_index=3)

    assert [call.arguments["query"] for call in message.tool_calls] == ["a", "b"]
    assert [malformed.text for malformed in message.malformed_calls] == [hermes("?")]
    assert len({call.id for call in message.tool_calls}) == 2


def test_without_tools_nothing_is_a_call():
    message = parse(parser_of("tag", []), "<call>1</call><call>")

    assert (message.tool_calls, message.malformed_calls) == ((), ())


# -- what is refused, and in which words -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parser", "text", "words"),
    [
        (TAG, "<call>search cats", "must end with </call>"),
        (TAG, "<call>search cats\n", "must end with </call>"),
        (TAG, "<call>find cats</call>", "there is no tool 'find'; there are search, wait"),
        (TAG, "<call></call>", "there is no tool ''; there are search, wait"),
        (TAG, "<call>wait a bit</call>", "must hold one JSON value: Expecting value"),
        (TAG, "<call>wait</call>", "must hold one JSON value"),
        (HERMES, hermes({"name": "search"})[:-1], "must end with </tool_call>"),
        (HERMES, hermes("search cats"), "must hold one JSON value: Expecting value: line 1 column 1"),
        (HERMES, hermes("{'name': 'search'}"), "property name enclosed in double quotes"),
        (HERMES, hermes('{"name": "search"} {"name": "search"}'), "Extra data"),
        (HERMES, hermes(""), "must hold one JSON value"),
        (HERMES, hermes([]), 'must be a JSON object with "name" and "arguments"'),
        (HERMES, hermes({"name": ["search"]}), 'must be a JSON object with "name" and "arguments"'),
        (HERMES, hermes({"arguments": {}}), 'must be a JSON object with "name" and "arguments"'),
        (HERMES, hermes({"name": "search", "arguments": "cats"}), '"arguments" must be a JSON object'),
        (HERMES, hermes({"name": "search", "arguments": None}), '"arguments" must be a JSON object'),
        (HERMES, hermes({"name": "Search"}), "there is no tool 'Search'; there are search, wait"),
        (HERMES, search(query=float("nan")), "NaN is no JSON number"),
        (HERMES, search(query=-float("inf")), "-Infinity is no JSON number"),
        (HERMES, hermes('{"name": "search", "arguments": {"limit": 1e400}}'), "1e400 is too large"),
        (HERMES, hermes('{"name": "search", "arguments": {"limit": %s}}' % ("9" * 5000)), "has 5000 digits"),
        (HERMES, search(query="\ud800"), "surrogate"),
        (HERMES, hermes({"name": "search", "arguments": {"\udfff": 1}}), "surrogate"),
        (HERMES, hermes("[" * 100 + "]" * 100), "nested more than 64 deep"),
        (HERMES, hermes("[" * 100_000), "nested more than 64 deep"),
    ],
)
def test_a_malformed_call_is_refused_in_words_to_act_on(parser, text, words):
    assert words in problem(parser, text)


def test_an_unknown_name_is_not_repeated_at_length():
    assert len(problem(HERMES, hermes({"name": "x" * 10_000}))) < 150


def test_arguments_are_nested_as_deep_as_is_told_and_no_deeper():
    def nested(num_lists):
        return hermes('{"name": "search", "arguments": {"query": ' + "[" * num_lists + "1" + "]" * num_lists + "}}")

    assert len(read(HERMES, nested(61))) == 1  # the call, its arguments, the lists and the number
    assert "64 deep" in problem(HERMES, nested(62))


def test_the_tag_form_refuses_tools_whose_arguments_it_has_no_room_for():
    two = {"name": "move", "parameters": {"properties": {}, "required": ["x", "y"]}}

    with pytest.raises(ConfigError, match=r"'move' needs 2 arguments.*hermes"):
        parser_of("tag", [{"function": two}])


def test_an_unknown_form_is_refused():
    with pytest.raises(ConfigError, match="'tag', 'hermes'"):
        parser_of("xml", ONE)


PIECES = [
    "<call>",
    "</call>",
    "<tool_call>",
    "</tool_call>",
    "search ",
    "wait ",
    '{"name": "search"',
    ', "arguments": ',
]
PIECES += ["{", "}", "[", '"', "\\", "\\ud83d", "1e999", "NaN", "9" * 5000, "[" * 3000, ":", ",", " ", "\n", "💥"]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=12).map("".join))
@example("<call>" * 50)
@pytest.mark.parametrize("form", ["tag", "hermes"])
def test_no_text_is_ever_an_error_and_what_was_read_can_be_kept(form, text):
    message = parse(parser_of(form, TWO), text)

    assert message.text == text
    json.dumps([dict(call.arguments) for call in message.tool_calls], allow_nan=False).encode()
    assert all(malformed.problem and malformed.text in text for malformed in message.malformed_calls)


# -- what is written ---------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), JSON | st.sampled_from(["</tool_call>", "<tool_call>"]), max_size=3))
def test_any_call_written_in_hermes_form_is_read_again(arguments):
    assert read(HERMES, HERMES.write(ToolCall("search", arguments))) == [("search", arguments)]


@given(st.text().filter(lambda text: "</call>" not in text), st.integers() | st.floats(-1e9, 1e9))
def test_calls_written_in_tag_form_are_read_again(query, seconds):
    one = parser_of("tag", ONE)

    assert read(one, one.write(ToolCall("search", {"query": query}))) == [("search", {"query": query})]
    assert read(TAG, TAG.write(ToolCall("wait", {"seconds": seconds}))) == [("wait", {"seconds": seconds})]


@pytest.mark.parametrize(
    ("form", "call"),
    [
        ("tag", ToolCall("search", {"query": "cats </call> dogs"})),
        ("tag", ToolCall("search", {"query": "cats", "limit": 3})),
        ("tag", ToolCall("search", {"query": 5})),
        ("tag", ToolCall("search", {})),
        ("tag", ToolCall("search", {"query": " cats "})),  # with several tools, spaces around the call mean nothing
        ("hermes", ToolCall("search", {"limit": float("inf")})),
        ("hermes", ToolCall("find", {})),
    ],
)
def test_a_call_that_would_be_read_as_another_is_not_written(form, call):
    with pytest.raises(ConfigError, match=rf"{call.name}.*form '{form}'.*search, wait"):
        parser_of(form, TWO).write(call)


# -- in an episode -----------------------------------------------------------------------------------------------


def played(*turns, **settings):
    env = TokenEnv(Asks(), view="text", tool_format="hermes", **settings)
    env.reset(seed=0)
    return env, [env.step(turn) for turn in turns]


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        (search(query="cats"), "found cats"),
        (search(query=5), "error: argument 'query' of search must be of type string, not int"),
        (search(query="cats", limit=True), "error: argument 'limit' of search must be of type integer, not bool"),
        (search(limit=1), "error: search needs the argument 'query'"),
        (search(query="cats", page=1), "error: search has no argument 'page'; it takes query, limit"),
        (hermes({"name": "find"}), "error: there is no tool 'find'; there are search, wait"),
        (search(query="cats")[:-5], "error: a call must end with </tool_call>"),
    ],
)
def test_a_call_is_answered_whatever_is_wrong_with_it(call, answer):
    _, ((observation, reward, terminated, truncated, _),) = played(call)

    assert observation == answer
    assert (reward, terminated, truncated) == (0.0, False, False)


def test_ids_of_calls_are_distinct_in_the_whole_episode_and_answers_name_them():
    env, _ = played(search(query="a") + search(query="b"), search(query="c"))

    ids = [call.id for turn in env.trajectory().turns for call in turn.message.tool_calls]
    answers = [message.tool_call_id for message in env.episode.messages if message.role == "tool"]
    assert len({*ids}) == 3
    assert answers == ids


def test_where_malformed_calls_end_the_episode_a_good_one_does_not():
    env, (good, bad) = played(search(query="cats"), search(query="cats") + hermes("?"), malformed_call="end")

    assert not good[2]
    assert (bad[1], bad[2], bad[3]) == (0.0, True, False)
    assert bad[4]["stop_reason"] is StopReason.PARSE_FAILURE
    assert "JSON value" in bad[4]["score"].reason
    assert env.trajectory().terminated
