"""Forms with channels: reasoning, words and calls are told apart by control tokens."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from ..message import ToolCall
from .form import BlockForm, Call, Form, Parts
from .json_values import json_text, json_value
from .literals import GemmaLiterals


class HarmonyForm(Form):
    """Messages of a channel each, as gpt-oss writes them: analysis is reasoning, a recipient makes it a call.

    `<|channel|>commentary to=functions.calculator <|constrain|>json<|message|>{"expression": "37*81"}<|call|>`.
    """

    markers = ("<|channel|>", "<|message|>", "<|start|>", "<|end|>", "<|return|>", "<|call|>", "<|constrain|>")

    _BORDER = re.compile("|".join(map(re.escape, ("<|start|>", "<|end|>", "<|return|>", "<|call|>"))))
    _RECIPIENT = re.compile(r"\bto=([^\s<]+)")
    _CHANNEL = re.compile(r"<\|channel\|>\s*(\w*)")

    def read(self, text: str, parts: Parts) -> None:
        for message in self._BORDER.split(text):
            head, marker, body = message.partition("<|message|>")
            if not marker:
                # Words without a head; a head that was cut, and the role between two messages, say nothing.
                if "<|channel|>" not in head and head.strip() != "assistant":
                    parts.say(head)
                continue
            recipient, channel = self._RECIPIENT.search(head), self._CHANNEL.search(head)
            if recipient and self.functions:
                name = parts.plain(recipient[1]).removeprefix("functions.")
                parts.call(message, self._calls_in(name, parts.plain(body)))
            elif channel and channel[1] == "analysis":
                parts.think(body)
            else:
                parts.say(body)

    def whole(self, text: str) -> str:
        return text if "<|message|>" in text else f"<|channel|>final<|message|>{text}"

    def _calls_in(self, name: str, body: str) -> Iterator[Call]:
        arguments = json_value(body)
        if not isinstance(arguments, dict):
            raise ValueError("the arguments of a call must be a JSON object")
        yield name, arguments

    def write(self, calls: Sequence[ToolCall]) -> str:
        texts = ((call.name, json_text(dict(call.arguments), without=self.markers)) for call in calls)
        heads = ((f"<|channel|>commentary to=functions.{name} <|constrain|>json", text) for name, text in texts)
        return "<|end|><|start|>assistant".join(f"{head}<|message|>{text}" for head, text in heads) + "<|call|>"


class GemmaForm(BlockForm):
    """`<|tool_call>call:calculator{expression:<|"|>37*81<|"|>}<tool_call|>`; Gemma 4 thinks in a channel."""

    opening, closing = "<|tool_call>", "<tool_call|>"
    markers = ("<|channel>", "<channel|>", "<|tool_response>", GemmaLiterals.MARK)

    def read(self, text: str, parts: Parts) -> None:
        said, *channels = text.partition("<|tool_response>")[0].split("<|channel>")
        for channel in channels:
            thought, _, rest = channel.partition("<channel|>")
            parts.think(thought.removeprefix("thought"))
            said += rest
        super().read(said, parts)

    def calls_in(self, block: str, parts: Parts) -> Iterator[Call]:
        literals = GemmaLiterals(block, parts.plain)
        literals.require("call:")
        yield literals.name_before("{"), literals.mapping()
        literals.require_end()

    def write(self, calls: Sequence[ToolCall]) -> str:
        texts = (f"call:{call.name}{_gemma_text(dict(call.arguments))}" for call in calls)
        return "".join(f"{self.opening}{text}{self.closing}" for text in texts) + "<|tool_response>"


def _gemma_text(value: Any) -> str:
    if isinstance(value, dict):
        # Its templates sort the keys.
        return f"{{{','.join(f'{key}:{_gemma_text(each)}' for key, each in sorted(value.items()))}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_gemma_text, value))}]"
    if isinstance(value, str):
        return f"{GemmaLiterals.MARK}{value}{GemmaLiterals.MARK}"
    return json_text(value)
