"""Reading calls and comparing them with the right ones, by the rules of the Berkeley Function Calling Leaderboard."""

import ast
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmgym.envs.function_calling.checker import find_mistake
from llmgym.envs.function_calling.decoding import Call, UnreadableCalls, read_calls
from llmgym.envs.function_calling.java_values import JAVA_TYPES, java_value
from llmgym.envs.function_calling.javascript_values import JAVASCRIPT_TYPES, javascript_value

# Functions and answers of our own; each label is what the leaderboard's checker said (bfcl-eval 2026.3.23).
LABELLED = Path(__file__).parent / "support" / "function_calls.jsonl"
JUDGED = [
    pytest.param(task, answer, id=f"{task['category']}-{index}-{answer['label'] or 'right'}")
    for task in map(json.loads, LABELLED.read_text(encoding="utf-8").splitlines())
    for index, answer in enumerate(task["answers"])
]


def revived(value):
    """A value with its tuples, which JSON has no form for."""
    if isinstance(value, dict):
        if value.keys() == {"__tuple__"}:
            return tuple(map(revived, value["__tuple__"]))
        return {key: revived(each) for key, each in value.items()}
    return [revived(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("task", "answer"), JUDGED)
def test_a_verdict_and_its_label_are_the_leaderboards(task, answer):
    mistake = find_mistake(
        [Call(name, revived(arguments)) for name, arguments in answer["calls"]],
        task["functions"],
        task["expected"],
        category=task["category"],
        language=task["language"],
        dots_as_underscores=answer["dots_as_underscores"],
    )

    assert (mistake.label if mistake else None) == answer["label"]


PLAY = {
    "name": "play",
    "parameters": {"properties": {"track": {"type": "integer"}}, "required": ["track"]},
}


def matched_greedily(tracks, allowed):
    """Each wanted call takes the first call left that is right for it; all must find one."""
    left = list(tracks)
    for each in allowed:
        right = [track for track in left if track in each]
        if not right:
            return False
        left.remove(right[0])
    return not left


@given(
    st.lists(st.integers(1, 3), max_size=4), st.lists(st.lists(st.integers(1, 3), min_size=1), min_size=1, max_size=4)
)
def test_parallel_calls_are_matched_greedily_and_each_but_once(tracks, allowed):
    mistake = find_mistake(
        [Call("play", {"track": track}) for track in tracks],
        [PLAY],
        [("play", {"track": each}) for each in allowed],
        category="parallel",
        language="python",
    )

    assert (mistake is None) == matched_greedily(tracks, allowed)


def calls_in(text, language="python"):
    return [(call.name, call.arguments) for call in read_calls(text, language)]


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("[f(a=1)]", [("f", {"a": 1})]),
        ("```\nf(a=1), g.h(b='x')\n```", [("f", {"a": 1}), ("g.h", {"b": "x"})]),
        ("'[f(a=1)]'", None),
        ("[f(1, b=2)]", [("f", {"b": 2})]),
        ("f(a=name, b=g(1), c=g(x=1), d=e[0])", [("f", {"a": "name", "b": "g(1)", "c": {"g": {"x": 1}}, "d": "e[0]"})]),
        ("f(a=-1, b=+1, c=2*3+1, d=[1]*2, e=...)", [("f", {"a": -1, "b": -1, "c": 7, "d": [1, 1], "e": "..."})]),
        ("[]", []), ("", []), ("I cannot do that.", None), ("[f(a=1), 2]", None), ("f(a=b.c)", None),
        ("f(a=10**10**10)", None), ("f(a='x'*10**9)", None), ("f(a=0x" + "f" * 5000 + ")", None), ("(" * 500, None),
        ("f(a=(1, 2), **k)", [("f", {"a": (1, 2), None: "k"})]), ("f(a=__import__('os').getpid()+1)", None),
    ],
)  # fmt: skip
def test_python_text_is_read_and_never_executed(text, calls):
    if calls is None:
        with pytest.raises(UnreadableCalls):
            calls_in(text)
    else:
        assert calls_in(text) == calls


literals = st.recursive(
    st.integers(0, 10**20) | st.floats(0, allow_infinity=False) | st.text(max_size=8) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.from_regex(r"[a-z]{1,6}_", fullmatch=True), literals, max_size=4))
def test_literal_arguments_are_read_as_python_reads_them(arguments):
    text = f"[run({', '.join(f'{name}={value!r}' for name, value in arguments.items())})]"

    assert calls_in(text) == [("run", {name: ast.literal_eval(repr(value)) for name, value in arguments.items()})]


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    for language in ("python", "java", "javascript"):
        try:
            assert isinstance(read_calls(text, language), list)
        except UnreadableCalls:
            continue


@pytest.mark.parametrize(
    ("language", "text", "arguments"),
    [
        ("java", '[a.B.run(x = 5L, y = "t, (", z = new int[]{1, 2})]', {"x": "5L", "y": "t, (", "z": "new int[]{1, 2}"}),  # noqa: E501
        ("javascript", "[run(x={a: [1, 2]}, y='it')]", {"x": "{a: [1, 2]}", "y": "it"}),
        ("javascript", "[run(x=1, x=2)]", None), ("java", "[run(x=(1]", None), ("java", "no call", None),
        ("java", "[run(x=)]", None), ("java", "[run(x=two words)]", None), ("java", "[run(x=[1])]", None),
        ("javascript", "[run(x=1 +)]", None), ("java", "[run(1, x=new Job(2))]", {"x": "new Job(2)"}),
    ],
)  # fmt: skip
def test_values_of_other_languages_are_the_texts_of_expressions(language, text, arguments):
    if arguments is None:
        with pytest.raises(UnreadableCalls):
            calls_in(text, language)
    else:
        ((_, read),) = calls_in(text, language)
        assert read == arguments


@pytest.mark.parametrize(
    ("convert", "text", "kind", "inner", "value"),
    [
        (java_value, "5L", "long", None, 5), (java_value, "5", "long", None, "5"),
        (java_value, "1.5f", "float", None, 1.5),
        (java_value, "new ArrayList<>(Arrays.asList(1, 2))", "ArrayList", "integer", [1, 2]),
        (java_value, 'new HashMap<>() {{ put("a", 1); put("b", "c"); }}', "HashMap", None, {"a": 1, "b": "c"}),
        (java_value, "new int[]{ }", "Array", "integer", []), (java_value, "7", "any", None, "7"),
        (javascript_value, "[[1, 2], [3]]", "array", "array", [[1, 2], [3]]),
        (javascript_value, "new Array([1], ['b'])", "array", None, [[1], ["b"]]),
        (javascript_value, "{'a': [1, true], b: 'c'}", "dict", None, {"a": [1, True], "b": "c"}),
        (javascript_value, "12n", "Bigint", None, 12), (javascript_value, '"q"', "String", None, "q"),
    ],
)  # fmt: skip
def test_values_are_converted_as_the_leaderboard_converts_them(convert, text, kind, inner, value):
    assert convert(text, kind, inner) == value


@given(
    st.lists(st.sampled_from(["[", "]", "[[", "],[", ",", " ", "new ", "Array(", "{", "}}", ":", "put(", "<>", ")"]))
)
def test_converting_a_hostile_text_ends_at_once(pieces):
    text = "".join(pieces) * 40
    for kind in JAVA_TYPES:
        java_value(text, kind, "integer")
    for kind in JAVASCRIPT_TYPES:
        assert javascript_value(text, kind, "integer") is not None
