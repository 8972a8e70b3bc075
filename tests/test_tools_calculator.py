"""The calculator, against Fraction arithmetic, and what every tool does with what a policy sends it."""

from fractions import Fraction

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from llmgym.messages import ToolCall
from llmgym.tools import Calculator, Tool, ToolError
from llmgym.tools.calculator import evaluate, format_exactly

numbers = st.one_of(
    st.integers(0, 10**9).map(str),
    st.decimals(0, 1000, places=3, allow_nan=False).map(lambda number: f"{number:f}"),
)


def binary(children):
    """An expression in parentheses beside its value by definition; None: it divides by zero."""
    operators = {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: a / b if b else None,
        "//": lambda a, b: Fraction(a // b) if b else None,
        "%": lambda a, b: a % b if b else None,
    }

    def combine(left, operator, right, space):
        (left_text, a), (right_text, b) = left, right
        value = None if a is None or b is None else operators[operator](a, b)
        return f"({left_text}{space}{operator}{space}{right_text})", value

    return st.builds(combine, children, st.sampled_from(sorted(operators)), children, st.sampled_from(["", " "]))


def signed(children):
    return children.map(lambda pair: (f"(-{pair[0]})", None if pair[1] is None else -pair[1]))


def powers(children):
    def combine(pair, exponent):
        text, base = pair
        value = None if base is None or (base == 0 and exponent < 0) else base**exponent
        return f"({text}**{exponent})", value

    return st.builds(combine, children, st.integers(-3, 3))


trees = st.recursive(
    numbers.map(lambda text: (text, Fraction(text))),
    lambda children: st.one_of(binary(children), signed(children), powers(children)),
    max_leaves=8,
).filter(lambda pair: len(pair[0]) <= 500)


@given(trees)
def test_an_expression_has_exactly_the_value_of_its_tree(tree):
    text, expected = tree

    result = Calculator().call(ToolCall("calculator", {"expression": text}, "call-1"))

    answer = "error: division by zero" if expected is None else format_exactly(expected)
    # Even where the whole is small, a part of it may be too large.
    assert result.content in (answer, "error: the result is too large")
    event(result.content if result.is_error else "a value")


@given(st.lists(st.tuples(st.sampled_from(["", "-", "+"]), st.integers(1, 99)), min_size=1, max_size=8), st.data())
def test_precedence_is_that_of_python(operands, data):
    operators = [data.draw(st.sampled_from(["+", "-", "*", "/", "//", "%"])) for _ in operands[1:]]
    exponents = [data.draw(st.sampled_from(["", "**2", "**-1", "**2**3"])) for _ in operands]
    pieces = list(zip(["", *operators], operands, exponents, strict=True))
    text = "".join(f"{operator}{sign}{number}{power}" for operator, (sign, number), power in pieces)
    python = "".join(f"{operator}{sign}Fraction({number}){power}" for operator, (sign, number), power in pieces)

    try:
        expected = Fraction(eval(python, {"Fraction": Fraction}))
    except ZeroDivisionError:
        with pytest.raises(ToolError, match="division by zero"):
            evaluate(text)
    else:
        assert evaluate(text) == expected


@given(st.one_of(st.text(), st.text("0123456789.+-*/%()^ ", max_size=600), st.text("9*/(-", max_size=600)))
def test_any_text_is_either_a_value_or_an_answer_to_the_policy(text):
    result = Calculator().call(ToolCall("calculator", {"expression": text}, "call-1"))

    assert result.content
    assert result.is_error == result.content.startswith("error: ")


@given(st.fractions())
def test_what_is_printed_reads_back_as_the_same_value(value):
    assert Fraction(format_exactly(value)) == value


@pytest.mark.parametrize(
    ("expression", "answer"),
    [
        ("37*81", "2997"),
        ("(2+3)/4", "1.25"),
        ("1/3", "1/3"),
        ("-1/8", "-0.125"),
        ("0.1+0.2", "0.3"),
        ("-2**2", "-4"),
        ("2^10", "1024"),
        ("2**-2", "0.25"),
        ("-7//2", "-4"),
        ("-7%3", "2"),
        (".5*4", "2"),
        ("0**0", "1"),
        ("(-1)**99999999999999999999", "-1"),
        (" 1 +\n 1 ", "2"),
    ],
)
def test_answers_are_exact_and_in_their_plainest_form(expression, answer):
    assert Calculator().run(expression=expression) == answer


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("1/0", "division by zero"),
        ("1//0", "division by zero"),
        ("1%(2-2)", "division by zero"),
        ("0**-1", "division by zero"),
        ("2**0.5", "whole exponents"),
        ("(1+2", "closing parenthesis"),
        ("1+2)", r"unexpected '\)'"),
        ("1 2", "unexpected '2'"),
        ("1+", "ends too early"),
        ("*2", r"unexpected '\*'"),
        ("__import__('os')", "cannot read"),
        ("1e5", "cannot read"),
        ("(" * 60 + "1" + ")" * 60, "nested more than 50"),
        ("-" * 60 + "1", "nested more than 50"),
        ("1+" * 300 + "1", "at most 500"),
    ],
)
def test_a_mistake_is_named(expression, problem):
    with pytest.raises(ToolError, match=problem):
        evaluate(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "9**9**9**9",
        "10**(10**400)",
        "0.5**99999999",
        "(2**4000)*(2**4000)",
        "(1/3)**-99999999",
        # These two once grew without bound, until the answer could not be printed at all.
        "2**4000" + "//.5**4000" * 8,
        "3**-2000%7**-1400%11**-1100%13**-1000",
    ],
)
def test_a_value_of_thousands_of_digits_is_refused_before_it_is_computed(expression):
    with pytest.raises(ToolError, match="too large"):
        evaluate(expression)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "calculator needs the argument 'expression'"),
        ({"expression": 12}, "'expression' of calculator must be of type string, not int"),
        ({"expression": None}, "must be of type string, not NoneType"),
        ({"expression": "1", "precision": 3}, "calculator has no argument 'precision'; it takes expression"),
    ],
)
def test_arguments_that_do_not_fit_the_schema_are_answered_and_not_run(arguments, problem):
    result = Calculator().call(ToolCall("calculator", arguments, "call-1"))

    assert result.is_error
    assert problem in result.content


class Typed(Tool):
    """Takes one argument of each kind and says which it got."""

    name = "typed"
    description = "For this test."
    parameters = {  # noqa: RUF012
        "type": "object",
        "properties": {
            "count": {"type": "integer"},
            "ratio": {"type": "number"},
            "flag": {"type": "boolean"},
            "items": {"type": "array"},
            "table": {"type": "object"},
            "anything": {},
        },
    }

    def run(self, **arguments):
        return ",".join(arguments)


@pytest.mark.parametrize(
    ("arguments", "fits"),
    [
        ({"count": 3, "ratio": 3, "flag": True, "items": [1], "table": {"a": 1}, "anything": None}, True),
        ({"ratio": 0.5}, True),
        ({}, True),
        ({"count": True}, False),
        ({"ratio": False}, False),
        ({"count": 0.5}, False),
        ({"flag": 1}, False),
        ({"items": "abc"}, False),
        ({"table": [1]}, False),
    ],
)
def test_arguments_are_checked_against_their_type(arguments, fits):
    result = Typed().call(ToolCall("typed", arguments, "call-1"))

    assert result.is_error is not fits


def test_a_tool_shows_its_schema_in_the_form_of_chat_templates():
    function = Calculator().schema["function"]

    assert Calculator().schema["type"] == "function"
    assert (function["name"], function["parameters"]["required"]) == ("calculator", ["expression"])
