"""Forms in which a call is a JSON object, or a list of them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from ..message import ToolCall
from .form import BlockForm, Call, Form, Parts
from .json_values import end_of_json, json_text, json_value, json_values


class HermesForm(BlockForm):
    """`<tool_call>{"name": "calculator", "arguments": {"expression": "37*81"}}</tool_call>`."""

    opening, closing = "<tool_call>", "</tool_call>"

    def end_of(self, text: str, start: int) -> int:
        # A closing marker inside a JSON string ends nothing.
        return text.find(self.closing, max(start, end_of_json(text, start)))

    def calls_in(self, block: str, parts: Parts) -> Iterator[Call]:
        yield _named(json_value(parts.plain(block)))

    def write(self, calls: Sequence[ToolCall]) -> str:
        texts = (json_text(_object(call), without=self.markers) for call in calls)
        return "\n".join(f"{self.opening}\n{text}\n{self.closing}" for text in texts)


class MistralForm(Form):
    """`[TOOL_CALLS]calculator[ARGS]{"expression": "37*81"}`; a call's id may stand before its arguments."""

    markers = ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]")

    def read(self, text: str, parts: Parts) -> None:
        said, *blocks = text.split(self.markers[0]) if self.functions else [text]
        parts.say(said)
        for block in blocks:
            parts.call(self.markers[0] + block, self._calls_in(block, parts))

    def _calls_in(self, block: str, parts: Parts) -> Iterator[Call]:
        head, marker, arguments = block.partition("[ARGS]")
        if not marker:
            raise ValueError("a call must have [ARGS] between the name of the tool and its arguments")
        yield parts.plain(head.partition("[CALL_ID]")[0]).strip(), _arguments(json_value(parts.plain(arguments)))

    def write(self, calls: Sequence[ToolCall]) -> str:
        texts = ((call.name, json_text(dict(call.arguments), without=self.markers)) for call in calls)
        return "".join(f"[TOOL_CALLS]{name}[ARGS]{text}" for name, text in texts)


class _ListForm(Form):
    """A marker and, up to the end of the turn, a JSON list of calls, of which the marker may be the beginning."""

    marker: ClassVar[str]

    def __init_subclass__(cls) -> None:
        cls.markers = (cls.marker,)

    def read(self, text: str, parts: Parts) -> None:
        said, marker, block = text.partition(self.marker) if self.functions else (text, "", "")
        parts.say(said)
        if marker:
            parts.call(marker + block, self._calls_in(block, parts))

    def _calls_in(self, block: str, parts: Parts) -> Iterator[Call]:
        calls = json_value("[" * self.marker.endswith("[") + parts.plain(block))
        if not isinstance(calls, list):
            raise ValueError("calls must be a JSON list of objects")
        for call in calls:
            yield _named(call)

    def write(self, calls: Sequence[ToolCall]) -> str:
        return self.marker.removesuffix("[") + json_text([_object(call) for call in calls], without=self.markers)


class MistralListForm(_ListForm):
    """`[TOOL_CALLS][{"name": "calculator", "arguments": {"expression": "37*81"}}]`."""

    marker = "[TOOL_CALLS]"


class PhiForm(_ListForm):
    """`functools[{"name": "calculator", "arguments": {"expression": "37*81"}}]`."""

    marker = "functools["


class LlamaJsonForm(Form):
    """`{"name": "calculator", "parameters": {"expression": "37*81"}}` as the whole turn; several with `;` between."""

    markers = ("<|python_tag|>",)

    _BEGINNING = re.compile(r'\{\s*"(?:name|type|function)"\s*:')

    def read(self, text: str, parts: Parts) -> None:
        stripped = text.strip()
        body = stripped.removeprefix(self.markers[0])
        is_call = body != stripped or self._BEGINNING.match(body) is not None
        if self.functions and is_call:
            parts.call(stripped, self._calls_in(parts.plain(body)))
        else:
            parts.say(text)

    def _calls_in(self, text: str) -> Iterator[Call]:
        for call in json_values(text, separator=";"):
            yield _named(call, "parameters", "arguments")

    def write(self, calls: Sequence[ToolCall]) -> str:
        return "; ".join(json_text(_object(call, "parameters")) for call in calls)


def _mark(name: str) -> str:
    """A control token of DeepSeek's: full-width bars, and low bars for spaces."""
    return "<\uff5c" + name.replace(" ", "\u2581") + "\uff5c>"


class DeepSeekForm(BlockForm):
    """DeepSeek V3 and R1: calls between marks of their own, with the arguments in a block of code."""

    opening, closing = _mark("tool calls begin"), _mark("tool calls end")
    markers = (_mark("tool call begin"), _mark("tool sep"), _mark("tool call end"))

    _behind_separator: ClassVar[str] = "name"
    _ARGUMENTS = re.compile(r"([^\n]*)\n```json\n(.*)\n```", re.DOTALL)

    def end_of(self, text: str, start: int) -> int:
        end = super().end_of(text, start)
        # Its first templates leave the last mark out.
        return len(text) if end < 0 and text.rstrip().endswith(self.markers[2]) else end

    def calls_in(self, block: str, parts: Parts) -> Iterator[Call]:
        begin, separator, end = self.markers[:3]
        nothing, *calls = block.split(begin)
        if nothing.strip() or not calls:
            raise ValueError(f"each call must begin with {begin}")
        for call in calls:
            body, marker, rest = call.partition(end)
            if not marker or rest.strip():
                raise ValueError(f"each call must end with {end}, and nothing may follow it")
            left, marker, right = body.partition(separator)
            if not marker:
                raise ValueError(f"a call must have {separator} before its {self._behind_separator}")
            yield self._call(parts.plain(left), parts.plain(right))

    def _call(self, left: str, right: str) -> Call:
        match = self._ARGUMENTS.fullmatch(right.strip())
        if left.strip() != "function" or match is None:
            raise ValueError(
                "a call must be 'function', its mark, the tool's name, and arguments between ```json and ```"
            )
        return match[1].strip(), _arguments(json_value(match[2]))

    def write(self, calls: Sequence[ToolCall]) -> str:
        begin, _, end = self.markers[:3]
        texts = (self._write(call.name, json_text(dict(call.arguments), without=self.markers)) for call in calls)
        return self.opening + "\n".join(f"{begin}{text}{end}" for text in texts) + self.closing

    def _write(self, name: str, arguments: str) -> str:
        return f"function{self.markers[1]}{name}\n```json\n{arguments}\n```"


class DeepSeekV31Form(DeepSeekForm):
    """DeepSeek V3.1: name and arguments with a mark between them."""

    _behind_separator = "arguments"

    def _call(self, left: str, right: str) -> Call:
        return left.strip(), _arguments(json_value(right))

    def _write(self, name: str, arguments: str) -> str:
        return f"{name}{self.markers[1]}{arguments}"


def _named(call: Any, *keys: str) -> Call:
    """Name and arguments of a call that is a JSON object."""
    keys = keys or ("arguments",)
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        raise ValueError(f'a call must be a JSON object with "name" and "{keys[0]}"')
    key = next((key for key in keys if key in call), keys[0])
    return call["name"], _arguments(call.get(key, {}), key)


def _arguments(value: Any, key: str = "arguments") -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f'"{key}" must be a JSON object')
    return value


def _object(call: ToolCall, key: str = "arguments") -> dict[str, Any]:
    return {"name": call.name, key: dict(call.arguments)}
