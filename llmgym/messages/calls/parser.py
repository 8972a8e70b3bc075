"""Turns, read from their ids into what they say, think and call."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from ...errors import ConfigError
from ..message import AssistantMessage, ToolCall
from ..tokenizer import TemplateTokenizer, Tokenizer, end_ids_of, turn_text
from .channel_forms import GemmaForm, HarmonyForm
from .form import Form, Parts, Schemas
from .json_forms import (
    DeepSeekForm,
    DeepSeekV31Form,
    HermesForm,
    LlamaJsonForm,
    MistralForm,
    MistralListForm,
    PhiForm,
)
from .python_forms import LfmForm, LlamaPythonForm, ToolCodeForm
from .tag_form import TagForm
from .tagged_forms import GlmForm, QwenXmlForm
from .thinking import CLOSING, OPENING, behind_thinking, split_thinking

FORMS: Mapping[str, type[Form]] = {
    "tag": TagForm,
    "hermes": HermesForm,
    "qwen_xml": QwenXmlForm,
    "glm": GlmForm,
    "llama_json": LlamaJsonForm,
    "llama_python": LlamaPythonForm,
    "mistral": MistralForm,
    "mistral_list": MistralListForm,
    "harmony": HarmonyForm,
    "gemma": GemmaForm,
    "tool_code": ToolCodeForm,
    "deepseek": DeepSeekForm,
    "deepseek_v31": DeepSeekV31Form,
    "lfm": LfmForm,
    "phi": PhiForm,
}
"""Forms of turns by their names."""


_TAIL = 32
"""Tokens at the end of a prompt in which it may open the turn's reasoning."""


