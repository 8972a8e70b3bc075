"""Tokenizers of the transformers library."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils.hub import cached_file

from ..errors import TokenizerError
from .protection import Protection, one_of
from .template_form import turn_ends


class HFTokenizer:
    """A transformers tokenizer with a chat template, as an episode needs it.

    A turn ends with what the template writes behind one; `eos_id` is that of an answer, which need not be the
    tokenizer's own end token. This one, and those of a generation config, end a turn too.

    Args:
        backend: the transformers tokenizer.
        vocab_size: V, the width of the model's logits; at least the number of tokens, which is the default.
        end_ids: further ids that end a turn, as the model's generation config names them.
    """

    def __init__(
        self, backend: PreTrainedTokenizerBase, *, vocab_size: int | None = None, end_ids: Iterable[int] = ()
    ) -> None:
        if backend.eos_token_id is None:
            raise TokenizerError(
                f"The tokenizer {backend.name_or_path!r} has no end token, so no turn could ever end. "
                "Set tokenizer.eos_token to the token that ends a turn in its chat template."
            )
        if not backend.chat_template:
            raise TokenizerError(
                f"The tokenizer {backend.name_or_path!r} has no chat template, so messages cannot be written "
                "for it. Set tokenizer.chat_template, or use the tokenizer of an instruction-tuned model."
            )
        if vocab_size is not None and vocab_size < len(backend):
            raise TokenizerError(f"vocab_size is {vocab_size}, but the tokenizer has {len(backend)} tokens.")
        self.backend = backend
        self.vocab_size = vocab_size or len(backend)
        self.num_tokens = len(backend)
        controls, lstripped = _control_tokens(backend), _stripping_to_the_left(backend)
        self._control_ids = frozenset(controls.values()) - {backend.unk_token_id}
        self.control_texts: Mapping[int, str] = {
            index: text for text, index in controls.items() if index in self._control_ids
        }
        self._protection = Protection(controls)
        # The longest first; together with the spaces that are read as part of it.
        texts = sorted((text for text in controls if text), key=len, reverse=True)
        spaced = [text for text in texts if text in lstripped]
        patterns = [rf"\s*{one_of(spaced)}"] * bool(spaced) + [one_of(texts)] * bool(texts)
        self._control_text = re.compile("|".join(patterns))
        end_texts = turn_ends(self.apply_template, self._pieces, controls.__contains__, str(backend.eos_token))
        template_ends = [controls[text] for text in end_texts]
        self.eos_id: int = [*template_ends, backend.eos_token_id][0]
        self.pad_id: int = backend.pad_token_id if backend.pad_token_id is not None else backend.eos_token_id
        known = {*template_ends, backend.eos_token_id, *(index for index in end_ids if index < self.num_tokens)}
        self.end_ids: frozenset[int] = frozenset(known)
        self.end_texts: Mapping[int, str] = {index: str(backend.convert_ids_to_tokens(index)) for index in known}
        _require_exactness(self)

    @classmethod
    def load(cls, source: str | Path | PreTrainedTokenizerBase, *, vocab_size: int | None = None) -> "HFTokenizer":
        """From a folder, a hub id or a transformers tokenizer; V is given, or that of the model in the folder."""
        if isinstance(source, PreTrainedTokenizerBase):
            return cls(source, vocab_size=vocab_size)
        try:
            backend = AutoTokenizer.from_pretrained(str(source))
        except (OSError, ValueError, KeyError) as error:
            raise TokenizerError(
                f"No tokenizer could be loaded from {str(source)!r}: {str(error).splitlines()[0]} "
                "Give a folder with tokenizer.json, a hub id, or 'bytes'."
            ) from error
        config = Path(source) / "config.json"
        width = vocab_size
        if width is None and config.is_file():
            width = json.loads(config.read_text()).get("vocab_size")
        return cls(backend, vocab_size=max(width, len(backend)) if width else None, end_ids=_generation_ends(source))

    def encode(self, text: str) -> list[int]:
        text = _encodable(text)
        ids: list[int] = self.backend(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        known = [token for token in ids if token < self.num_tokens]
        return str(self.backend.decode(known, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def decode_turn(self, ids: Iterable[int]) -> str:
        """The text of a sampled turn, its control tokens written out."""
        return "".join(text for _, text in self._runs(ids))

    def protect_turn(self, ids: Iterable[int]) -> str:
        """The same, in which only what was sampled as a control token can be read as one."""
        return "".join(text if is_control else self.protect(text) for is_control, text in self._runs(ids))

    def _runs(self, ids: Iterable[int]) -> Iterator[tuple[bool, str]]:
        """Runs of control tokens and of others, each with its text."""
        for is_control, tokens in groupby(ids, self._control_ids.__contains__):
            run = list(tokens)
            yield is_control, "".join(self.control_texts[token] for token in run) if is_control else self.decode(run)

    def apply_template(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> str:
        """The conversation as the chat template writes it.

        Raises:
            TokenizerError: the template refuses the conversation.
        """
        mappings = [dict(message) for message in messages]
        try:
            return str(self.backend.apply_chat_template(mappings, tokenize=False, **options))
        except Exception as error:  # a template is a program of the tokenizer's makers: it may raise anything
            raise TokenizerError(
                f"The chat template of {self.backend.name_or_path!r} refuses a conversation of "
                f"{', '.join(str(message['role']) for message in mappings)}: {error!s:.300}. Give it what it takes, or "
                "set another tokenizer.chat_template."
            ) from error

    def protect(self, text: str) -> str:
        return self._protection.protect(text)

    def restore(self, text: str) -> str:
        return self._protection.restore(text)

    def encode_protected(self, text: str) -> list[int]:
        text = _encodable(text)
        if not self._protection.is_in(text):
            ids = self._encode_with_control_tokens(text)
            if self._num_controls(ids) == len(self._control_text.findall(text)):
                return ids
        # Some contents must not be read together with the template: piece by piece, each behind its control token.
        ids, control, position = [], "", 0
        for match in self._control_text.finditer(text):
            ids += self._encode_piece(control, text[position : match.start()])
            control, position = match[0], match.end()
        return ids + self._encode_piece(control, text[position:])

    def _encode_piece(self, control: str, piece: str) -> list[int]:
        """The ids of a control token, or of nothing at the beginning, and of the text up to the next one."""
        piece = self._protection.restore(piece)
        head = self._encode_with_control_tokens(control) if control else []
        ids = self._encode_with_control_tokens(control + piece)
        is_plain = ids[: len(head)] == head and not self._num_controls(ids[len(head) :])
        return ids if is_plain else head + self.encode(piece)

    def _encode_with_control_tokens(self, text: str) -> list[int]:
        ids: list[int] = self.backend(text, add_special_tokens=False)["input_ids"]
        return ids

    def _pieces(self, text: str) -> list[str]:
        """Control tokens and what is between them."""
        pieces, position = [], 0
        for match in self._control_text.finditer(text):
            pieces += [text[position : match.start()], match[0].strip() or match[0]]
            position = match.end()
        return [piece for piece in [*pieces, text[position:]] if piece]

    def _num_controls(self, ids: Sequence[int]) -> int:
        return sum(token in self._control_ids for token in ids)

    def __repr__(self) -> str:
        return f"HFTokenizer({self.backend.name_or_path!r}, vocab_size={self.vocab_size})"


def _control_tokens(backend: PreTrainedTokenizerBase) -> dict[str, int]:
    """Text and id of every control token, also of those that the tokenizer has no name for."""
    named = dict(zip(backend.all_special_tokens, backend.all_special_ids, strict=True))
    added = {str(token): index for index, token in backend.added_tokens_decoder.items() if token.special}
    return {**named, **added}


def _generation_ends(source: str | Path) -> list[int]:
    """The ids that end a turn by the generation config in the model's folder, if there is one."""
    path = cached_file(
        str(source),
        "generation_config.json",
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_connection_errors=False,
    )
    ends = json.loads(Path(path).read_text()).get("eos_token_id") if path is not None else None
    return ends if isinstance(ends, list) else [ends] if isinstance(ends, int) else []


