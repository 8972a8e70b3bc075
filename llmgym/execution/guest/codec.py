"""Values as bytes: exact builtin types, bounded, and nothing that decoding could run.

    None, bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict,
    Decimal, Fraction, date, time, datetime, timedelta, and the builtin types themselves

`encode` takes subclasses (Counter, namedtuple, IntEnum, ...) as their base type, read by the base type's own methods.
Everything else becomes an `Opaque`, which equals nothing. `decode` builds only exact builtin types, so that `==` on
what it returns is Python's own, whoever wrote the bytes.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 100
MAX_EQUAL_HASHES = 100
"""Distinct keys of one set or dict with the same hash: more of them are an attack on whoever decodes."""

_U32 = struct.Struct(">I")
_TYPES = (bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict, type(None))
_FLOAT = struct.Struct(">d")
_COMPLEX = struct.Struct(">dd")
_DATE_TYPES = {"date": "D", "time": "M", "datetime": "A"}


class CodecError(ValueError):
    """A value is too large or too deep to be sent, or the bytes are not a value."""


class Opaque:
    """A value of some other type. It equals nothing, itself included."""

    __slots__ = ("type_name",)
    __hash__ = object.__hash__

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name

    def __eq__(self, other: object) -> bool:
        return False

    def __repr__(self) -> str:
        return f"<{self.type_name}>"


class Handle:
    """A live object that stays in the sandbox, by number."""

    __slots__ = ("index", "is_class", "type_name")

    def __init__(self, index: int, type_name: str, is_class: bool) -> None:
        self.index, self.type_name, self.is_class = index, type_name, is_class


Other = Callable[[Any], Any]
"""Turns a value that the codec does not know into an `Opaque`, a `Handle`, or a value that it knows."""


def _opaque(value: Any) -> Opaque:
    return Opaque(type.__dict__["__name__"].__get__(type(value)))  # not what a metaclass says the name is


def encode(value: Any, *, max_bytes: int = 1 << 22, other: Other = _opaque) -> bytes:
    """The bytes of `value`.

    Args:
        value: anything; see the module's text for what survives.
        max_bytes: most bytes of the result.
        other: called with each value of another type.

    Raises:
        CodecError: it is deeper than `MAX_DEPTH`, or larger than `max_bytes`.
    """
    encoder = _Encoder(max_bytes, other)
    encoder.add(value, 0)
    return b"".join(encoder.parts)


def decode(data: bytes, *, resolve: Callable[[Handle], Any] | None = None) -> Any:
    """The value that `encode` wrote.

    Args:
        data: any bytes, also hostile ones.
        resolve: what a `Handle` stands for here; by default handles are refused.

    Raises:
        CodecError: `data` is no value.
    """
    decoder = _Decoder(data, resolve)
    try:
        value = decoder.value(0)
    except CodecError:
        raise
    except (ValueError, OverflowError, ArithmeticError, TypeError, LookupError, RecursionError, struct.error) as error:
        raise CodecError(f"These bytes are no value: {type(error).__name__}.") from None
    if decoder.position != len(data):
        raise CodecError(f"There are {len(data) - decoder.position} bytes after the value.")
    return value


class _Encoder:
    def __init__(self, max_bytes: int, other: Other) -> None:
        self.parts: list[bytes] = []
        self.room = max_bytes
        self.other = other

    def add(self, value: Any, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise CodecError(f"A value is nested more than {MAX_DEPTH} deep.")
        if value is None or value is True or value is False:
            self.put({None: b"N", True: b"T", False: b"F"}[value])
        elif isinstance(value, int):
            number = int.__add__(value, 0)
            self.sized(b"i", number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True))
        elif isinstance(value, str):
            self.sized(b"s", str.__str__(value).encode("utf-8", "surrogatepass"))
        elif isinstance(value, float):
            self.put(b"f" + _FLOAT.pack(float.__add__(value, 0.0) if value else value))
        elif isinstance(value, complex):
            exact = complex.__pos__(value)
            self.put(b"c" + _COMPLEX.pack(exact.real, exact.imag))
        elif isinstance(value, (bytes, bytearray)):
            self.sized(b"b", bytes(value))
        elif isinstance(value, type) and value in _TYPES:
            self.sized(b"y", value.__name__.encode())
        else:
            self.add_container(value, depth)

    def add_container(self, value: Any, depth: int) -> None:
        deque = getattr(sys.modules.get("collections"), "deque", ())
        for kind, base in ((b"l", list), (b"t", tuple), (b"S", set), (b"Z", frozenset), (b"l", deque)):
            if base and isinstance(value, base):
                iterate: Any = base.__iter__
                items = list(iterate(value))
                self.put(kind + _U32.pack(len(items)))
                for item in items:
                    self.add(item, depth + 1)
                return
        if isinstance(value, dict):
            pairs = list(dict.items(value))
            self.put(b"d" + _U32.pack(len(pairs)))
            for key, item in pairs:
                self.add(key, depth + 1)
                self.add(item, depth + 1)
            return
        if not self.add_number_or_date(value):
            self.add_other(value, depth)

    def add_number_or_date(self, value: Any) -> bool:
        """These types can only occur where somebody imported their module: it is not imported here for their sake."""
        decimal, fractions, datetime = map(sys.modules.get, ("decimal", "fractions", "datetime"))
        if decimal and isinstance(value, decimal.Decimal):
            self.sized(b"e", decimal.Decimal.__str__(value).encode())
        elif fractions and isinstance(value, fractions.Fraction):
            self.put(b"r")
            self.add(value.numerator, 0)
            self.add(value.denominator, 0)
        elif datetime and isinstance(value, datetime.timedelta):
            self.put(b"g")
            for part in (value.days, value.seconds, value.microseconds):
                self.add(part, 0)
        else:
            for name, tag in _DATE_TYPES.items():
                if datetime and type(value) is getattr(datetime, name):
                    self.sized(tag.encode(), value.isoformat().encode())
                    return True
            return False
        return True

    def add_other(self, value: Any, depth: int) -> None:
        known = value if isinstance(value, (Opaque, Handle)) else self.other(value)
        if isinstance(known, Handle):
            self.put(b"H")
            self.add([known.index, known.type_name[:200], known.is_class], MAX_DEPTH - 1)
        elif isinstance(known, Opaque):
            self.sized(b"O", known.type_name[:200].encode("utf-8", "replace"))
        else:
            self.add(known, depth + 1)

    def sized(self, tag: bytes, data: bytes) -> None:
        self.put(tag + _U32.pack(len(data)))
        self.put(data)

    def put(self, data: bytes) -> None:
        self.room -= len(data)
        if self.room < 0:
            raise CodecError("A value is larger than may be sent.")
        self.parts.append(data)


class _Decoder:
    def __init__(self, data: bytes, resolve: Callable[[Handle], Any] | None) -> None:
        self.data, self.position, self.resolve = data, 0, resolve

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise CodecError(f"A value is nested more than {MAX_DEPTH} deep.")
        tag = self.take(1)
        if tag in _CONSTANTS:
            return _CONSTANTS[tag]
        if tag == b"f":
            return _FLOAT.unpack(self.take(8))[0]
        if tag == b"c":
            return complex(*_COMPLEX.unpack(self.take(16)))
        if tag in b"isbyeOMDA":
            return self.scalar(tag, self.take(self.count()))
        if tag in b"ltSZ":
            items = [self.value(depth + 1) for _ in range(self.count())]
            if tag in b"SZ":
                self.check_hashes(items)
            return {b"l": list, b"t": tuple, b"S": set, b"Z": frozenset}[tag](items)
        if tag == b"d":
            pairs = [(self.value(depth + 1), self.value(depth + 1)) for _ in range(self.count())]
            self.check_hashes([key for key, _ in pairs])
            return dict(pairs)
        return self.rare(tag)

    def scalar(self, tag: bytes, data: bytes) -> Any:
        if tag == b"i":
            return int.from_bytes(data, "big", signed=True)
        if tag == b"b":
            return data
        text = data.decode("utf-8", "surrogatepass")
        if tag == b"s":
            return text
        if tag == b"O":
            return Opaque(text)
        if tag == b"y":
            return {kind.__name__: kind for kind in _TYPES}[text]
        if tag == b"e":
            from decimal import Decimal

            return Decimal(text)
        import datetime

        kinds: dict[bytes, Any] = {b"D": datetime.date, b"M": datetime.time, b"A": datetime.datetime}
        return kinds[tag].fromisoformat(text)

    def rare(self, tag: bytes) -> Any:
        if tag == b"r":
            from fractions import Fraction

            return Fraction(self.integer(), self.integer())
        if tag == b"g":
            from datetime import timedelta

            return timedelta(self.integer(), self.integer(), self.integer())
        if tag == b"H" and self.resolve is not None:
            parts = self.value(MAX_DEPTH - 1)
            if type(parts) is list and list(map(type, parts)) == [int, str, bool]:
                return self.resolve(Handle(*parts))
        raise CodecError(f"{tag!r} begins no value.")

    def integer(self) -> int:
        value = self.value(MAX_DEPTH)
        if type(value) is not int:
            raise CodecError("A whole number was expected.")
        return value

    def count(self) -> int:
        (count,) = _U32.unpack(self.take(4))
        if count > len(self.data) - self.position:
            raise CodecError("A count goes past the end of the bytes.")
        return int(count)

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self.data):
            raise CodecError("The bytes end within a value.")
        data, self.position = self.data[self.position : end], end
        return data

    def check_hashes(self, keys: list[Any]) -> None:
        """Keys with one hash cost quadratic time in a table, and whole numbers with one hash are easily made."""
        counts: dict[int, int] = {}
        for key in keys:
            counts[hash(key)] = counts.get(hash(key), 0) + 1
        if counts and max(counts.values()) > MAX_EQUAL_HASHES:
            raise CodecError(f"More than {MAX_EQUAL_HASHES} keys have the same hash.")


_CONSTANTS = {b"N": None, b"T": True, b"F": False}
