"""How the turns of a model are written, found by letting its chat template write one."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

from ...errors import ConfigError, TokenizerError
from ..once import once_for_each_tokenizer
from ..tokenizer import TemplateTokenizer, Tokenizer
from .form import Form, Parts, Schemas
from .parser import FORMS, TurnParser
from .tag_form import TagForm
from .thinking import CLOSING, OPENING, split_thinking

Apply = Callable[..., str]
"""`apply(mappings, tools=..., add_generation_prompt=...)`: what a template writes; TokenizerError where it refuses."""

_ASKED, _THOUGHT, _SAID = "asked text", "thought text", "said text"
_CALL: tuple[str, Mapping[str, Any]] = ("find", {"query": "red fox", "count": 3})
_FIND = {
    "name": "find",
    "description": "Finds.",
    "parameters": {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "What."},
            "count": {"type": "integer", "description": "How many."},
        },
        "required": ["query", "count"],
    },
}
_TOOLS = [{"type": "function", "function": _FIND}]


@dataclass(frozen=True)
class TurnStyle:
    """How a chat template writes the turns of its model."""

    form: str | None = None
    """The form of its calls, one of `FORMS`; None where it writes none, or none that is known."""
    unknown_call: str = ""
    """A call in a form that is not known."""
    thinks: bool = False
    """Turns begin with a block of reasoning, which the prompt may have opened."""

    @classmethod
    def of(cls, apply: Apply) -> "TurnStyle":
        """Found by trying."""
        header = _header(apply)
        thinks = header.rfind(OPENING) > header.rfind(CLOSING) or _thinks(apply)
        unknown = ""
        for turn in _called_turns(apply, header):
            for name, form in FORMS.items():
                if name != "tag" and _reads(form(_TOOLS), turn):
                    return cls(name, thinks=thinks)
            unknown = turn if _CALL[1]["query"] in turn else unknown
        return cls(unknown_call=unknown, thinks=thinks)

    def parser(self, form: str, reasoning: str, tools: Schemas, tokenizer: Tokenizer) -> TurnParser:
        """The parser that is meant.

        Args:
            form: one of `FORMS`, or "auto": that of the template, else "tag" where it fits the tools, else "hermes".
            reasoning: "think", "none", or "auto": what the template does.
            tools: schemas of the tools.
            tokenizer: of the turns.

        Raises:
            ConfigError: there is no such form, it has no room for a tool's arguments, or the template writes calls in
                one that is not known.
        """
        if form == "auto":
            form = self.form or ("tag" if TagForm.fits(tools) else "hermes")
            if tools and self.unknown_call:
                raise ConfigError(
                    f"The chat template writes calls as {self.unknown_call!r:.300}, which is none of the known forms. "
                    f"Name the one that the policy is to use: tool_format={', '.join(map(repr, FORMS))}."
                )
        thinks = self.thinks if reasoning == "auto" else reasoning == "think"
        return TurnParser(form, tools, tokenizer, thinks=thinks)


def turn_style(tokenizer: Tokenizer, template_kwargs: Mapping[str, Any] | None = None) -> TurnStyle:
    """How the tokenizer's chat template writes turns; a plain style where it has none.

    Args:
        tokenizer: of the policy.
        template_kwargs: passed to the template, e.g. `enable_thinking=False`.
    """
    return _style_of(tokenizer, template_kwargs or {}) if isinstance(tokenizer, TemplateTokenizer) else TurnStyle()


@once_for_each_tokenizer
def _style_of(tokenizer: TemplateTokenizer, template_kwargs: Mapping[str, Any]) -> TurnStyle:
    return TurnStyle.of(partial(tokenizer.apply_template, **template_kwargs))


def _header(apply: Apply) -> str:
    """What the template writes between the question and the turn; empty where that cannot be seen."""
    try:
        prompt = apply([{"role": "user", "content": _ASKED}], tools=_TOOLS, add_generation_prompt=True)
    except TokenizerError:
        return ""
    return prompt.rpartition(_ASKED)[2]


def _thinks(apply: Apply) -> bool:
    """True where the template writes or drops a block of reasoning."""
    block = f"{OPENING}\n{_THOUGHT}\n{CLOSING}\n\n"
    keys = dict.fromkeys(("reasoning_content", "reasoning", "thinking"), _THOUGHT)
    apart = _written(apply, {"role": "assistant", "content": _SAID, **keys})
    inside = _written(apply, {"role": "assistant", "content": f"{block}{_SAID}"})
    before, _, behind = apart.partition(_THOUGHT)
    is_written = before.rstrip().endswith(OPENING) and behind.lstrip().startswith(CLOSING)
    return is_written or (_SAID in inside and _THOUGHT not in inside)


def _called_turns(apply: Apply, header: str) -> Iterator[str]:
    """Turns with a call as the template writes them, given in each of the ways that templates take."""
    name, arguments = _CALL
    opening = header.partition(OPENING)[0]
    ending = _written(apply, {"role": "assistant", "content": _SAID}).rpartition(_SAID)[2]
    for given, content in product((arguments, json.dumps(arguments)), ("", None)):
        call = {"type": "function", "id": "abcdefghi", "function": {"name": name, "arguments": given}}
        turn = _written(apply, {"role": "assistant", "content": content, "tool_calls": [call]})
        yield split_thinking(turn.removeprefix(opening).removesuffix(ending), is_open=False)[1]


def _reads(form: Form, turn: str) -> bool:
    parts = Parts(form.functions, str, str)
    form.read(turn, parts)
    return parts.calls == [_CALL] and not parts.malformed


def _written(apply: Apply, message: Mapping[str, Any]) -> str:
    """What the template writes behind the question; empty where it takes no such message."""
    try:
        text = apply([{"role": "user", "content": _ASKED}, message], tools=_TOOLS, add_generation_prompt=False)
    except TokenizerError:
        return ""
    return text.rpartition(_ASKED)[2]
