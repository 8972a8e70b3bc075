"""Turns in the forms of the families: what is refused, and in which words."""

import pytest
from support.turn_forms import (
    BYTES,
    CALL_BEGIN,
    CALL_END,
    CALLS_BEGIN,
    CALLS_END,
    FAMILIES,
    PARSERS,
    SEPARATOR,
    TOOLS,
    deepseek,
    deepseek_v31,
    parse,
    read,
    tool,
)

from llmgym.messages import ToolCall, TurnParser


def json_call(form, text):
    """A call of `search` whose arguments are this JSON."""
    named = '{"name": "search", "%s": %s}'
    return {
        "hermes": f"<tool_call>{named % ('arguments', text)}</tool_call>",
        "llama_json": named % ("parameters", text),
        "mistral": f"[TOOL_CALLS]search[ARGS]{text}",
        "mistral_list": f"[TOOL_CALLS][{named % ('arguments', text)}]",
        "harmony": f"<|channel|>commentary to=functions.search<|message|>{text}<|call|>",
        "deepseek": deepseek(("search", text)),
        "deepseek_v31": deepseek_v31(("search", text)),
        "phi": f"functools[{named % ('arguments', text)}]",
    }[form]


def literal_call(form, value):
    """A call of `search` in which an argument is this text."""
    return {
        "qwen_xml": f"<tool_call><function=search><parameter=limit>{value}</parameter></function></tool_call>",
        "glm": f"<tool_call>search<arg_key>limit</arg_key><arg_value>{value}</arg_value></tool_call>",
        "gemma": f"<|tool_call>call:search{{limit:{value}}}<tool_call|>",
        "llama_python": f"[search(limit={value})]",
        "tool_code": f"```tool_code\nsearch(limit={value})\n```",
        "lfm": f"<|tool_call_start|>[search(limit={value})]<|tool_call_end|>",
    }[form]


JSON_FORMS = ["hermes", "llama_json", "mistral", "mistral_list", "harmony", "deepseek", "deepseek_v31", "phi"]
LITERAL_FORMS = ["qwen_xml", "glm", "gemma", "llama_python", "tool_code", "lfm"]


def problem(form, text):
    message = parse(form, text)
    assert message.tool_calls == ()
    (malformed,) = message.malformed_calls
    assert malformed.text == text.strip() or form == "harmony"
    return malformed.problem


@pytest.mark.parametrize("form", JSON_FORMS)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("{'query': 1}", "property name enclosed in double quotes"),
        ('{"query": "red', "must hold one JSON value"),
        ('{"limit": 1e400}', "1e400 is too large"),
        ('{"limit": %s}' % ("9" * 2000), "has 2000 digits"),
        ('{"limit": NaN}', "NaN is no JSON number"),
        ('{"limit": -Infinity}', "-Infinity is no JSON number"),
        (r'{"query": "\ud800"}', "surrogate"),
        ('{"limit": 1, "limit": 2}', "'limit' is given twice"),
        ('{"all": {"a": 1, "a": 1}}', "'a' is given twice"),
        ("[]", "must be a JSON object"),
        ("3", "must be a JSON object"),
        ('{"any": ' + "[" * 100 + "]" * 100 + "}", "nested more than 64 deep"),
        ('{"any": ' + "[" * 100_000 + "}", "nested more than 64 deep"),
    ],
)
def test_json_that_cannot_be_kept_is_refused_in_words_to_act_on(form, arguments, words):
    assert words in problem(form, json_call(form, arguments))


@pytest.mark.parametrize("form", LITERAL_FORMS)
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("1e400", "1e400 is too large"),
        ("9" * 2000, "has 2000 digits"),
        ("NaN", "NaN"),
        ("[" * 100 + "]" * 100, "nested more than 64 deep"),
        ("[" * 100_000, "nested more than 64 deep"),
        ("[1", ""),
        ("red fox", ""),
    ],
)
def test_literals_that_cannot_be_kept_are_refused_in_words_to_act_on(form, value, words):
    assert words in problem(form, literal_call(form, value))


