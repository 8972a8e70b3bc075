"""Tool calls, read from the text of a turn."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import ConfigError
from .message import AssistantMessage, MalformedCall, ToolCall

Schemas = Sequence[Mapping[str, Any]]
ReadCall = Callable[[str, Schemas], tuple[str, Mapping[str, Any]]]
"""From the text of one call and the tools' schemas to a name and arguments; ValueError says what is wrong."""


def _read_tag_call(text: str, tools: Schemas) -> tuple[str, Mapping[str, Any]]:
    """`37*81` where there is one tool with one required argument, else `calculator 37*81`."""
    functions = {tool["function"]["name"]: tool["function"] for tool in tools}
    if len(functions) == 1:
        (name,), argument = functions, text
    else:
        name, _, argument = text.strip().partition(" ")
    if name not in functions:
        raise ValueError(f"there is no tool {name!r}; there are {', '.join(functions)}")
    required = functions[name]["parameters"].get("required", ())
    if len(required) != 1:
        raise ValueError(f"{name} takes {len(required)} arguments, so the call must be written in another form")
    return name, {required[0]: argument}


def _read_hermes_call(text: str, tools: Schemas) -> tuple[str, Mapping[str, Any]]:
    """`{"name": "calculator", "arguments": {"expression": "37*81"}}`."""
    try:
        call = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"a call must be one JSON object: {error}") from error
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        raise ValueError('a call must be a JSON object with "name" and "arguments"')
    arguments = call.get("arguments", {})
    if not isinstance(arguments, dict):
        raise ValueError('"arguments" must be a JSON object')
    names = [tool["function"]["name"] for tool in tools]
    if call["name"] not in names:
        raise ValueError(f"there is no tool {call['name']!r}; there are {', '.join(names)}")
    return call["name"], arguments


_FORMATS: Mapping[str, tuple[str, str, ReadCall]] = {
    "tag": ("<call>", "</call>", _read_tag_call),
    "hermes": ("<tool_call>", "</tool_call>", _read_hermes_call),
}


class ToolCallParser:
    """Reads a turn's text in one of the known forms.

    Args:
        form: "tag" (`<call>37*81</call>`, for tiny models) or "hermes" (`<tool_call>{"name": …}</tool_call>`).
        tools: schemas of the tools there are; with none, nothing is read as a call.
    """

    def __init__(self, form: str, tools: Schemas) -> None:
        if form not in _FORMATS:
            raise ConfigError(f"tool_format is {form!r}, but known are {', '.join(map(repr, _FORMATS))}.")
        self._opening, self._closing, self._read_call = _FORMATS[form]
        self._pattern = re.compile(f"{self._opening}(.*?)({self._closing}|$)", re.DOTALL)
        self._tools = tools

    def parse(self, text: str, token_ids: Sequence[int]) -> AssistantMessage:
        """The turn with its calls, in order; what cannot be read is kept with the reason."""
        calls: list[ToolCall] = []
        malformed: list[MalformedCall] = []
        for match in self._pattern.finditer(text) if self._tools else ():
            try:
                if not match[2]:
                    raise ValueError(f"a call must end with {self._closing}")
                name, arguments = self._read_call(match[1], self._tools)
                calls.append(ToolCall(name, arguments, id=f"call_{len(calls)}"))
            except ValueError as error:
                malformed.append(MalformedCall(match[0], str(error)))
        return AssistantMessage(
            content=text,
            tool_calls=tuple(calls),
            malformed_calls=tuple(malformed),
            token_ids=tuple(token_ids),
        )
