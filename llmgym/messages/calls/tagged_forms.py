"""Forms in which each argument stands between tags, as text whose type the tool's schema knows."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from ..message import ToolCall
from .form import BlockForm, Call, Parts
from .json_values import json_text, json_value, without_repeats

_PYTHON_WORDS: Mapping[str, Any] = {"True": True, "False": False, "None": None}


class _TaggedForm(BlockForm):
    opening, closing = "<tool_call>", "</tool_call>"

    def read_value(self, name: str, argument: str, text: str) -> Any:
        """The value that `text` stands for: itself where the argument is a text, else what it is as JSON."""
        schema = self.schema_of(name, argument)
        if _is_string(schema):
            return text
        if text in _PYTHON_WORDS:
            return _PYTHON_WORDS[text]
        try:
            return json_value(text)
        except ValueError as error:
            if _may_be_string(schema):
                return text
            raise ValueError(f"argument {argument!r:.60} of {name}: {error}") from error

    def write_value(self, name: str, argument: str, value: Any) -> str:
        """The text that `read_value` reads as `value`."""
        if not isinstance(value, str):
            return json_text(value)
        try:
            is_plain = self.read_value(name, argument, value) == value
        except ValueError:
            is_plain = False
        return value if is_plain else json_text(value)


class QwenXmlForm(_TaggedForm):
    """`<tool_call><function=calculator><parameter=expression>37*81</parameter></function></tool_call>`.

    Qwen3-Coder, Qwen 3.5 and Nemotron 3 write each tag and each value on lines of their own.
    """

    # A value may hold what looks like its closing tag, where no other tag follows.
    _END_OF_VALUE: ClassVar[re.Pattern[str]] = re.compile(r"</parameter>\s*(?=<parameter=|\Z)")

    def calls_in(self, block: str, parts: Parts) -> Iterator[Call]:
        text = parts.plain(block).strip()
        if not text.startswith("<function=") or not text.endswith("</function>"):
            raise ValueError("a call must stand between <function=…> and </function>")
        name, closing, body = text.removeprefix("<function=").removesuffix("</function>").partition(">")
        if not closing:
            raise ValueError("the name of a tool must be followed by >")
        name = name.strip()
        yield name, without_repeats(self._arguments(name, body.lstrip()))

    def _arguments(self, name: str, body: str) -> Iterator[tuple[str, Any]]:
        position = 0
        while position < len(body):
            end_of_name = body.find(">", position)
            end = self._END_OF_VALUE.search(body, max(end_of_name, position))
            if not body.startswith("<parameter=", position) or end_of_name < 0 or end is None:
                raise ValueError("each argument must stand between <parameter=…> and </parameter>")
            argument = body[position + len("<parameter=") : end_of_name].strip()
            value = body[end_of_name + 1 : end.start()].removeprefix("\n").removesuffix("\n")
            yield argument, self.read_value(name, argument, value)
            position = end.end()

    def write(self, calls: Sequence[ToolCall]) -> str:
        return "\n".join(f"{self.opening}\n{self._write(call)}\n{self.closing}" for call in calls)

    def _write(self, call: ToolCall) -> str:
        lines = [f"<function={call.name}>"]
        for argument, value in call.arguments.items():
            is_word = value is None or isinstance(value, bool)  # which its templates write as Python does
            text = str(value) if is_word else self.write_value(call.name, argument, value)
            lines += [f"<parameter={argument}>", text, "</parameter>"]
        return "\n".join([*lines, "</function>"])


class GlmForm(_TaggedForm):
    """`<tool_call>calculator<arg_key>expression</arg_key><arg_value>37*81</arg_value></tool_call>`."""

    markers = ("<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>")

    _END_OF_VALUE: ClassVar[re.Pattern[str]] = re.compile(r"</arg_value>\s*(?=<arg_key>|\Z)")
    _VALUE: ClassVar[re.Pattern[str]] = re.compile(r"\s*<arg_value>")

    def calls_in(self, block: str, parts: Parts) -> Iterator[Call]:
        head, marker, body = block.partition("<arg_key>")
        name = parts.plain(head).strip()
        yield name, without_repeats(self._arguments(name, marker + body, parts))

    def _arguments(self, name: str, body: str, parts: Parts) -> Iterator[tuple[str, Any]]:
        position = 0
        while position < len(body):
            end_of_key = body.find("</arg_key>", position)
            value = self._VALUE.match(body, end_of_key + len("</arg_key>"))
            end = self._END_OF_VALUE.search(body, value.end()) if value else None
            if not body.startswith("<arg_key>", position) or end_of_key < 0 or value is None or end is None:
                raise ValueError("each argument must be <arg_key>…</arg_key><arg_value>…</arg_value>")
            argument = parts.plain(body[position + len("<arg_key>") : end_of_key]).strip()
            yield argument, self.read_value(name, argument, parts.plain(body[value.end() : end.start()]))
            position = end.end()

    def write(self, calls: Sequence[ToolCall]) -> str:
        return "\n".join(f"{self.opening}{self._write(call)}\n{self.closing}" for call in calls)

    def _write(self, call: ToolCall) -> str:
        pairs = ((argument, self.write_value(call.name, argument, value)) for argument, value in call.arguments.items())
        lines = (f"<arg_key>{argument}</arg_key>\n<arg_value>{text}</arg_value>" for argument, text in pairs)
        return "\n".join([call.name, *lines])


def _is_string(schema: Mapping[str, Any]) -> bool:
    return schema.get("type") in ("string", ["string"])


def _may_be_string(schema: Mapping[str, Any]) -> bool:
    choices = schema.get("anyOf") or schema.get("oneOf")
    if choices:
        return any(_may_be_string(choice) for choice in choices)
    kind = schema.get("type", "string")
    return "string" in ([kind] if isinstance(kind, str) else kind)
