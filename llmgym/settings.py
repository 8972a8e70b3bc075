"""Frozen dataclasses of settings, made from plain mappings such as a TOML table or keyword arguments."""

import dataclasses
import inspect
import numbers
import tomllib
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import partial
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from .errors import ConfigError
from .registry import closest

T = TypeVar("T")

_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    type(None): "none",
}


def from_mapping(cls: type[T], values: Mapping[str, Any], *, where: str = "") -> T:
    """An instance of the dataclass `cls` with the fields that `values` names; the others keep their defaults.

    Fields may be bool, int, float (whole numbers are taken), str, `Literal`, an `Enum` (by its value), a tuple
    (lists are taken), another dataclass (from a mapping), a mapping, a union of these, or Any.

    Args:
        cls: the dataclass.
        values: settings by name.
        where: dotted name of the table that `values` is, for messages, e.g. "agent".

    Raises:
        ConfigError: a name is unknown (the message names the nearest), a required one is missing, a value has
            another type, or the dataclass itself refuses a value.
    """
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for name in values:
        if name not in fields:
            raise ConfigError(f"{_dotted(where, str(name))} is not a setting. {closest(str(name), fields)}")
    for name, field in fields.items():
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if not has_default and name not in values:
            raise ConfigError(f"{_dotted(where, name)} is missing, and {cls.__name__} has no default for it. Set it.")
    hints = get_type_hints(cls)
    return cls(**{name: _convert(value, hints[name], _dotted(where, name)) for name, value in values.items()})


def override_setting(values: dict[str, Any], override: str) -> None:
    """Set in nested tables what "dotted.name=value" says, the value as TOML writes it; a bare word is a text.

    Raises:
        ConfigError: it has another form, or goes into something that is no table.
    """
    name, equals, text = override.partition("=")
    if not equals or not name:
        raise ConfigError(
            f'{override!r} is not an override. Write "dotted.name=value", with the value as TOML writes it.'
        )
    *tables, last = name.strip().split(".")
    place = values
    for table in tables:
        place = place.setdefault(table, {})
        if not isinstance(place, dict):
            raise ConfigError(f"{override!r} goes into {table!r}, which is a value and not a table.")
    place[last] = _toml_value(text.strip())


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def one_config(cls: type[T], config: T | None, values: Mapping[str, Any], *, where: str = "") -> T:
    """`config` itself, or one made from `values`: for constructors that take either.

    Raises:
        ConfigError: both were given, `config` is of another class, or `values` do not fit.
    """
    if config is None:
        return from_mapping(cls, values, where=where)
    if values:
        raise ConfigError(f"Both a {cls.__name__} and the settings {', '.join(values)} were given. Pass one of them.")
    if not isinstance(config, cls):
        raise ConfigError(f"A {type(config).__name__} was given, but {cls.__name__} was expected.")
    return config


def checked_call(make: Callable[..., T], values: Mapping[str, Any], *, where: str = "") -> T:
    """`make(**values)`, for classes that are not made from one config.

    Raises:
        ConfigError: as `require_keywords`.
    """
    require_keywords(make, values, where=where)
    return make(**values)


