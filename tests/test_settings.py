from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgym.errors import ConfigError
from llmgym.settings import from_mapping, one_config


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, kw_only=True)
class Inner:
    depth: int = 1


@dataclass(frozen=True, kw_only=True)
class Outer:
    steps: int
    rate: float = 0.5
    is_fast: bool = False
    name: str = ""
    sizes: tuple[int, ...] = ()
    betas: tuple[float, float] = (0.9, 0.999)
    mode: Literal["a", "b"] = "a"
    colour: Colour = Colour.RED
    limit: int | None = None
    inner: Inner = field(default_factory=Inner)
    extra: dict[str, Any] = field(default_factory=dict)


def test_values_of_a_toml_table_become_the_types_of_the_fields():
    values = {
        "steps": 3,
        "rate": 1,
        "sizes": [1, 2],
        "betas": [0, 0.5],
        "colour": "blue",
        "limit": None,
        "inner": {"depth": 4},
        "extra": {"k": [1]},
    }

    made = from_mapping(Outer, values)

    assert (made.steps, made.rate, made.sizes, made.betas) == (3, 1.0, (1, 2), (0.0, 0.5))
    assert isinstance(made.rate, float)
    assert (made.colour, made.limit, made.inner, made.extra) == (Colour.BLUE, None, Inner(depth=4), {"k": [1]})


def test_misspelt_setting_is_an_error_that_names_the_nearest():
    with pytest.raises(ConfigError, match=r"agent\.stepss is not a setting\. Did you mean 'steps'\?"):
        from_mapping(Outer, {"stepss": 3}, where="agent")


def test_misspelt_setting_of_a_nested_table_is_named_with_its_path():
    with pytest.raises(ConfigError, match=r"run\.inner\.dept is not a setting\. Did you mean 'depth'\?"):
        from_mapping(Outer, {"steps": 1, "inner": {"dept": 3}}, where="run")


def test_missing_setting_without_a_default_is_an_error():
    with pytest.raises(ConfigError, match="steps is missing"):
        from_mapping(Outer, {})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("steps", "3", "a whole number"),
        ("steps", 3.0, "a whole number"),
        ("steps", True, "a whole number"),
        ("rate", True, "a number"),
        ("rate", "fast", "a number"),
        ("is_fast", 1, "true or false"),
        ("name", 1, "a text"),
        ("sizes", 1, "a list of a whole number each"),
        ("mode", "c", "one of 'a', 'b'"),
        ("colour", "green", "one of 'red', 'blue'"),
        ("limit", "x", "a whole number or none"),
        ("inner", 3, "a table of settings"),
    ],
)
def test_value_of_another_type_is_an_error_that_says_what_was_expected(name, value, expected):
    with pytest.raises(ConfigError, match=f"{name} is .*must be {expected}"):
        from_mapping(Outer, {"steps": 1} | {name: value})


def test_list_of_the_wrong_length_or_with_a_wrong_entry_is_an_error():
    with pytest.raises(ConfigError, match="betas has 3 entries, but it must have 2"):
        from_mapping(Outer, {"steps": 1, "betas": [0.1, 0.2, 0.3]})
    with pytest.raises(ConfigError, match=r"sizes\[1\] is 'x'"):
        from_mapping(Outer, {"steps": 1, "sizes": [1, "x"]})


@given(st.integers(), st.floats(allow_nan=False), st.booleans(), st.text(), st.lists(st.integers()))
def test_values_of_the_right_type_arrive_unchanged(steps, rate, is_fast, name, sizes):
    made = from_mapping(Outer, {"steps": steps, "rate": rate, "is_fast": is_fast, "name": name, "sizes": sizes})

    assert (made.steps, made.rate, made.is_fast, made.name, made.sizes) == (steps, rate, is_fast, name, tuple(sizes))


def test_constructor_takes_a_config_or_settings_but_not_both():
    assert one_config(Inner, None, {"depth": 3}) == Inner(depth=3)
    assert one_config(Inner, Inner(depth=2), {}) == Inner(depth=2)
    with pytest.raises(ConfigError, match="Both a Inner and the settings depth"):
        one_config(Inner, Inner(), {"depth": 3})
    with pytest.raises(ConfigError, match="was given, but Inner was expected"):
        one_config(Inner, Outer(steps=1), {})