class TurnParser:
    """Reads turns in one of the known forms, and writes turns that call tools.

    Markers that are control tokens of the tokenizer count only where they were sampled as such: the same characters as
    plain text are plain text. Where the tokenizer has no such control token, the characters count.

    Args:
        form: name of a form, one of `FORMS`.
        tools: schemas of the tools there are; with none, nothing is read as a call.
        tokenizer: of the ids.
        thinks: True where turns begin with a block of reasoning, `<think>…</think>`.

    Raises:
        ConfigError: there is no such form, or a tool's calls cannot be written in it.
    """

    def __init__(self, form: str, tools: Schemas, tokenizer: Tokenizer, *, thinks: bool = False) -> None:
        if form not in FORMS:
            raise ConfigError(f"tool_format is {form!r}, but known are 'auto', {', '.join(map(repr, FORMS))}.")
        self.form, self._form, self._form_without_calls = form, FORMS[form](tools), FORMS[form](())
        self._tokenizer, self._thinks = tokenizer, thinks
        self._controls = tokenizer if isinstance(tokenizer, TemplateTokenizer) else None
        self._end_ids = end_ids_of(tokenizer)
        self._marker = re.compile(f"({'|'.join(map(re.escape, self._form.markers))})")

    def parse(
        self,
        token_ids: Sequence[int],
        *,
        prefill: str = "",
        turn_index: int = 0,
        is_thinking: bool = False,
        is_cut: bool = False,
    ) -> AssistantMessage:
        """The turn with its calls, in order; what cannot be read is kept with the reason.

        Args:
            token_ids: of the turn, kept with it.
            prefill: text that the prompt has begun the turn with.
            turn_index: number of the turn in its episode, which makes the ids of its calls the episode's only ones.
            is_thinking: True where the prompt has opened the turn's reasoning; see `opens_thinking`.
            is_cut: True where the turn was not finished; then no calls are looked for.
        """
        said_ids = token_ids[:-1] if token_ids and token_ids[-1] in self._end_ids else token_ids
        text = self._protected(prefill, said_ids)
        form = self._form_without_calls if is_cut else self._form
        parts = Parts(form.functions, self._reader_of(said_ids), self._restored)
        rest = text
        if self._thinks:
            thought, rest = split_thinking(text, is_open=is_thinking)
            if thought is not None:
                parts.think(thought)
                rest = rest.lstrip("\n")
        form.read(rest, parts)
        content = "".join(parts.content)
        return AssistantMessage(
            content=content.strip() if parts.calls or parts.malformed else content,
            text=self._restored(text),
            reasoning="\n".join(filter(None, parts.reasoning)),
            tool_calls=tuple(
                ToolCall(name, arguments, id=f"call_{turn_index}_{index}")
                for index, (name, arguments) in enumerate(parts.calls)
            ),
            malformed_calls=tuple(parts.malformed),
            token_ids=tuple(token_ids),
        )

    def read(
        self, ids: Sequence[int], start: int, *, prefill: str = "", turn_index: int = 0, is_cut: bool = False
    ) -> AssistantMessage:
        """The turn that begins at `start` and ends a segment; whether it begins in reasoning is seen from its prompt.

        Args:
            ids: of the segment.
            start: where the turn begins in it.
            prefill: as in `parse`.
            turn_index: as in `parse`.
            is_cut: as in `parse`.
        """
        is_thinking = self.opens_thinking(ids, start, prefill=prefill)
        return self.parse(ids[start:], prefill=prefill, turn_index=turn_index, is_thinking=is_thinking, is_cut=is_cut)

    def write(self, *calls: ToolCall) -> str:
        """The text of a turn that makes these calls and nothing else; `encode` gives its ids.

        Raises:
            ConfigError: there is no such tool, or the form has no text for the calls.
        """
        wanted = [(call.name, dict(call.arguments)) for call in calls]
        if all(name in self._form.functions for name, _ in wanted):
            text = self._form.write(calls)
            message = self.parse(self.encode(text))
            if [(call.name, dict(call.arguments)) for call in message.tool_calls] == wanted:
                return text
        shown = ", ".join(f"{name}({arguments!r:.200})" for name, arguments in wanted)
        raise ConfigError(
            f"The call {shown} has no text in the form {self.form!r} that would be read as this call. There are the "
            f"tools {', '.join(self._form.functions) or 'none'}."
        )

    def opens_thinking(self, ids: Sequence[int], start: int, *, prefill: str = "") -> bool:
        """True where a prompt ends in the beginning of the reasoning that a turn goes on with.

        Args:
            ids: of a segment.
            start: where the turn begins in it.
            prefill: text that the prompt ends in, and that is part of the turn.
        """
        if not self._thinks:
            return False
        tail = ids[max(0, start - _TAIL - 4 * len(prefill)) : start]  # a character has up to four tokens
        return turn_text(self._tokenizer, tail).removesuffix(prefill).rstrip().endswith(OPENING)

    def begins_thinking(self, ids: Sequence[int], start: int, *, prefill: str = "") -> bool:
        """True where the first token of a turn is part of its reasoning, which the prompt or its prefill has opened.

        Args:
            ids: as in `opens_thinking`.
            start: as in `opens_thinking`.
            prefill: as in `opens_thinking`.
        """
        begun = self._protected(prefill, ())
        if not self._thinks or CLOSING in begun:
            return False
        return begun.lstrip().startswith(OPENING) or self.opens_thinking(ids, start, prefill=prefill)

    def encode(self, text: str, *, is_thinking: bool = False) -> list[int]:
        """The ids of a turn's text, without its end token.

        The form's markers become control tokens where the tokenizer has such; all other text is plain. What a turn must
        begin with in front of its words is put there where it is missing: the end of reasoning that the prompt has
        opened, and the head of a message.
        """
        text = self._form.whole(text)
        if is_thinking:
            text = behind_thinking(text)
        pieces = self._marker.split(text) if self._controls is not None and self._form.markers else [text]
        if self._controls is None or len(pieces) == 1:
            return self._tokenizer.encode(text)
        pieces[::2] = map(self._controls.protect, pieces[::2])
        return self._controls.encode_protected("".join(pieces))

    # -- text in which only control tokens can be read as such -------------------------------------------------

    def _protected(self, prefill: str, token_ids: Sequence[int]) -> str:
        if self._controls is None:
            return prefill + self._tokenizer.decode(token_ids)
        return self._controls.protect(prefill) + self._controls.protect_turn(token_ids)

    def _restored(self, text: str) -> str:
        return text if self._controls is None else self._controls.restore(text)

    def _reader_of(self, token_ids: Iterable[int]) -> Callable[[str], str]:
        """From a piece of the protected text of these ids to its plain text, without control tokens."""
        if self._controls is None:
            return lambda text: text
        restore, known = self._controls.restore, self._controls.control_texts
        controls = sorted({known[token] for token in token_ids if token in known}, key=len, reverse=True)
        if not controls:
            return restore
        control = re.compile("|".join(map(re.escape, controls)))
        return lambda text: restore(control.sub("", text))
