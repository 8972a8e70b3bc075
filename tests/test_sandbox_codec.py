"""The value codec: exact for what it knows, and harmless for whoever decodes."""

import math
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgym.execution import CodecError, Opaque, decode, encode

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**300, max_value=10**400)
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text(st.characters())
    | st.binary()
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.dates()
    | st.datetimes()
    | st.timedeltas()
)
keys = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.tuples(st.integers(), st.text())
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(keys, inner) | st.sets(keys) | st.frozensets(keys)
    ),
    max_leaves=20,
)


def exact_types(value):
    """The value's type, and those of all that is in it."""
    if isinstance(value, dict):
        return (type(value), [(exact_types(key), exact_types(item)) for key, item in value.items()])
    if isinstance(value, (list, tuple)):
        return (type(value), [exact_types(item) for item in value])
    return (type(value),)


@given(values)
def test_a_value_survives_with_its_exact_types(value):
    again = decode(encode(value))

    assert again == value
    assert exact_types(again) == exact_types(value)


def decodes_or_is_refused(data):
    try:
        decode(data)
    except CodecError:
        return True
    return len(data) > 0


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_a_value_or_an_error_of_the_codec(data):
    assert decodes_or_is_refused(data)


@given(values, st.data())
def test_a_damaged_value_is_a_value_or_an_error_of_the_codec(value, data):
    encoded = bytearray(encode(value))
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] = data.draw(st.integers(0, 255))

    assert decodes_or_is_refused(bytes(encoded))


def test_numbers_that_are_no_numbers_survive():
    assert math.isnan(decode(encode(math.nan)))
    assert decode(encode([math.inf, -math.inf])) == [math.inf, -math.inf]
    assert math.copysign(1, decode(encode(-0.0))) == -1


class Level(IntEnum):
    HIGH = 2


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "base"),
    [
        (Level.HIGH, 2),
        (Point(1, 2), (1, 2)),
        (Counter("aab"), {"a": 2, "b": 1}),
        (defaultdict(list, {1: [2]}), {1: [2]}),
        (OrderedDict(a=1), {"a": 1}),
        (deque([1, 2]), [1, 2]),
        (bytearray(b"x"), b"x"),
    ],
)  # fmt: skip
def test_a_subclass_arrives_as_its_base(value, base):
    again = decode(encode(value))

    assert again == base
    assert type(again) is type(base)


class Liar(list):
    def __eq__(self, other):
        return True

    def __iter__(self):
        return iter([8, 9])

    def __len__(self):
        return 1

    __hash__ = None


class LyingNumber(int):
    def __index__(self):
        return 5

    __int__ = __trunc__ = __index__


def test_overridden_methods_of_a_subclass_are_not_asked():
    assert decode(encode(Liar())) == []
    assert decode(encode(LyingNumber(3))) == 3


def test_anything_else_arrives_as_what_equals_nothing():
    class Anything:
        def __eq__(self, other):
            return True

    again = decode(encode([Anything()]))

    assert isinstance(again[0], Opaque)
    assert again != [1]
    assert again[0] != again[0]
    assert repr(again) == "[<Anything>]"


@pytest.mark.parametrize("kind", [bool, int, str, list, dict, type(None)])
def test_a_builtin_type_arrives_as_itself(kind):
    assert decode(encode(kind)) is kind


def test_a_list_within_itself_is_refused():
    loop = []
    loop.append(loop)

    with pytest.raises(CodecError, match="nested"):
        encode(loop)


def test_shared_parts_that_explode_are_refused():
    value = ["x"]
    for _ in range(60):
        value = [value, value]

    with pytest.raises(CodecError, match="larger"):
        encode(value, max_bytes=100_000)


def test_keys_made_to_collide_are_refused():
    modulus = 2**61 - 1
    keys = {1 + modulus * factor: None for factor in range(500)}

    with pytest.raises(CodecError, match="same hash"):
        decode(encode(keys))


def test_a_count_beyond_the_end_is_refused_before_memory_is_taken():
    with pytest.raises(CodecError, match="past the end"):
        decode(b"l\xff\xff\xff\xff")


def test_numbers_and_dates_are_by_value():
    value = [Decimal("1.10"), Fraction(1, 3), date(2020, 2, 29), time(1, 2), timedelta(days=-1, microseconds=5)]
    value.append(datetime(2020, 1, 2, tzinfo=timezone(timedelta(hours=1))))

    assert decode(encode(value)) == value
