"""Turns in the forms of the families: what is read and written, and that no text is ever an error."""

import json

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from support.turn_forms import (
    BYTES,
    CALL_BEGIN,
    CALL_END,
    CALLS_BEGIN,
    CALLS_END,
    FAMILIES,
    PARSERS,
    SEPARATOR,
    deepseek,
    parse,
    read,
)

from llmgym.errors import ConfigError
from llmgym.messages import FORMS, ToolCall, TurnParser

# -- what families write -----------------------------------------------------------------------------------------

FOX = {"query": "red fox", "limit": 3}
BOTH = [("search", FOX), ("wait", {"seconds": 1.5})]
WRITTEN = {
    "hermes": '<tool_call>\n{"name": "search", "arguments": {"query": "red fox", "limit": 3}}\n</tool_call>\n'
    '<tool_call>\n{"name": "wait", "arguments": {"seconds": 1.5}}\n</tool_call>',
    "qwen_xml": "<tool_call>\n<function=search>\n<parameter=query>\nred fox\n</parameter>\n<parameter=limit>\n3\n"
    "</parameter>\n</function>\n</tool_call>\n<tool_call>\n<function=wait>\n<parameter=seconds>\n1.5\n</parameter>\n"
    "</function>\n</tool_call>",
    "glm": "<tool_call>search\n<arg_key>query</arg_key>\n<arg_value>red fox</arg_value>\n<arg_key>limit</arg_key>\n"
    "<arg_value>3</arg_value>\n</tool_call>\n<tool_call>wait\n<arg_key>seconds</arg_key>\n<arg_value>1.5</arg_value>\n"
    "</tool_call>",
    "llama_json": '{"name": "search", "parameters": {"query": "red fox", "limit": 3}}; '
    '{"name": "wait", "parameters": {"seconds": 1.5}}',
    "llama_python": '[search(query="red fox", limit=3), wait(seconds=1.5)]',
    "mistral": '[TOOL_CALLS]search[ARGS]{"query": "red fox", "limit": 3}[TOOL_CALLS]wait[ARGS]{"seconds": 1.5}',
    "mistral_list": '[TOOL_CALLS][{"name": "search", "arguments": {"query": "red fox", "limit": 3}}, '
    '{"name": "wait", "arguments": {"seconds": 1.5}}]',
    "harmony": '<|channel|>commentary to=functions.search <|constrain|>json<|message|>{"query": "red fox", "limit": 3}'
    '<|end|><|start|>assistant<|channel|>commentary to=functions.wait <|constrain|>json<|message|>{"seconds": 1.5}'
    "<|call|>",
    "gemma": '<|tool_call>call:search{limit:3,query:<|"|>red fox<|"|>}<tool_call|>'
    "<|tool_call>call:wait{seconds:1.5}<tool_call|><|tool_response>",
    "tool_code": '```tool_code\nsearch(query="red fox", limit=3)\nwait(seconds=1.5)\n```',
    "deepseek": deepseek(("search", '{"query": "red fox", "limit": 3}'), ("wait", '{"seconds": 1.5}')),
    "deepseek_v31": CALLS_BEGIN
    + "\n".join(f"{CALL_BEGIN}{name}{SEPARATOR}{json.dumps(arguments)}{CALL_END}" for name, arguments in BOTH)
    + CALLS_END,
    "lfm": '<|tool_call_start|>[search(query="red fox", limit=3), wait(seconds=1.5)]<|tool_call_end|>',
    "phi": 'functools[{"name": "search", "arguments": {"query": "red fox", "limit": 3}}, '
    '{"name": "wait", "arguments": {"seconds": 1.5}}]',
}


@pytest.mark.parametrize("form", FAMILIES)
def test_each_form_writes_two_calls_as_its_family_does_and_reads_them(form):
    calls = [ToolCall(name, arguments) for name, arguments in BOTH]

    assert PARSERS[form].write(*calls) == WRITTEN[form]
    assert read(form, WRITTEN[form]) == BOTH


