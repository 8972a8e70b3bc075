"""What a chat template wants to be given and what it writes, found by giving it small conversations."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from ..errors import TokenizerError

Mappings = Sequence[Mapping[str, Any]]
Apply = Callable[..., str]
"""`apply(mappings, add_generation_prompt=...)`: what the template writes; a TokenizerError where it refuses them."""

_ASKED, _SAID, _TOOL, _ARGUMENT, _TOLD = "askedtext", "saidtext", "calledtool", "argumenttext", "toldtext"
_USER, _ANSWER = {"role": "user", "content": _ASKED}, {"role": "assistant", "content": _SAID}


@dataclass(frozen=True)
class CallSpelling:
    """How a template takes the calls of an assistant message."""

    as_json: bool = False
    """The arguments as JSON text, not as a mapping."""
    empty_content: str | None = ""
    """The content of a turn that only calls."""
    short_ids: bool = False
    """Ids of calls have nine letters or digits."""

    def mapping(self, content: str, calls: Sequence[tuple[str, Any, str]]) -> dict[str, Any]:
        """An assistant message with calls, each a name, its arguments and its id."""
        return {
            "role": "assistant",
            "content": content or self.empty_content,
            "tool_calls": [
                {
                    "type": "function",
                    "id": self.id_of(id_),
                    "function": {
                        "name": name,
                        "arguments": json.dumps(arguments, ensure_ascii=False) if self.as_json else arguments,
                    },
                }
                for name, arguments, id_ in calls
            ],
        }

    def id_of(self, id_: str) -> str:
        """The id as the template takes it."""
        if not self.short_ids or re.fullmatch("[a-zA-Z0-9]{9}", id_):
            return id_
        return hashlib.blake2b(id_.encode(), digest_size=5).hexdigest()[:9]


@dataclass(frozen=True)
class TemplateForm:
    """What a template wants to be given.

    Attributes:
        calls: how it takes calls; None where it writes none, so that they must stand in the content.
        takes_lone_results: it writes tool results that answer no call it was given.
        in_parts: it reads contents only as lists of parts.
    """

    calls: CallSpelling | None
    takes_lone_results: bool
    in_parts: bool

    @classmethod
    def of(cls, apply: Apply) -> "TemplateForm":
        """Found by trying."""
        in_parts = not _writes(apply, [_USER], _ASKED) and _writes(_with_parts(apply), [_USER], _ASKED)
        if in_parts:
            apply = _with_parts(apply)
        lone = [_USER, _ANSWER, {"role": "tool", "content": _TOLD, "name": _TOOL}]
        return cls(_call_spelling(apply), _writes(apply, lone, _SAID, _TOLD), in_parts)


def as_parts(mappings: Mappings) -> list[dict[str, Any]]:
    """The same messages, their contents as lists of parts."""
    return [{**each, "content": [{"type": "text", "text": each["content"]}]} for each in mappings]


def _with_parts(apply: Apply) -> Apply:
    return lambda mappings, **options: apply(as_parts(mappings), **options)


def _call_spelling(apply: Apply) -> CallSpelling | None:
    for short_ids, as_json, empty in product((False, True), (False, True), ("", None)):
        spelling = CallSpelling(as_json, empty, short_ids)
        if _writes(apply, _called(spelling, 1), _TOOL, f"{_ARGUMENT}0", f"{_TOLD}0"):
            return spelling
    return None


def _called(spelling: CallSpelling, num_calls: int) -> list[dict[str, Any]]:
    """A question, a turn with calls, and their results."""
    calls = [(_TOOL, {"text": f"{_ARGUMENT}{index}"}, f"call_0_{index}") for index in range(num_calls)]
    results = [
        {"role": "tool", "content": f"{_TOLD}{index}", "name": _TOOL, "tool_call_id": spelling.id_of(id_)}
        for index, (_, _, id_) in enumerate(calls)
    ]
    return [_USER, spelling.mapping("", calls), *results]


def _writes(apply: Apply, mappings: Mappings, *texts: str) -> bool:
    """True where the template takes the messages and writes all these texts."""
    try:
        written = apply(mappings, add_generation_prompt=True)
    except TokenizerError:
        return False
    return all(text in written for text in texts)


def turn_ends(
    apply: Apply, split: Callable[[str], list[str]], is_control: Callable[[str], bool], own_end: str
) -> list[str]:
    """The control tokens that end a turn of the policy: first that of an answer, then that of a call, if it differs.

    Where the template writes none behind the turn, it ends by what opens the next message.

    Args:
        apply: the template.
        split: a text into control tokens and what is between them.
        is_control: of such a piece.
        own_end: the tokenizer's end token, which is the end wherever the template writes it.
    """
    form = TemplateForm.of(apply)
    if form.in_parts:
        apply = _with_parts(apply)
    ends = [_end_behind(_SAID, [_USER, _ANSWER], [_USER], apply, split, is_control, own_end)]
    if form.calls is not None:
        # With two calls, what closes each can be told from what closes the turn. Some templates take only one.
        for num_calls in (2, 1):
            talk, last = _called(form.calls, num_calls), f"{_ARGUMENT}{num_calls - 1}"
            end = _end_behind(last, talk[:2], talk[2:], apply, split, is_control, own_end)
            if end is not None:
                ends.append(end)
                break
    return list(dict.fromkeys(end for end in ends if end is not None))


def _end_behind(
    said: str,
    talk: Mappings,
    answers: Mappings,
    apply: Apply,
    split: Callable[[str], list[str]],
    is_control: Callable[[str], bool],
    own_end: str,
) -> str | None:
    """The end of the last turn of `talk`, which says `said`: the last control token that is there with `answers` too.

    Else the first one behind it where nothing follows, else the one that opens the answers. None where the template
    takes no such talk.
    """
    try:
        closed = split(apply(talk, add_generation_prompt=False))
        longer = split(apply([*talk, *answers], add_generation_prompt=True))
    except TokenizerError:
        return None
    at = max((index for index, piece in enumerate(closed) if said in piece), default=None)
    if at is None or longer[:at] != closed[:at]:
        return None
    common = at + 1
    while common < min(len(closed), len(longer)) and closed[common] == longer[common]:
        common += 1
    first = next((index for index, piece in enumerate(closed) if f"{_ARGUMENT}0" in piece), at)
    between_calls = closed[first + 1 : at]  # what is there closes a call, not the turn
    if own_end in closed[at + 1 : common] and own_end not in between_calls:
        return own_end
    for pieces in (reversed(closed[at + 1 : common]), closed[at + 1 :], longer[at + 1 :]):
        end = next((piece for piece in pieces if is_control(piece) and piece not in between_calls), None)
        if end is not None:
            return end
    return None
