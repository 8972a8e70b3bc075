"""Conversations as a chat template writes them, and their exact extension."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ..errors import TokenizerError
from .chat import Chat
from .message import AssistantMessage, Message
from .once import once_for_each_tokenizer
from .template_form import Apply, TemplateForm, as_parts
from .tokenizer import TemplateTokenizer

Tools = Sequence[Mapping[str, Any]]

_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")
"""What templates call it; each reads its own."""


class TemplateChat(Chat):
    """A chat template in the form that transformers uses.

    A turn of the policy is given to the template with its calls and its reasoning apart, where the template writes
    them and the turn could be read; else as the text that was sampled. Tool results that a template would drop or
    refuse are told by the user, those that follow each other in one message.

    `extend` compares texts. The longer conversation must begin with the prompt as it was, then with what was sampled,
    to the letter, then with the end token that was sampled: else the template rewrites what the policy has seen.
    Only calls may be spelt otherwise: the template's own spelling of a turn, which the longer conversation must hold,
    must agree with the sampled one up to and with all that is said outside the calls; the sampled ids stand, and what
    the template writes behind its spelling follows them.

    Args:
        tokenizer: knows the template.
        template_kwargs: passed to the template, e.g. `enable_thinking=False`.
        is_verbatim: calls are written in a form of llmgym's own, which no template knows, and stay in the text.
    """

    def __init__(
        self,
        tokenizer: TemplateTokenizer,
        template_kwargs: Mapping[str, Any] | None = None,
        *,
        is_verbatim: bool = False,
    ) -> None:
        self.tokenizer: TemplateTokenizer = tokenizer
        self._apply: Apply = partial(tokenizer.apply_template, **(template_kwargs or {}))
        self._form = _form_of(tokenizer, template_kwargs or {})
        self._is_verbatim = is_verbatim
        ends = tuple(tokenizer.end_texts.values())
        self._ends, self._end_of_turn = ends, re.compile(rf"(?:{'|'.join(map(re.escape, ends))})\s*\Z")
        # What was rendered last: the next turn needs all of it again.
        self._known: list[tuple[Message, dict[str, Any]]] = []
        self._prompt: tuple[list[Message], Tools, str] = ([], (), "")

    def render(self, messages: Sequence[Message], *, tools: Tools = (), prefill: str = "") -> list[int]:
        return self.tokenizer.encode_protected(self._text(messages, tools) + self.tokenizer.protect(prefill))

    def extend(
        self, ids: Sequence[int], new_messages: Sequence[Message], *, history: Sequence[Message], tools: Tools = ()
    ) -> list[int] | None:
        before = self._text(history[:-1], tools)
        said, end = self._said(history[-1]), self.tokenizer.end_texts.get(ids[-1], "")
        longer = self._text([*history, *new_messages], tools)
        rest = _behind(longer, before + said, end, self._ends)
        if rest is None and "tool_calls" in self._mapping(history[-1]):
            rest = self._behind_calls(longer, before, said, end, history, tools)
        if rest is None:
            return None
        # Encoded from the end token on, as in the whole: by itself the text might get a space in front.
        suffix = self.tokenizer.encode_protected(rest)
        if not end:
            return suffix
        return suffix[1:] if suffix[0] == ids[-1] else None

    def _behind_calls(
        self, longer: str, before: str, said: str, end: str, history: Sequence[Message], tools: Tools
    ) -> str | None:
        """What `longer` holds from the end token of the last turn on, where it spells the turn's calls its own way."""
        turn = history[-1]
        assert isinstance(turn, AssistantMessage), "only these have calls"
        closed = self._write(history, tools, add_generation_prompt=False)
        if not closed.startswith(before):
            return None
        written = self._end_of_turn.sub("", closed[len(before) :])
        differs_at = next((at for at, (a, b) in enumerate(zip(written, said, strict=False)) if a != b), len(said))
        if any(self.tokenizer.protect(t.strip()) not in said[:differs_at] for t in (turn.reasoning, turn.content)):
            return None
        return _behind(longer, before + written, end, self._ends)

    def _text(self, messages: Sequence[Message], tools: Tools) -> str:
        """What the template writes, up to where the policy begins its turn."""
        known_messages, known_tools, text = self._prompt
        if known_messages != list(messages) or known_tools != tools:
            text = self._write(messages, tools, add_generation_prompt=True)
            self._prompt = list(messages), tools, text
        return text

    def _write(self, messages: Sequence[Message], tools: Tools, *, add_generation_prompt: bool) -> str:
        same = 0
        while same < min(len(messages), len(self._known)) and self._known[same][0] is messages[same]:
            same += 1
        self._known[same:] = [(message, self._mapping(message)) for message in messages[same:]]
        mappings = [mapping for _, mapping in self._known]
        if not self._form.takes_lone_results:
            mappings = _with_lone_results_told_by_the_user(mappings)
        return self._apply(
            as_parts(mappings) if self._form.in_parts else mappings,
            tools=[self._protected(tool) for tool in tools] or None,
            add_generation_prompt=add_generation_prompt,
        )

    # -- one message -------------------------------------------------------------------------------------------

    def _mapping(self, message: Message) -> dict[str, Any]:
        """The message as it is given to the template."""
        if message.role == "assistant":
            return self._turn_mapping(message)
        calls = self._form.calls
        optional = {
            "name": message.name,
            "tool_call_id": calls.id_of(message.tool_call_id) if calls and message.tool_call_id else None,
        }
        content = self.tokenizer.protect(message.content)
        kept = {key: self.tokenizer.protect(value) for key, value in optional.items() if value}
        return {"role": message.role, "content": content, **kept}

    def _turn_mapping(self, message: Message) -> dict[str, Any]:
        """The turn with its calls and its reasoning apart, if the template writes all of it so; else as its text."""
        said = self._said(message)
        as_text = {"role": "assistant", "content": said}
        if not isinstance(message, AssistantMessage):
            return as_text
        is_read = message.text != message.content or bool(message.tool_calls and not message.text)
        if not is_read and said == self.tokenizer.protect(message.content):
            # Some templates refuse a turn that says nothing.
            return as_text if said or self._writes(as_text) else {"role": "assistant", "content": " "}
        content, reasoning = self.tokenizer.protect(message.content), self.tokenizer.protect(message.reasoning)
        needed = [content.strip(), reasoning.strip()]
        apart: dict[str, Any] | None = None
        if is_read and not self._is_verbatim and not message.malformed_calls:
            apart = {"role": "assistant", "content": content}
            if message.tool_calls:
                calls = [(self._protected(c.name), self._protected(c.arguments), c.id) for c in message.tool_calls]
                apart = self._form.calls.mapping(content, calls) if self._form.calls is not None else None
        if apart is not None:
            thought = dict.fromkeys(_REASONING_KEYS, reasoning) if reasoning else {}
            if self._writes({**apart, **thought}, *needed):
                return {**apart, **thought}
        if self._writes(as_text, *needed):
            return as_text
        # The template cannot hold all of the turn, or refuses one that says nothing.
        if apart is not None and self._writes(apart, needed[0]):
            return apart
        return {"role": "assistant", "content": self.tokenizer.protect(message.text or message.content) or " "}

    def _writes(self, mapping: dict[str, Any], *texts: str) -> bool:
        """True where the template takes a turn and writes these texts of it."""
        talk = [{"role": "user", "content": "?"}, mapping]
        try:
            written = self._apply(as_parts(talk) if self._form.in_parts else talk, add_generation_prompt=False)
        except TokenizerError:
            return False
        return all(text in written for text in texts)

    def _said(self, message: Message) -> str:
        """The text of a turn without its end token; what was sampled as a control token can be read as one."""
        if not isinstance(message, AssistantMessage):
            return self.tokenizer.protect(message.content)
        ids = message.token_ids
        text = message.text if ids else message.text or message.content
        if ids and ids[-1] in self.tokenizer.end_texts:
            ids = ids[:-1]
        sampled = self.tokenizer.decode_turn(ids)
        if not ids or not text.endswith(sampled):
            return self.tokenizer.protect(text)
        return self.tokenizer.protect(text[: len(text) - len(sampled)]) + self.tokenizer.protect_turn(ids)

    def _protected(self, value: Any) -> Any:
        """A JSON value whose texts are protected."""
        if isinstance(value, str):
            return self.tokenizer.protect(value)
        if isinstance(value, Mapping):
            return {self._protected(key): self._protected(inner) for key, inner in value.items()}
        return [self._protected(inner) for inner in value] if isinstance(value, (list, tuple)) else value


