"""A form for tiny models: a tag around one argument."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...errors import ConfigError
from ..message import ToolCall
from .form import BlockForm, Call, Parts, Schemas
from .json_values import json_text, json_value


class TagForm(BlockForm):
    """`<call>37*81</call>` where there is one tool, else `<call>calculator 37*81</call>`."""

    opening, closing = "<call>", "</call>"

    def __init__(self, tools: Schemas) -> None:
        super().__init__(tools)
        for name, function in self.functions.items():
            if len(required := _required(function)) != 1:
                raise ConfigError(
                    f"The tool {name!r} needs {len(required)} arguments, but calls of the form 'tag' have room for "
                    'one. Use tool_format="hermes".'
                )

    @staticmethod
    def fits(tools: Schemas) -> bool:
        """True where each tool needs one argument."""
        return all(len(_required(tool["function"])) == 1 for tool in tools)

    def calls_in(self, block: str, parts: Parts) -> Iterator[Call]:
        text = parts.plain(block)
        if len(self.functions) == 1:
            (name,), argument = self.functions, text
        else:
            name, _, argument = text.strip().partition(" ")
        if name not in self.functions:
            yield name, {}
            return
        argument_name, is_text = self._argument_of(name)
        yield name, {argument_name: argument if is_text else json_value(argument)}

    def write(self, calls: Sequence[ToolCall]) -> str:
        return "".join(f"{self.opening}{self._write(call)}{self.closing}" for call in calls)

    def _write(self, call: ToolCall) -> str:
        argument_name, is_text = self._argument_of(call.name)
        value = call.arguments.get(argument_name)
        text = str(value) if is_text else json_text(value, without=self.markers)
        return text if len(self.functions) == 1 else f"{call.name} {text}"

    def _argument_of(self, name: str) -> tuple[str, bool]:
        (argument_name,) = _required(self.functions[name])
        return argument_name, self.schema_of(name, argument_name).get("type", "string") == "string"


def _required(function: Mapping[str, Any]) -> Sequence[str]:
    required: Sequence[str] = function["parameters"].get("required", ())
    return required
