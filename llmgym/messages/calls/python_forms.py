"""Forms in which calls are written as in Python."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from ..message import ToolCall
from .form import BlockForm, Call, Form, Parts
from .json_values import json_text
from .literals import Literals


class LlamaPythonForm(Form):
    """`[calculator(expression="37*81"), submit()]` as the whole turn."""

    markers = ("<|python_start|>", "<|python_end|>")

    _BEGINNING: ClassVar[re.Pattern[str]] = re.compile(r"\[\s*[^\s()\[\]{},='\"]+\s*\(")

    def read(self, text: str, parts: Parts) -> None:
        opening, closing = self.markers
        body = text.strip().removeprefix(opening).removesuffix(closing).strip()
        if self.functions and self._BEGINNING.match(body):
            parts.call(text.strip(), _calls(parts.plain(body)))
        else:
            parts.say(text)

    def write(self, calls: Sequence[ToolCall]) -> str:
        return _list_text(calls, self.markers)


class LfmForm(BlockForm):
    """`<|tool_call_start|>[calculator(expression="37*81")]<|tool_call_end|>`."""

    opening, closing = "<|tool_call_start|>", "<|tool_call_end|>"

    def calls_in(self, block: str, parts: Parts) -> Iterator[Call]:
        return _calls(parts.plain(block))

    def write(self, calls: Sequence[ToolCall]) -> str:
        return f"{self.opening}{_list_text(calls, self.markers)}{self.closing}"


class ToolCodeForm(BlockForm):
    """A block of code that is marked as `tool_code`, with a call in each line; what Gemma 3's makers ask it for."""

    opening, closing = "```tool_code\n", "```"

    def calls_in(self, block: str, parts: Parts) -> Iterator[Call]:
        literals = Literals(parts.plain(block))
        if literals.sees("["):
            yield from literals.calls()
        while literals.has_more():
            yield literals.call()

    def write(self, calls: Sequence[ToolCall]) -> str:
        lines = "\n".join(_text(call, ("```",)) for call in calls)
        return f"{self.opening}{lines}\n{self.closing}"


def _calls(text: str) -> Iterator[Call]:
    literals = Literals(text)
    yield from literals.calls()
    literals.require_end()


def _list_text(calls: Sequence[ToolCall], markers: Sequence[str]) -> str:
    return f"[{', '.join(_text(call, markers) for call in calls)}]"


def _text(call: ToolCall, markers: Sequence[str]) -> str:
    arguments = (f"{name}={_literal(value, markers)}" for name, value in call.arguments.items())
    return f"{call.name}({', '.join(arguments)})"


def _literal(value: Any, markers: Sequence[str]) -> str:
    """`value` as Python writes it; strings as JSON does, which Python reads alike."""
    if isinstance(value, dict):
        pairs = (f"{json_text(key, without=markers)}: {_literal(each, markers)}" for key, each in value.items())
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, list):
        return f"[{', '.join(_literal(each, markers) for each in value)}]"
    if value is None or isinstance(value, bool):
        return str(value)
    return json_text(value, without=markers)
