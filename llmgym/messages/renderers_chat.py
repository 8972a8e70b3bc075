"""Conversations as a renderer of the package `renderers` writes them."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import TokenizerError
from ..extras import require
from .chat import Chat
from .message import AssistantMessage, Message
from .tokenizer import TemplateTokenizer, end_ids_of

Tools = Sequence[Mapping[str, Any]]


class RenderersChat(Chat):
    """A renderer in place of the chat template, and its bridge from turn to turn in place of `TemplateChat`'s rule.

    Where the bridge declines, a new segment begins. Control-token text in contents stays text here too.

    Args:
        tokenizer: with the control tokens of the renderer's family.
        name: of the renderer, such as "qwen3", "glm-4.5" or "gpt-oss".
        template_kwargs: fields of its config that chat templates have too, such as `enable_thinking=False`.

    Raises:
        MissingExtraError: the package is not installed.
        TokenizerError: there is no such renderer, or it cannot use the tokenizer or the keywords.
    """

    def __init__(
        self, tokenizer: TemplateTokenizer, name: str, template_kwargs: Mapping[str, Any] | None = None
    ) -> None:
        renderers = require("renderers", extra="renderers", purpose=f"The chat form 'renderers:{name}'")
        self.tokenizer: TemplateTokenizer = tokenizer
        plain = _PlainTokenizer(tokenizer)
        try:
            config = renderers.config_from_name(name)
            self._renderer = renderers.create_renderer(plain, config, chat_template_kwargs=dict(template_kwargs or {}))
            is_exact = _keeps_contents_plain(self._renderer, plain)
        except Exception as error:  # a renderer is somebody's program: it may raise anything
            raise TokenizerError(
                f"The renderer {name!r} cannot be made for {tokenizer!r}: {error}. Name one that fits the tokenizer's "
                'control tokens, or use chat="template".'
            ) from error
        if not is_exact:
            raise TokenizerError(
                f"The renderer {name!r} writes control tokens as text, so whoever writes their text in a message could "
                'forge them. Use chat="template".'
            )

    @property
    def end_ids(self) -> frozenset[int]:
        return end_ids_of(self.tokenizer) | frozenset(self._renderer.get_stop_token_ids())

    def render(self, messages: Sequence[Message], *, tools: Tools = (), prefill: str = "") -> list[int]:
        mappings = [_mapping(message) for message in messages]
        ids = self._renderer.render_ids(mappings, tools=_specs(tools), add_generation_prompt=True)
        return [*ids, *self.tokenizer.encode(prefill)]

    def extend(
        self, ids: Sequence[int], new_messages: Sequence[Message], *, history: Sequence[Message], tools: Tools = ()
    ) -> list[int] | None:
        turn, given = history[-1], list(ids)
        begin = len(given) - (len(turn.token_ids) if isinstance(turn, AssistantMessage) else 0)
        bridged = self._renderer.bridge_to_next_turn(
            given[:begin], given[begin:], [_mapping(message) for message in new_messages], tools=_specs(tools)
        )
        if bridged is None or bridged.token_ids[: len(given)] != given:
            return None
        return list(bridged.token_ids[len(given) :])


class _PlainTokenizer:
    """What renderers ask of a tokenizer; contents never become control tokens."""

    def __init__(self, tokenizer: TemplateTokenizer) -> None:
        self._tokenizer = tokenizer
        backend = getattr(tokenizer, "backend", None)
        ids = {text: index for index, text in tokenizer.control_texts.items()}
        self.convert_tokens_to_ids = ids.get if backend is None else backend.convert_tokens_to_ids
        self.name_or_path = str(getattr(backend, "name_or_path", ""))
        self.unk_token_id, self.eos_token_id = getattr(backend, "unk_token_id", None), tokenizer.eos_id
        self.takes_control_texts = True
        """Some renderers look control tokens up by encoding them while they are made."""

    def encode(self, text: str, *_: Any, **__: Any) -> list[int]:
        return self._tokenizer.encode_protected(text) if self.takes_control_texts else self._tokenizer.encode(text)

    def decode(self, token_ids: Sequence[int], *_: Any, **__: Any) -> str:
        return self._tokenizer.decode_turn(token_ids)


def _keeps_contents_plain(renderer: Any, tokenizer: _PlainTokenizer) -> bool:
    """True where the renderer writes the same though no text becomes a control token. From here on, none does."""
    call = {"type": "function", "id": "call_0_0", "function": {"name": "find", "arguments": {"text": "a"}}}
    talk = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "reasoning_content": "b", "tool_calls": [call]},
        {"role": "tool", "content": "c", "name": "find", "tool_call_id": "call_0_0"},
    ]
    ids = renderer.render_ids(talk, add_generation_prompt=True)
    tokenizer.takes_control_texts = False
    return bool(renderer.render_ids(talk, add_generation_prompt=True) == ids)


def _mapping(message: Message) -> dict[str, Any]:
    mapping: dict[str, Any] = {"role": message.role, "content": message.content}
    mapping |= {key: value for key in ("name", "tool_call_id") if (value := getattr(message, key))}
    if not isinstance(message, AssistantMessage):
        return mapping
    if message.malformed_calls:
        return mapping | {"content": message.text}
    if message.reasoning:
        mapping["reasoning_content"] = message.reasoning
    if message.tool_calls:
        mapping["tool_calls"] = [
            {"type": "function", "id": call.id, "function": {"name": call.name, "arguments": dict(call.arguments)}}
            for call in message.tool_calls
        ]
    return mapping


def _specs(tools: Tools) -> list[dict[str, Any]] | None:
    return [dict(tool) for tool in tools] or None
