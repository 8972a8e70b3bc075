"""Asserts taken apart on the host, and judged there on values."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgym.execution import (
    Call,
    DataCase,
    DataTests,
    Limits,
    Outcome,
    Output,
    RpcTests,
    Status,
    Value,
    form_of_check,
    form_of_statements,
)
from llmgym.execution.asserts import split_asserts, split_check
from llmgym.execution.forms import names_used


def judge(statement, *values):
    (case,) = split_asserts([statement])
    return case.judge([Value(value=value) for value in values])


@pytest.mark.parametrize(
    ("statement", "calls"),
    [
        ("assert f(1, 'a', x=[2]) == 3", [("f", [1, "a"], {"x": [2]})]),
        ("assert f(-1, 2**3, [0.1] * 2) is None", [("f", [-1, 8, [0.1, 0.1]], {})]),
        ("assert f(float('inf')) != g({1: (2,)})", [("f", [math.inf], {}), ("g", [{1: (2,)}], {})]),
        ("assert not f(), 'message'", [("f", [], {})]),
        ("assert sorted(f({1, 2})) == [1, 2] and len(f(set())) == 0", [("f", [{1, 2}], {}), ("f", [set()], {})]),
    ],
)
def test_only_calls_and_literal_arguments_go_to_the_sandbox(statement, calls):
    (case,) = split_asserts([statement])

    assert [(call.function, call.args, call.kwargs) for call in case.calls] == calls


@pytest.mark.parametrize(
    ("statement", "right", "wrong"),
    [
        ("assert f() == [1, 2]", [1, 2], (1, 2)),
        ("assert f() is True", True, 1),
        ("assert f() == 1.0", 1, 2),
        ("assert not f()", [], [0]),
        ("assert abs(f() - 0.1) < 1e-9", 0.1 + 1e-12, 0.2),
        ("assert math.isclose(f(), 2.0, rel_tol=1e-3)", 2.0001, 2.1),
        ("assert round(f(), 3) == 0.15", 0.15, 3e300),
        ("assert 0 < f() <= 3", 3, 0),
        ("assert f() in (1, 2)", 2, 3),
        ("assert isinstance(f(), dict)", {}, []),
        ("assert f()[0] == 1 and f()[-1:] == [2]", [1, 2], [2, 1]),
        ("assert f() == 1 or f() == 2", 2, 3),
        ("assert set(f()) == {1, 2}", [2, 1, 1], [1]),
        ("assert f() == {'a': -1}", {"a": -1}, {"a": 1}),
        ("assert math.isnan(f())", math.nan, 0.0),
        ("assert len(f()) == 2", "ab", 5),
    ],
)
def test_what_must_hold_is_worked_out_here(statement, right, wrong):
    (case,) = split_asserts([statement])
    values = len(case.calls)

    assert judge(statement, *[right] * values) == ""
    assert judge(statement, *[wrong] * values)


def test_a_raised_error_fails_the_assert_with_its_name():
    (case,) = split_asserts(["assert f() == 1"])

    assert case.judge([Value(error="KeyError", message="k")]) == "f raised KeyError: k"


@pytest.mark.parametrize(
    "statement",
    [
        "s = f()\nassert s == 1",
        "assert f(g(1)) == 2",
        "assert f().x == 1",
        "assert f(x) == 1",
        "assert all(f(n) for n in range(3))",
        "assert f(*[1]) == 1",
        "assert f(lambda: 1) == 1",
        "assert f() == open('/etc/passwd').read()",
        "assert __import__('os').getcwd() == f()",
        "assert f() == 2 ** 10**9",
        "assert f([0] * 10**9) == 1",
        "assert f() == '%999999999d' % 1",
        "assert 1 == 1",
        "for x in [1]:\n    assert f(x) == 1",
        "assert f({**{}}) == 1",
        "assert f() ==",
    ],
)
def test_anything_else_is_left_to_a_tester(statement):
    assert split_asserts([statement]) is None
    assert isinstance(form_of_statements([statement]), RpcTests)


def test_a_value_that_makes_the_check_expensive_only_fails():
    assert "too large" in judge("assert 2 ** f() == 1", 10**9)
    assert "too long" in judge("assert f() * 10**6 == []", [1, 2])


def test_functions_of_the_program_may_have_names_of_pythons_own():
    assert split_asserts(["assert sum(2, 3) == 5"], renamed={"sum": "sum"})[0].calls[0].function == "sum"
    assert split_asserts(["assert sum([2, 3]) == 5"]) is None


def test_a_check_function_is_split_for_the_function_it_is_about():
    check = "def check(candidate):\n    'doc'\n    assert candidate(2) == 4\n    assert candidate(3) == 9\n"
    source = f"METADATA = {{'author': 'x'}}\n{check}"

    cases = split_check(source, "square")

    assert [(case.calls[0].function, case.calls[0].args) for case in cases] == [("square", [2]), ("square", [3])]
    assert isinstance(form_of_check(source, "square"), DataTests)


def test_a_check_function_with_a_loop_is_run_whole():
    form = form_of_check("def check(candidate):\n    for n in range(3):\n        assert candidate(n) == n\n", "same")

    assert isinstance(form, RpcTests)
    assert form.statements[-1] == "check(same)"
    assert form.requests("")[0].names == ["same"]


def test_names_are_those_that_tests_use_and_do_not_make():
    statements = [
        "import math as m",
        "xs = [f(i) for i in range(3)]",
        "def h(a):\n    return g(a, xs)",
        "assert h(m.pi)",
    ]

    assert names_used(statements) == ["f", "g"]


literals = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(literals, literals)
def test_equality_with_a_literal_is_pythons_own(value, literal):
    reason = judge(f"assert f() == {literal!r}", value)

    assert (reason == "") == (value == literal)


def outcome(values, **settings):
    nothing = Output(data=b"", num_bytes=0, num_head_bytes=0)
    fixed = {"exit_code": 0, "signal": None, "wall_s": 0.0, "cpu_s": 0.0, "max_memory_mib": 1.0, "level": "test"}
    settings = {"status": Status.OK, "stdout": nothing, "stderr": nothing, **fixed, **settings}
    return Outcome(values=tuple(Value(value=value) for value in values), **settings)


TESTS = DataTests(cases=[DataCase(call=Call(function="f"), expected=n) for n in (1, 2)])


@pytest.mark.parametrize(
    ("ended", "passed"),
    [
        (outcome([1, 2]), [True, True]),
        (outcome([1]), [True, False]),
        (outcome([1], status=Status.TIMEOUT), [True, False]),
        (outcome([1, 2, 3]), [False, False]),
        (outcome([], protocol_error="bytes after the last frame"), [False, False]),
        (outcome([2, 1]), [False, False]),
    ],
)
def test_missing_and_surplus_values_pass_nothing(ended, passed):
    assert [result.is_passed for result in TESTS.judge([ended]).results] == passed


def test_an_expected_exception_may_be_of_a_narrower_kind():
    case = DataCase(call=Call(function="f"), raises="LookupError")

    assert case.judge([Value(error="KeyError")]) == ""
    assert case.judge([Value(error="ValueError")])
    assert case.judge([Value(value=1)])


def test_a_reason_holds_no_control_characters_and_has_an_end():
    (case,) = split_asserts(["assert f() == 1"])
    tests = DataTests(cases=[case], limits=Limits())
    ended = outcome([])

    ended = Outcome(**{**ended.__dict__, "values": (Value(error="E\x1b[2J\n", message="x\r" * 10_000),)})
    (result,) = tests.judge([ended]).results

    assert result.reason.isprintable()
    assert len(result.reason) <= 500


def test_an_assert_that_tests_nothing_counts_for_nothing():
    tests = form_of_check("def check(candidate):\n    assert True, 'debugging'\n    assert candidate(1) == 2\n", "f")

    assert isinstance(tests, DataTests)
    assert [case.text for case in tests.cases] == ["assert candidate(1) == 2"]
    assert split_asserts(["assert True"]) is None
