"""Functions as tools: the schema that a signature and a docstring give."""

import copy
from typing import Any, Literal, NotRequired, TypedDict

import pytest

from llmgym.errors import ConfigError
from llmgym.messages import ToolCall
from llmgym.tools import FunctionTool


class Guest(TypedDict):
    name: str
    age: NotRequired[int]


def book(
    city: str,
    nights: int,
    guests: list[Guest],
    *,
    price: float = 80.0,
    meals: Literal["none", "half", "full"] = "none",
    note: str | None = None,
    flags: dict[str, bool] | None = None,
    rest: Any = None,
) -> str:
    """Books a room,
    if there is one.

    Args:
        city: Where.
        nights (int): How many nights,
            at most 30.
        note: A wish: anything.

    Returns:
        A number.
    """
    return f"{city} {nights} {[guest['name'] for guest in guests]} {price} {meals} {note}"


def problem(function, **settings):
    with pytest.raises(ConfigError) as error:
        FunctionTool(function, **settings)
    return str(error.value)


def test_signature_and_docstring_make_the_schema():
    tool = FunctionTool(book)

    guest = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name"],
        "additionalProperties": False,
    }
    flags = {"anyOf": [{"type": "object", "additionalProperties": {"type": "boolean"}}, {"type": "null"}]}
    assert (tool.name, tool.description) == ("book", "Books a room, if there is one.")
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Where."},
            "nights": {"type": "integer", "description": "How many nights, at most 30."},
            "guests": {"type": "array", "items": guest},
            "price": {"type": "number", "default": 80.0},
            "meals": {"type": "string", "enum": ["none", "half", "full"], "default": "none"},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "A wish: anything."},
            "flags": flags,
            "rest": {},
        },
        "required": ["city", "nights", "guests"],
    }


@pytest.mark.parametrize(
    ("change", "content"),
    [
        ({}, "Rome 2 ['Ada'] 80.0 none None"),
        ({"meals": "half", "note": "quiet"}, "Rome 2 ['Ada'] 80.0 half quiet"),
        ({"meals": "some"}, 'argument \'meals\' of book must be one of "none", "half", "full", not "some"'),
        ({"guests": [{"name": "Ada", "age": "x"}]}, "argument 'guests[0].age' of book must be of type integer"),
        ({"nights": 1.5}, "argument 'nights' of book must be of type integer, not float"),
    ],
)
def test_a_function_is_called_with_what_fits_and_told_nothing_else(change, content):
    arguments = {"city": "Rome", "nights": 2, "guests": [{"name": "Ada"}], **change}

    assert content in FunctionTool(book).call(ToolCall("book", arguments)).content


def test_a_schema_can_be_given_with_a_function_that_takes_anything():
    parameters = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    tool = FunctionTool(lambda **given: given, name="echo", description="Echoes.", parameters=parameters)

    assert tool.call(ToolCall("echo", {"x": 3})).content == '{"x": 3}'
    assert tool.call(ToolCall("echo", {})).content == "error: echo needs the argument 'x'"


def test_it_decorates():
    @FunctionTool
    def double(number: int) -> int:
        """Doubles."""
        return 2 * number

    assert double.call(ToolCall("double", {"number": 21})).content == "42"


def test_a_default_that_json_does_not_know_is_left_out_of_the_schema():
    def count(items: list[str] = ()):
        """Counts."""

    assert FunctionTool(count).parameters["properties"]["items"] == {"type": "array", "items": {"type": "string"}}


class Shop:
    def __init__(self):
        self.sold = []
        self.tools = [FunctionTool(self.sell), FunctionTool(self.list_sold)]

    def sell(self, item: str) -> str:
        """Sells."""
        self.sold.append(item)
        return "sold"

    def list_sold(self) -> list[str]:
        """Lists."""
        return self.sold


def test_methods_share_the_state_of_their_object_and_a_copy_of_it_has_its_own():
    shop = Shop()
    copied = copy.deepcopy(shop)

    shop.tools[0].call(ToolCall("sell", {"item": "tea"}))

    assert shop.tools[1].call(ToolCall("list_sold", {})).content == '["tea"]'
    assert copied.tools[1].call(ToolCall("list_sold", {})).content == "[]"


def test_what_a_policy_could_not_call_is_refused():
    def untyped(x):
        """Does."""

    def wild(**x: int):
        """Does."""

    def odd(x: list[bytes]):
        """Does."""

    def odd_choice(x: Literal[b"a"]):
        """Does."""

    def silent(x: int): ...

    assert "has no type" in problem(untyped)
    assert "gives each argument by its name" in problem(wild)
    assert "bytes" in problem(odd)
    assert "JSON knows only" in problem(odd_choice)
    assert "no description" in problem(silent)
    assert "no description" not in FunctionTool(silent, description="Does.").description
