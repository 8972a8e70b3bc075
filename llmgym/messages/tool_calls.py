"""Tool calls, read from the text of a turn and written into one."""

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ..errors import ConfigError
from .message import AssistantMessage, MalformedCall, ToolCall

Schemas = Sequence[Mapping[str, Any]]

_MAX_DEPTH = 64
"""Of nested arguments. What is kept of a call is copied, compared and stored by code that recurses."""


class _Form(ABC):
    """How the text of a call stands for a tool's name and arguments."""

    opening: ClassVar[str]
    closing: ClassVar[str]

    def __init__(self, tools: Schemas) -> None:
        self.functions = {tool["function"]["name"]: tool["function"] for tool in tools}

    @abstractmethod
    def read(self, text: str) -> tuple[str, Mapping[str, Any]]:
        """Name and arguments; ValueError says what is wrong, in words that the policy can act on."""

    @abstractmethod
    def write(self, call: ToolCall) -> str:
        """The text that `read` reads."""

    def require_known(self, name: str) -> None:
        if name not in self.functions:
            raise ValueError(f"there is no tool {name!r:.60}; there are {', '.join(self.functions)}")


class _TagForm(_Form):
    """`37*81` where there is one tool, else `calculator 37*81`."""

    opening, closing = "<call>", "</call>"

    def __init__(self, tools: Schemas) -> None:
        super().__init__(tools)
        for name, function in self.functions.items():
            required = function["parameters"].get("required", ())
            if len(required) != 1:
                raise ConfigError(
                    f"The tool {name!r} needs {len(required)} arguments, but calls of the form 'tag' have room for "
                    'one. Use tool_format="hermes".'
                )

    def read(self, text: str) -> tuple[str, Mapping[str, Any]]:
        if len(self.functions) == 1:
            (name,), argument = self.functions, text
        else:
            name, _, argument = text.strip().partition(" ")
        self.require_known(name)
        argument_name, is_text = self._argument_of(name)
        return name, {argument_name: argument if is_text else _json_value(argument)}

    def write(self, call: ToolCall) -> str:
        argument_name, is_text = self._argument_of(call.name)
        value = call.arguments.get(argument_name)
        text = str(value) if is_text else json.dumps(value)
        return text if len(self.functions) == 1 else f"{call.name} {text}"

    def _argument_of(self, name: str) -> tuple[str, bool]:
        parameters = self.functions[name]["parameters"]
        (argument_name,) = parameters["required"]
        return argument_name, parameters["properties"].get(argument_name, {}).get("type", "string") == "string"


class _HermesForm(_Form):
    """`{"name": "calculator", "arguments": {"expression": "37*81"}}`."""

    opening, closing = "<tool_call>", "</tool_call>"

    def read(self, text: str) -> tuple[str, Mapping[str, Any]]:
        call = _json_value(text)
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            raise ValueError('a call must be a JSON object with "name" and "arguments"')
        arguments = call.get("arguments", {})
        if not isinstance(arguments, dict):
            raise ValueError('"arguments" must be a JSON object')
        self.require_known(call["name"])
        return call["name"], arguments

    def write(self, call: ToolCall) -> str:
        text = json.dumps({"name": call.name, "arguments": dict(call.arguments)}, ensure_ascii=False)
        return text.replace("</", "<\\/")  # so that no argument ends the call


_FORMS: Mapping[str, type[_Form]] = {"tag": _TagForm, "hermes": _HermesForm}


class ToolCallParser:
    """Reads and writes the tool calls of a turn in one of the known forms.

    Args:
        form: "tag" (`<call>37*81</call>`, for tiny models) or "hermes" (`<tool_call>{"name": …}</tool_call>`).
        tools: schemas of the tools there are; with none, nothing is read as a call.

    Raises:
        ConfigError: there is no such form, or a tool's calls cannot be written in it.
    """

    def __init__(self, form: str, tools: Schemas) -> None:
        if form not in _FORMS:
            raise ConfigError(f"tool_format is {form!r}, but known are {', '.join(map(repr, _FORMS))}.")
        self._name, self._form = form, _FORMS[form](tools)
        self._pattern = re.compile(rf"{self._form.opening}(.*?)({self._form.closing}|\Z)", re.DOTALL)

    def parse(self, text: str, token_ids: Sequence[int], *, turn_index: int = 0) -> AssistantMessage:
        """The turn with its calls, in order; what cannot be read is kept with the reason.

        Args:
            text: of the turn.
            token_ids: of the turn, kept with it.
            turn_index: number of the turn in its episode, which makes the ids of its calls the episode's only ones.
        """
        calls: list[ToolCall] = []
        malformed: list[MalformedCall] = []
        for match in self._pattern.finditer(text) if self._form.functions else ():
            try:
                if not match[2]:
                    raise ValueError(f"a call must end with {self._form.closing}")
                name, arguments = self._form.read(match[1])
                calls.append(ToolCall(name, arguments, id=f"call_{turn_index}_{len(calls)}"))
            except ValueError as error:
                malformed.append(MalformedCall(match[0], str(error)))
        return AssistantMessage(
            content=text,
            text=text,
            tool_calls=tuple(calls),
            malformed_calls=tuple(malformed),
            token_ids=tuple(token_ids),
        )

    def write(self, call: ToolCall) -> str:
        """The text of a turn that makes this call and nothing else.

        Raises:
            ConfigError: there is no such tool, or the form has no text for the call.
        """
        if call.name in self._form.functions:
            text = f"{self._form.opening}{self._form.write(call)}{self._form.closing}"
            read = [(found.name, dict(found.arguments)) for found in self.parse(text, ()).tool_calls]
            if read == [(call.name, dict(call.arguments))]:
                return text
        raise ConfigError(
            f"The call {call.name}({dict(call.arguments)!r:.200}) has no text in the form {self._name!r} that would be "
            f"read as this call. There are the tools {', '.join(self._form.functions) or 'none'}."
        )


def _json_value(text: str) -> Any:
    """The value of a JSON text; ValueError says what is wrong, in words that the policy can act on."""
    try:
        value = json.loads(text, parse_float=_finite, parse_int=_short, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise ValueError(f"a call must hold one JSON value: {error}") from error
    except RecursionError:
        raise ValueError(f"a call must not be nested more than {_MAX_DEPTH} deep") from None
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [inner for each in level for inner in _inside(each)]
    if level:
        raise ValueError(f"a call must not be nested more than {_MAX_DEPTH} deep")
    return value


def _inside(value: Any) -> Sequence[Any]:
    """The elements of a JSON value; ValueError where a text in it is none that could be encoded."""
    if isinstance(value, dict):
        return [*value, *value.values()]
    if isinstance(value, str) and re.search("[\ud800-\udfff]", value):
        raise ValueError(r"half of a surrogate pair, such as \ud800, is no character")
    return value if isinstance(value, list) else ()


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"the number {text:.40} is too large")
    return value


def _short(text: str) -> int:
    if len(text) > 1000:  # Python itself would refuse a few thousand digits
        raise ValueError(f"the number {text[:40]}... has {len(text)} digits, at most 1000 are allowed")
    return int(text)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")
