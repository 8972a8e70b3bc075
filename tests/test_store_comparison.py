"""What counts as said to a customer of the store, and which states of its database are the same."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmgym.envs.store.database import same_state
from llmgym.envs.store.env import says


@pytest.mark.parametrize(
    "text", ["10.00", "$10.00.", "You get 10 back", "(10.0)", "**10.00**", "10.00, then", "EUR 10.00/item", "10.000"]
)
def test_an_amount_is_said_as_a_whole(text):
    assert says(text, "10.00")


@pytest.mark.parametrize(
    "text",
    ["110.00", "10.001", "100", "S10", "10x", "2031-10-10", "10:30", "1,010.00", "10.00.1", "x10.00", "10,00", ""],
)
def test_an_amount_is_not_said_by_something_that_holds_its_digits(text):
    assert not says(text, "10.00")


def test_a_date_is_said_as_a_whole():
    assert says("It was 2031-02-03.", "2031-02-03")
    assert not says("It was 2031-02-031 or 12031-02-03.", "2031-02-03")


def test_thousands_may_be_grouped():
    assert says("It is 1,234.50.", "1234.50")


def test_a_message_of_many_numbers_says_none_of_them():
    assert says("10 1 2 3 4 5 6 2031-02-03", "10.00")
    assert not says("10 1 2 3 4 5 6 7 2031-02-03", "10.00")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_a_state_is_the_same_as_its_copy_and_not_as_one_with_more(state):
    assert same_state(state, copy.deepcopy(state))
    assert not same_state([state], [state, state])
    assert not same_state({"a": state}, {"b": state})


def test_states_are_compared_by_value():
    assert same_state({"a": [1, "Oak Lane"]}, {"a": [1.0, " oak  lane."]})
    for other in (True, "1", [1], None, 2):
        assert not same_state(1, other)
