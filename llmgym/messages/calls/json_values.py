"""JSON that a policy wrote: what is wrong with it is said in words that the policy can act on."""

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

MAX_DEPTH = 64
"""Of nested values. What is kept of a call is copied, compared and stored by code that recurses."""
MAX_DIGITS = 1000
"""Of a whole number. Python itself would refuse a few thousand."""

_HALF_PAIR = re.compile("[\ud800-\udfff]")
_SPACE = re.compile(r"\s*")


def json_value(text: str) -> Any:
    """The value of a JSON text. Raises ValueError."""
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"a call must hold one JSON value: {error}") from error
    except RecursionError:
        raise _too_deep() from None
    require_sound(value)
    return value


def json_values(text: str, *, separator: str) -> list[Any]:
    """The values of JSON texts with a separator between them. Raises ValueError."""
    values: list[Any] = []
    position = 0
    while not values or text.startswith(separator, position):
        position = _after_space(text, position + len(separator) if values else 0)
        try:
            value, position = _DECODER.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise ValueError(f"a call must hold one JSON value: {error}") from error
        except RecursionError:
            raise _too_deep() from None
        require_sound(value)
        values.append(value)
        position = _after_space(text, position)
    if position < len(text):
        raise ValueError(f"behind the JSON value of a call stands {text[position : position + 40]!r}")
    return values


def end_of_json(text: str, start: int) -> int:
    """Where the JSON value that begins at `start` ends; -1 where there is none."""
    try:
        return _DECODER.raw_decode(text, _after_space(text, start))[1]
    except (ValueError, RecursionError):
        return -1


def json_text(value: Any, *, without: Iterable[str] = ()) -> str:
    """`value` as JSON that holds none of the texts `without`, which occur inside its strings only."""
    text = json.dumps(value, ensure_ascii=False)
    for marker in without:
        text = text.replace(marker, f"\\u{ord(marker[0]):04x}{marker[1:]}")
    return text


def require_sound(value: Any) -> None:
    """Raises ValueError where a value is nested too deep, or holds what could not be stored."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for each in level for inner in _inside(each)]
        if not level:
            return
    raise _too_deep()


def whole_number(text: str) -> int:
    """Raises ValueError where it is too long."""
    if len(text) > MAX_DIGITS:
        raise ValueError(f"the number {text[:40]}... has {len(text)} digits, at most {MAX_DIGITS} are allowed")
    return int(text)


def finite_number(text: str) -> float:
    """Raises ValueError where it is too large."""
    if math.isinf(value := float(text)):
        raise ValueError(f"the number {text:.40} is too large")
    return value


def without_repeats(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """A dict of the pairs. Raises ValueError where a key is given twice."""
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"{key!r:.60} is given twice")
        values[key] = value
    return values


def _inside(value: Any) -> Sequence[Any]:
    """The elements of a value; ValueError where a text in it is none that could be encoded."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, str) and _HALF_PAIR.search(value):
        raise ValueError(r"half of a surrogate pair, such as \ud800, is no character")
    return value if isinstance(value, list) else ()


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None, "the pattern matches everywhere"
    return match.end()


def _too_deep() -> ValueError:
    return ValueError(f"a call must not be nested more than {MAX_DEPTH} deep")


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


_DECODER = json.JSONDecoder(
    object_pairs_hook=without_repeats, parse_float=finite_number, parse_int=whole_number, parse_constant=_no_number
)