@once_for_each_tokenizer
def _form_of(tokenizer: TemplateTokenizer, template_kwargs: Mapping[str, Any]) -> TemplateForm:
    return TemplateForm.of(partial(tokenizer.apply_template, **template_kwargs))


def _behind(longer: str, begin: str, end: str, ends: tuple[str, ...]) -> str | None:
    """`longer` from the end token on that follows `begin`: `end`, or any where that is empty. None where none does."""
    if not longer.startswith(begin) or not longer.startswith(end or ends, len(begin)):
        return None
    return longer[len(begin) :]


def _with_lone_results_told_by_the_user(mappings: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Tool results that answer no call given to the template become messages of the user.

    They are joined with what the user says before and after them, as some templates take no two messages in a row.
    """
    told: list[dict[str, Any]] = []
    is_called = is_result = False
    for mapping in mappings:
        if mapping["role"] == "assistant":
            is_called = "tool_calls" in mapping
        was_result, is_result = is_result, mapping["role"] == "tool" and not is_called
        if is_result:
            mapping = {"role": "user", "content": mapping["content"]}
        if told and told[-1]["role"] == mapping["role"] == "user" and (is_result or was_result):
            told[-1] = {"role": "user", "content": f"{told[-1]['content']}\n\n{mapping['content']}"}
        else:
            told.append(mapping)
    return told