@pytest.mark.parametrize("form", FAMILIES)
def test_each_form_reads_a_call_without_arguments(form):
    assert read(form, PARSERS[form].write(ToolCall("stop", {}))) == [("stop", {})]


@pytest.mark.parametrize(
    ("form", "text", "calls"),
    [
        ("hermes", '<tool_call>{"name": "stop"}</tool_call>', [("stop", {})]),
        (
            "hermes",
            '<tool_call>{"name": "search", "arguments": {"query": "</tool_call>"}}</tool_call>',
            [("search", {"query": "</tool_call>"})],
        ),
        (
            "qwen_xml",
            "<tool_call><function=search><parameter=query>a\nb</parameter></function></tool_call>",
            [("search", {"query": "a\nb"})],
        ),
        (
            "qwen_xml",
            "<tool_call><function=a-b.c><parameter=x>\nTrue\n</parameter><parameter=maybe>None</parameter>"
            "</function></tool_call>",
            [("a-b.c", {"x": True, "maybe": None})],
        ),
        (
            "qwen_xml",
            "<tool_call><function=search><parameter=query>a</parameter> b</parameter></function></tool_call>",
            [("search", {"query": "a</parameter> b"})],
        ),
        (
            "qwen_xml",
            "<tool_call><function=search><parameter=any>red</parameter></function></tool_call>",
            [("search", {"any": "red"})],
        ),
        (
            "qwen_xml",
            "<tool_call><function=search><parameter=any>[1]</parameter></function></tool_call>",
            [("search", {"any": [1]})],
        ),
        (
            "glm",
            "<tool_call>search<arg_key>query</arg_key><arg_value>3</arg_value></tool_call>",
            [("search", {"query": "3"})],
        ),
        (
            "glm",
            "<tool_call>search<arg_key>limit</arg_key><arg_value>3</arg_value></tool_call>",
            [("search", {"limit": 3})],
        ),
        ("llama_json", '<|python_tag|>{"name": "stop", "parameters": {}}', [("stop", {})]),
        ("llama_json", ' {"type": "function", "name": "stop", "parameters": {}}\n', [("stop", {})]),
        (
            "llama_json",
            '{"name": "wait", "arguments": {"seconds": 1}};{"name": "stop"}',
            [("wait", {"seconds": 1}), ("stop", {})],
        ),
        ("llama_python", "<|python_start|>[stop()]<|python_end|>", [("stop", {})]),
        (
            "llama_python",
            "[a-b.c(x=True, names=['a', \"b\\n\"], maybe=None), stop( )]",
            [("a-b.c", {"x": True, "names": ["a", "b\n"], "maybe": None}), ("stop", {})],
        ),
        (
            "llama_python",
            '[search(query="""a "b"\nc""", all={"a": [1, {}], \'b\': -2.5e3})]',
            [("search", {"query": 'a "b"\nc', "all": {"a": [1, {}], "b": -2500.0}})],
        ),
        ("mistral", '[TOOL_CALLS]search[CALL_ID]abcdefghi[ARGS]{"query": "a"}', [("search", {"query": "a"})]),
        ("mistral_list", '[TOOL_CALLS] [{"name": "stop", "arguments": {}, "id": "abcdefghi"}]', [("stop", {})]),
        ("harmony", " to=functions.stop<|channel|>commentary json<|message|>{}<|call|>", [("stop", {})]),
        ("harmony", "<|channel|>commentary to=functions.stop<|message|>{}", [("stop", {})]),
        (
            "gemma",
            '<|tool_call>call:search{all:{a b:[1,null,true,<|"|>q\'q<|"|>]},query:<|"|>\\n{}<|"|>}<tool_call|>',
            [("search", {"all": {"a b": [1, None, True, "q'q"]}, "query": "\\n{}"})],
        ),
        ("gemma", '<|tool_call>call:search{<|"|>query<|"|>:<|"|><|"|>}<tool_call|>', [("search", {"query": ""})]),
        ("tool_code", "```tool_code\n[stop(), stop()]\n```", [("stop", {}), ("stop", {})]),
        ("deepseek", deepseek(("stop", "{}"))[: -len(CALLS_END)], [("stop", {})]),
        (
            "lfm",
            "<|tool_call_start|>[search(all={\"a\": [1, null, true]}, query='red')]<|tool_call_end|>",
            [("search", {"all": {"a": [1, None, True]}, "query": "red"})],
        ),
    ],
)
def test_what_models_of_the_family_write_is_read(form, text, calls):
    assert read(form, text) == calls


