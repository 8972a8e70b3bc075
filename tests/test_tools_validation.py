"""Arguments against schemas: agreement with jsonschema, and words that a policy can act on."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from llmgym.tools.validation import problem_with

PLACE = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 1}, "zip": {"type": ["integer", "null"]}},
    "required": ["city"],
    "additionalProperties": False,
}
TRIP = {
    "type": "object",
    "$defs": {"place": PLACE},
    "properties": {
        "stops": {"type": "array", "items": {"$ref": "#/$defs/place"}, "maxItems": 2},
        "by": {"enum": ["train", "ship"]},
        "days": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]},
        "prices": {"type": "object", "additionalProperties": {"type": "number", "exclusiveMinimum": 0}},
    },
    "required": ["stops"],
}


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "trip needs the argument 'stops'"),
        ({"stops": [], "pace": 1}, "trip has no argument 'pace'; it takes stops, by, days, prices"),
        ({"stops": "Rome"}, "argument 'stops' of trip must be of type array, not str"),
        ({"stops": [{"city": "Rome"}, {}]}, "argument 'stops[1]' of trip needs 'city'"),
        ({"stops": [{"city": ""}]}, "argument 'stops[0].city' of trip must have at least 1 characters, not 0"),
        ({"stops": [{"city": "Rome", "land": "I"}]}, "'stops[0]' of trip has no 'land'; it takes city, zip"),
        ({"stops": [{"city": "Rome", "zip": "1"}]}, "'stops[0].zip' of trip must be of type integer or null, not str"),
        ({"stops": [{"city": "a"}] * 3}, "argument 'stops' of trip must have at most 2 elements, not 3"),
        ({"stops": [], "by": "car"}, """argument 'by' of trip must be one of "train", "ship", not "car\""""),
        (
            {"stops": [], "days": 0},
            "argument 'days' of trip must be at least 1, not 0, or must be of type null, not int",
        ),
        ({"stops": [], "days": True}, "must be of type integer, not bool"),
        ({"stops": [], "prices": {"bed": 0}}, "argument 'prices.bed' of trip must be more than 0, not 0"),
    ],
)
def test_the_problem_says_where_it_is_and_what_would_do(arguments, problem):
    assert problem in problem_with(arguments, TRIP, tool="trip")


def test_arguments_that_fit_have_no_problem():
    stops = [{"city": "Rome", "zip": None}, {"city": "Oslo", "zip": 150}]

    assert problem_with({"stops": stops, "by": "ship", "days": 3, "prices": {"bed": 9.5}}, TRIP, tool="trip") is None


def test_a_schema_may_allow_further_arguments():
    assert problem_with({"any": 1}, {"type": "object", "additionalProperties": True}, tool="trip") is None


scalars = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.just(0.5), st.sampled_from(["", "a", "bb"]))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
)
kinds = st.sampled_from(["string", "integer", "number", "boolean", "array", "object", "null"])


def options(inner):
    return st.fixed_dictionaries(
        {},
        optional={
            "type": kinds | st.lists(kinds, min_size=1, max_size=3, unique=True),
            "enum": st.lists(scalars, min_size=1, max_size=3),
            "const": scalars,
            "minimum": st.integers(-2, 2),
            "exclusiveMaximum": st.integers(-2, 2),
            "minLength": st.integers(0, 2),
            "maxItems": st.integers(0, 2),
            "uniqueItems": st.booleans(),
            "items": inner,
            "properties": st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
            "required": st.lists(st.sampled_from("ab"), max_size=1),
            "additionalProperties": st.booleans() | inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
        },
    )


schemas = st.recursive(st.just({}), options, max_leaves=4)


@given(values, schemas)
def test_what_fits_is_what_jsonschema_says(value, schema):
    whole = {"type": "object", "properties": {"value": schema}}

    problem = problem_with({"value": value}, whole, tool="tool")

    expected = Draft202012Validator(schema).is_valid(json.loads(json.dumps(value)))
    assert (problem is None) is expected, problem