def require_keywords(make: Callable[..., Any], values: Mapping[str, Any], *, where: str = "") -> None:
    """Refuse keywords that `make` cannot be called with.

    Raises:
        ConfigError: `make` does not take one of the names, needs another one, or `require_types` refuses a value.
    """
    try:
        parameters = inspect.signature(make).parameters
    except ValueError:  # some builtins have no signature
        return
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    named = {name: p for name, p in parameters.items() if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    for name in values:
        if name not in named and not takes_any:
            raise ConfigError(f"{_dotted(where, name)} is not a setting. {closest(name, named)}")
    for name, parameter in named.items():
        if parameter.default is parameter.empty and name not in values:
            raise ConfigError(f"{_dotted(where, name)} is missing, and has no default. Set it.")
    require_types(make, values, where=where)


def require_types(make: Any, values: Mapping[str, Any], *, where: str = "") -> None:
    """Refuse keywords whose types contradict the signature of `make`.

    Checked are bool, int, float, str, None, `Literal`, mappings, sequences and unions of these; what is annotated
    otherwise, or not at all, is left to `make`.

    Raises:
        ConfigError: a value has another type.
    """
    make = make.func if isinstance(make, partial) else make  # which has the annotations
    try:
        hints = get_type_hints(make.__init__ if isinstance(make, type) else make)  # type: ignore[misc]
    except (NameError, TypeError):  # annotations that exist for type checkers alone
        return
    for name, value in values.items():
        if name in hints and not _may_be(value, hints[name]):
            raise _mismatch(value, hints[name], _dotted(where, name))


_KINDS: Mapping[Any, type] = {int: numbers.Integral, float: numbers.Real, bool: bool, str: str, type(None): type(None)}
"""NumPy's numbers are numbers too."""


def _may_be(value: Any, hint: Any) -> bool:
    """False where `value` is surely of another type than `hint`."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(_may_be(value, member) for member in get_args(hint))
    if origin is Literal:
        return value in get_args(hint)
    if origin in (Mapping, Sequence, Iterable, dict, list, tuple):
        return isinstance(value, origin)
    if hint not in _KINDS:
        return True
    return isinstance(value, _KINDS[hint]) and not (isinstance(value, bool) and hint in (int, float))


def _convert(value: Any, hint: Any, name: str) -> Any:
    """`value` as the type `hint`, or a ConfigError that says what was expected."""
    origin = get_origin(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, hint, name)
    if origin is Literal:
        if value not in get_args(hint):
            raise _mismatch(value, hint, name)
        return value
    if hint is tuple or origin is tuple:
        return _convert_tuple(value, hint, name)
    if origin is not None:
        return _instance(value, origin, hint, name)
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(value)
        except ValueError:
            raise _mismatch(value, hint, name) from None
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return from_mapping(typing.cast(type[Any], hint), value, where=name)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return _instance(value, hint, hint, name)


def _instance(value: Any, kind: Any, hint: Any, name: str) -> Any:
    # A bool is an int to Python, but `steps = true` is a mistake.
    if not isinstance(value, kind) or (isinstance(value, bool) and kind in (int, float)):
        raise _mismatch(value, hint, name)
    return value


def _convert_union(value: Any, hint: Any, name: str) -> Any:
    members = get_args(hint)
    tables = [member for member in members if dataclasses.is_dataclass(member)]
    if isinstance(value, Mapping) and len(tables) == 1:
        return _convert(value, tables[0], name)  # whose own message is the better one
    exact = [member for member in members if type(value) is member]
    for member in (*exact, *members):
        try:
            return _convert(value, member, name)
        except ConfigError:
            continue
    raise _mismatch(value, hint, name)


def _convert_tuple(value: Any, hint: Any, name: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise _mismatch(value, hint, name)
    members = get_args(hint)
    if not members:
        return tuple(value)
    if members[-1] is Ellipsis:
        members = (members[0],) * len(value)
    if len(members) != len(value):
        raise ConfigError(f"{name} has {len(value)} entries, but it must have {len(members)}.")
    return tuple(
        _convert(entry, member, f"{name}[{index}]")
        for index, (entry, member) in enumerate(zip(value, members, strict=True))
    )


def _mismatch(value: Any, hint: Any, name: str) -> ConfigError:
    return ConfigError(f"{name} is {value!r} ({type(value).__name__}), but it must be {_in_words(hint)}.")


def _in_words(hint: Any) -> str:
    origin = get_origin(hint)
    if hint in _WORDS:
        return _WORDS[hint]
    if origin in (Union, types.UnionType):
        return " or ".join(_in_words(member) for member in get_args(hint))
    if origin is Literal:
        return "one of " + ", ".join(repr(choice) for choice in get_args(hint))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "one of " + ", ".join(repr(member.value) for member in hint)
    if hint is tuple or origin in (tuple, list, Sequence, Iterable):
        members = [member for member in get_args(hint) if member is not Ellipsis]
        return "a list" + (f" of {_in_words(members[0])} each" if members else "")
    if dataclasses.is_dataclass(hint) or origin is Mapping:
        return "a table of settings"
    return str(getattr(hint, "__name__", hint))


def _dotted(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