@pytest.mark.parametrize(
    "form", ["hermes", "qwen_xml", "glm", "mistral", "gemma", "tool_code", "deepseek", "lfm", "phi"]
)
def test_what_is_said_before_calls_is_the_content(form):
    message = parse(form, f"I look.\n\n{WRITTEN[form]}")

    assert (message.content, message.text) == ("I look.", f"I look.\n\n{WRITTEN[form]}")
    assert len(message.tool_calls) == 2


@pytest.mark.parametrize("form", FAMILIES)
@pytest.mark.parametrize(
    "text", ["", "the answer is 4", " 4\n", '{"answer": 4}', "[4]", "import functools", "```py\n4\n```"]
)
def test_text_without_a_call_is_the_content_to_the_letter(form, text):
    message = parse(form, text)

    assert (message.content, message.text, message.reasoning) == (text, text, "")
    assert message.tool_calls == message.malformed_calls == ()


@pytest.mark.parametrize("form", FAMILIES)
def test_without_tools_and_in_a_cut_turn_nothing_is_a_call(form):
    without_tools = parse(TurnParser(form, [], BYTES), WRITTEN[form])
    cut = PARSERS[form].parse(BYTES.encode(WRITTEN[form]), is_cut=True)

    assert without_tools.tool_calls == without_tools.malformed_calls == ()
    assert cut.tool_calls == cut.malformed_calls == ()
    assert cut.text == WRITTEN[form]


# -- what any call is written as ---------------------------------------------------------------------------------

TEXT = st.text(max_size=9) | st.sampled_from(
    [
        "</tool_call>",
        "<tool_call>",
        "3",
        "true",
        "null",
        '"',
        "'",
        "\\",
        "\\n",
        "\n",
        "a\n\n",
        " b ",
        "[TOOL_CALLS]",
        "]",
        "日本 🐈",
        "\u2028",
        "</parameter>",
        "<parameter=a>",
        "</arg_value>",
        '<|"|>',
        "<|end|>",
        "```",
        "functools[",
        CALL_END,
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
CALLS = st.lists(
    st.builds(
        ToolCall,
        st.just("search"),
        st.fixed_dictionaries(
            {}, optional={"query": TEXT, "limit": st.integers(), "all": st.dictionaries(TEXT, VALUES), "any": VALUES}
        ),
    )
    | st.builds(
        ToolCall, st.just("wait"), st.fixed_dictionaries({"seconds": st.floats(allow_nan=False, allow_infinity=False)})
    )
    | st.builds(
        ToolCall,
        st.just("a-b.c"),
        st.fixed_dictionaries({"maybe": st.none() | st.integers(), "names": st.lists(VALUES)}),
    ),
    min_size=1,
    max_size=3,
)
ESCAPES_NOTHING = ("qwen_xml", "glm", "gemma")
"""Forms in which a text cannot hold all of the form's own marks."""


@settings(max_examples=40)
@given(CALLS)
@pytest.mark.parametrize("form", FAMILIES)
def test_any_calls_that_are_written_are_read_again(form, calls):
    wanted = [(call.name, dict(call.arguments)) for call in calls]
    try:
        text = PARSERS[form].write(*calls)
    except ConfigError:
        event("not written")
        assert form in ESCAPES_NOTHING
        return

    message = parse(form, text)
    assert [(call.name, dict(call.arguments)) for call in message.tool_calls] == wanted
    assert (message.content, message.malformed_calls) == ("", ())


@settings(max_examples=40)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="<>|"), max_size=20))
@pytest.mark.parametrize("form", ESCAPES_NOTHING)
def test_forms_without_escapes_write_every_text_without_marks(form, text):
    call = ToolCall("search", {"query": text})

    assert read(form, PARSERS[form].write(call)) == [("search", {"query": text})]