def _stripping_to_the_left(backend: PreTrainedTokenizerBase) -> set[str]:
    return {str(token) for token in backend.added_tokens_decoder.values() if token.lstrip}


def _encodable(text: str) -> str:
    """`text` with "?" for halves of surrogate pairs, which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _require_exactness(tokenizer: HFTokenizer) -> None:
    """An episode relies on these; a tokenizer without them would train on tokens that mean something else.

    Raises:
        TokenizerError: plain text becomes control tokens, text is not decoded again, or what follows a turn is encoded
            differently by itself.
    """
    name, unknown_id = tokenizer.backend.name_or_path, tokenizer.backend.unk_token_id
    end = tokenizer.end_texts[tokenizer.eos_id]
    for text in _control_tokens(tokenizer.backend):
        if tokenizer._num_controls(tokenizer.encode(text)):
            raise TokenizerError(
                f"The tokenizer {name!r} encodes the plain text {text!r} as a control token, so whoever writes it "
                "could end a turn or open a message. Its model must not have control tokens among its plain ones."
            )
    for text in ("a", "a b", "Ab 12", "a\nb", "a  b"):
        ids = tokenizer.encode(text)
        if unknown_id not in ids and tokenizer.decode(ids) != text:
            raise TokenizerError(
                f"The tokenizer {name!r} decodes the ids of {text!r} as {tokenizer.decode(ids)!r}, so no turn would be "
                "read as it was written. Use a tokenizer that has a decoder and adds, drops and changes nothing."
            )
    for before in ("a", " "):
        for after in ("a", " a", "\n", "\na"):
            whole = tokenizer.encode_protected(before + end + after)
            parts = tokenizer.encode_protected(before + end) + tokenizer.encode_protected(end + after)[1:]
            if whole != parts:
                raise TokenizerError(
                    f"The tokenizer {name!r} encodes {before + end + after!r} as {whole}, but in two parts, at the end "
                    f"token, as {parts}, so a conversation could not go on with the ids that were sampled. Use a "
                    "tokenizer whose control tokens separate what stands on either side."
                )