@pytest.mark.parametrize(
    ("form", "text", "words"),
    [
        ("qwen_xml", "<tool_call><function=search></tool_call>", "between <function=…> and </function>"),
        ("qwen_xml", "<tool_call><function=search</function></tool_call>", "followed by >"),
        (
            "qwen_xml",
            "<tool_call><function=search>red</function></tool_call>",
            "between <parameter=…> and </parameter>",
        ),
        ("qwen_xml", "<tool_call><function=search><parameter=query>red</function></tool_call>", "</parameter>"),
        (
            "qwen_xml",
            "<tool_call><function=search><parameter=limit>1</parameter><parameter=limit>1</parameter></function>"
            "</tool_call>",
            "'limit' is given twice",
        ),
        (
            "qwen_xml",
            "<tool_call><function=search><parameter=limit>1</parameter></function>",
            "must end with </tool_call>",
        ),
        (
            "glm",
            "<tool_call>search<arg_key>limit</arg_key></tool_call>",
            "<arg_key>…</arg_key><arg_value>…</arg_value>",
        ),
        ("glm", "<tool_call>search<arg_key>limit</arg_key><arg_value>1</tool_call>", "</arg_value>"),
        ("glm", "<tool_call>search\n<arg_key>limit</arg_key>", "must end with </tool_call>"),
        ("llama_json", '{"name": "stop"} {"name": "stop"}', "behind the JSON value"),
        ("llama_json", '{"name": "stop"};', "must hold one JSON value"),
        ("llama_json", "<|python_tag|>print(4)", "must hold one JSON value"),
        ("llama_json", '{"name": 3}', 'must be a JSON object with "name" and "parameters"'),
        ("llama_python", "[search('red')]", "by name, as in f(a=1)"),
        ("llama_python", "[search(limit=1, limit=1)]", "'limit' is given twice"),
        ("llama_python", "[search(limit=1)", "must have ',' at its end"),
        ("llama_python", "[stop()] or so", "must end at 'or so'"),
        ("llama_python", "[search(query=red)]", "'red' is no value; texts stand in quotes"),
        ("llama_python", "[search(query='red)]", "must end with '"),
        ("llama_python", r"[search(query='\ud800')]", "surrogate"),
        ("llama_python", "[search(all={1: 2})]", "a key must stand in quotes"),
        ("llama_python", "[search(limit=__import__('os'))]", "is no value"),
        ("mistral", '[TOOL_CALLS]search{"query": "a"}', "must have [ARGS]"),
        ("mistral_list", '[TOOL_CALLS]{"name": "stop"}', "must be a JSON list"),
        ("gemma", "<|tool_call>search{}<tool_call|>", "must have 'call:'"),
        ("gemma", "<|tool_call>call:stop<tool_call|>", "must have '{' behind 'stop'"),
        ("gemma", "<|tool_call>call:stop{}", "must end with <tool_call|>"),
        ("gemma", '<|tool_call>call:search{query:<|"|>red}<tool_call|>', 'must end with <|"|>'),
        ("gemma", "<|tool_call>call:search{limit:1,limit:2}<tool_call|>", "'limit' is given twice"),
        ("tool_code", "```tool_code\nstop()", "must end with ```"),
        ("deepseek", CALLS_BEGIN + CALLS_END, f"each call must begin with {CALL_BEGIN}"),
        ("deepseek", CALLS_BEGIN + CALL_BEGIN + CALLS_END, f"each call must end with {CALL_END}"),
        ("deepseek", CALLS_BEGIN + CALL_BEGIN + "stop" + CALL_END + CALLS_END, f"{SEPARATOR} before its name"),
        ("deepseek", deepseek_v31(("stop", "{}")), "arguments between ```json and ```"),
        ("deepseek", deepseek(("stop", "{}"))[:-30], f"must end with {CALLS_END}"),
        ("lfm", "<|tool_call_start|>[stop()]", "must end with <|tool_call_end|>"),
        ("phi", 'functools[{"name": "stop"}', "must hold one JSON value"),
    ],
)
def test_a_broken_form_is_refused_in_words_to_act_on(form, text, words):
    assert words in problem(form, text)


@pytest.mark.parametrize("form", FAMILIES)
def test_an_unknown_tool_is_refused_and_the_calls_beside_it_are_read(form):
    with_find = TurnParser(form, [*TOOLS, tool("find", query="string")], BYTES)
    text = with_find.write(ToolCall("find", {"query": "a"}), ToolCall("stop", {}))

    message = parse(form, text)
    assert [call.name for call in message.tool_calls] == ["stop"]
    assert [each.problem for each in message.malformed_calls] == [
        "there is no tool 'find'; there are search, wait, stop, a-b.c"
    ]


@pytest.mark.parametrize("form", FAMILIES)
def test_arguments_of_the_wrong_type_are_read_for_the_tool_to_refuse(form):
    call = ToolCall("wait", {"seconds": [1], "other": {"a": None}})

    assert read(form, PARSERS[form].write(call)) == [("wait", {"seconds": [1], "other": {"a": None}})]