@pytest.mark.parametrize("form", [form for form in FAMILIES if form not in ESCAPES_NOTHING])
def test_the_marks_of_a_form_may_stand_in_its_arguments(form):
    arguments = {"query": " ".join(FORMS[form].markers), "any": [*FORMS[form].markers]}

    assert read(form, PARSERS[form].write(ToolCall("search", arguments))) == [("search", arguments)]


@pytest.mark.parametrize("form", FAMILIES)
@pytest.mark.parametrize("value", ["3", "true", "None", '"', "red"])
def test_a_text_that_looks_like_a_value_stays_a_text(form, value):
    assert read(form, PARSERS[form].write(ToolCall("search", {"any": value}))) == [("search", {"any": value})]


@pytest.mark.parametrize("form", ESCAPES_NOTHING)
def test_a_text_that_would_end_its_own_call_is_not_written(form):
    text = {"gemma": '<|"|>'}.get(form, "</tool_call>")

    with pytest.raises(ConfigError, match=rf"search.*form '{form}'"):
        PARSERS[form].write(ToolCall("search", {"query": f"a {text} b"}))


# -- any text at all ---------------------------------------------------------------------------------------------

PIECES = sorted({marker for form in FORMS.values() for marker in form.markers})
PIECES += [
    '{"name": "search"',
    ', "arguments": ',
    '"parameters": ',
    "call:search{",
    "search(",
    "query=",
    "limit:",
    "functions",
]
PIECES += [
    "<function=search>",
    "</function>",
    "<parameter=query>",
    "</parameter>",
    "to=functions.search",
    "assistant",
    "```json\n",
]
PIECES += [
    "{",
    "}",
    "[",
    "]",
    "(",
    ")",
    '"',
    "'",
    "\\",
    "\\ud83d",
    "\\x4",
    "1e999",
    "NaN",
    "9" * 5000,
    "[" * 3000,
    ":",
    ",",
    ";",
    "=",
    "\n",
    "💥",
]


@settings(max_examples=40)
@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=14).map("".join))
@example("<|channel>" * 3 + "<|tool_call>" * 3)
@pytest.mark.parametrize("form", FAMILIES)
def test_no_text_is_ever_an_error_and_what_was_read_can_be_kept(form, text):
    message = parse(form, text)

    assert message.text == BYTES.decode(BYTES.encode(text))
    json.dumps([dict(call.arguments) for call in message.tool_calls], allow_nan=False).encode()
    assert all(each.problem and each.text in message.text for each in message.malformed_calls)


@pytest.mark.parametrize("form", FAMILIES)
@pytest.mark.parametrize("is_whole", [False, True])
def test_a_hundred_thousand_marks_are_read_in_time(form, is_whole):
    # Quadratic work on any of these would not end within the tests.
    marks = [*FORMS[form].markers, WRITTEN[form], '{"name": "', "[search(query='", "<parameter=query>", " "]
    texts = [mark * (100_000 // len(mark)) for mark in marks]
    beginning = WRITTEN[form][:25] if is_whole else ""

    messages = [parse(form, beginning + text) for text in texts]

    assert [message.text for message in messages] == [beginning + text for text in texts]
    assert any(message.malformed_calls or message.content or message.tool_calls for message in messages)
