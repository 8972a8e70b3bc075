"""A Python function as a tool: its schema comes from its signature and its docstring."""

import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, NotRequired, Required, Union

from ..errors import ConfigError
from .tool import Tool

_JSON_TYPES: Mapping[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}


class FunctionTool(Tool):
    """A function that the policy may call; it is also a decorator.

    Without `parameters`, they are read off the signature: `str`, `int`, `float`, `bool`, `None`, `list[...]`,
    `dict[str, ...]`, `Literal[...]`, unions, `Any` and `TypedDict`; an argument with a default is optional. What an
    argument means is in the docstring's section `Args:`.

    Methods of an object make tools that share its state; where that is the environment, its `fork` copies it all.

    Args:
        function: may be `async def`; what it raises and returns is as in `Tool.run`.
        name: by default the function's.
        description: by default the docstring up to its first section.
        parameters: JSON schema of the arguments.
        timeout_s: as in `Tool`.
        is_concurrent: as in `Tool`.
        max_output_chars: as in `Tool`.

    Raises:
        ConfigError: there is no description, or an argument has no type that JSON knows.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        timeout_s: float | None = None,
        is_concurrent: bool = False,
        max_output_chars: int = Tool.max_output_chars,
    ) -> None:
        summary, meanings = _read_docstring(inspect.getdoc(function) or "")
        self.name, self.description = name or function.__name__, description or summary
        if not self.description:
            raise ConfigError(f"The tool {self.name!r} has no description. Give its function a docstring.")
        self.parameters = parameters if parameters is not None else _parameters_of(function, self.name, meanings)
        self.timeout_s, self.is_concurrent, self.max_output_chars = timeout_s, is_concurrent, max_output_chars
        self._function = function

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self._function)

    def run(self, **arguments: Any) -> Any:
        return self._function(**arguments)


def _parameters_of(function: Callable[..., Any], tool: str, meanings: Mapping[str, str]) -> dict[str, Any]:
    types = typing.get_type_hints(function, include_extras=True)
    properties: dict[str, Any] = {}
    required = []
    for name, parameter in inspect.signature(function).parameters.items():
        what = f"The argument {name!r} of the tool {tool!r}"
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ConfigError(f"{what} is {parameter}, but a policy gives each argument by its name. Name them all.")
        if name not in types:
            raise ConfigError(f"{what} has no type. Annotate it, as in `{name}: str`.")
        properties[name] = _schema_of(types[name], what)
        if name in meanings:
            properties[name]["description"] = meanings[name]
        if parameter.default is parameter.empty:
            required.append(name)
        elif isinstance(parameter.default, (str, int, float, list, dict)):
            properties[name]["default"] = parameter.default
    return {"type": "object", "properties": properties, "required": required}


def _schema_of(kind: Any, what: str) -> dict[str, Any]:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return {}
    if kind in _JSON_TYPES:
        return {"type": _JSON_TYPES[kind]}
    if origin in (Required, NotRequired):
        return _schema_of(inner[0], what)
    if origin is Literal:
        return _schema_of_choices(inner, what)
    if origin in (Union, UnionType):
        return {"anyOf": [_schema_of(each, what) for each in inner]}
    if kind is list or (origin in (list, Sequence) and inner):
        return {"type": "array", **({"items": _schema_of(inner[0], what)} if inner else {})}
    if kind is dict or (origin in (dict, Mapping) and inner and inner[0] is str):
        return {"type": "object", **({"additionalProperties": _schema_of(inner[1], what)} if inner else {})}
    if typing.is_typeddict(kind):
        fields = typing.get_type_hints(kind, include_extras=True)
        return {
            "type": "object",
            "properties": {name: _schema_of(each, f"{what}, field {name!r},") for name, each in fields.items()},
            "required": [name for name in fields if name in kind.__required_keys__],
            "additionalProperties": False,
        }
    raise ConfigError(f"{what} is of type {kind}, which JSON does not know. Use what `FunctionTool` lists.")


def _schema_of_choices(choices: tuple[Any, ...], what: str) -> dict[str, Any]:
    kinds = {type(choice) for choice in choices}
    if not kinds <= _JSON_TYPES.keys():
        raise ConfigError(f"{what} may be one of {choices}, but JSON knows only text, numbers, truth values and None.")
    names = sorted(_JSON_TYPES[kind] for kind in kinds)
    return {"type": names[0] if len(names) == 1 else names, "enum": list(choices)}


def _read_docstring(docstring: str) -> tuple[str, dict[str, str]]:
    """What stands before the first section, and what the section `Args:` says of each argument."""
    summary, *sections = re.split(r"^(\w+):[ \t]*$\n?", docstring, flags=re.MULTILINE)
    named = dict(zip(sections[::2], sections[1::2], strict=True))
    meanings: dict[str, str] = {}
    lines = inspect.cleandoc(f"\n{named.get('Args', '')}").splitlines()
    name = ""
    for line in lines:
        match = re.match(r"\*{0,2}(\w+)(?: *\([^)]*\))?: *(.*)", line)
        if match:
            name, meanings[match[1]] = match[1], match[2]
        elif name and line.strip():
            meanings[name] = f"{meanings[name]} {line.strip()}".strip()
    return " ".join(summary.split()), meanings
