"""Tokenizers of the transformers library."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ..errors import TokenizerError


class HFTokenizer:
    """A transformers tokenizer with a chat template, as an episode needs it.

    Args:
        backend: the transformers tokenizer.
        vocab_size: V, the width of the model's logits; at least the number of tokens, which is the default.
    """

    def __init__(self, backend: PreTrainedTokenizerBase, *, vocab_size: int | None = None) -> None:
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
        self.eos_id: int = backend.eos_token_id
        self.pad_id: int = backend.pad_token_id if backend.pad_token_id is not None else self.eos_id
        self.end_text = str(backend.eos_token)
        self.num_tokens = len(backend)
        self._special_text = re.compile(
            "|".join(re.escape(text) for text in sorted(backend.all_special_tokens, key=len, reverse=True))
        )

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
        return cls(backend, vocab_size=max(width, len(backend)) if width else None)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.backend(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        known = [token for token in ids if token < self.num_tokens]
        return str(self.backend.decode(known, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def apply_template(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> str:
        """The conversation as the chat template writes it."""
        return str(self.backend.apply_chat_template([dict(message) for message in messages], tokenize=False, **options))

    def protect(self, text: str) -> str:
        return self._special_text.sub(lambda match: "".join(chr(_SHIFT + ord(c)) for c in match[0]), text)

    def encode_protected(self, text: str) -> list[int]:
        if not _PROTECTED.search(text):
            return self._encode_with_control_tokens(text)
        ids: list[int] = []
        position = 0
        for match in self._special_text.finditer(text):
            ids += self._encode_unprotected(text[position : match.start()])
            ids += self._encode_with_control_tokens(match[0])
            position = match.end()
        return ids + self._encode_unprotected(text[position:])

    def _encode_with_control_tokens(self, text: str) -> list[int]:
        ids: list[int] = self.backend(text, add_special_tokens=False)["input_ids"]
        return ids

    def _encode_unprotected(self, text: str) -> list[int]:
        return self.encode(_PROTECTED.sub(lambda match: chr(ord(match[0]) - _SHIFT), text)) if text else []

    def __repr__(self) -> str:
        return f"HFTokenizer({self.backend.name_or_path!r}, vocab_size={self.vocab_size})"


# Control-token text in contents is moved to a private plane of Unicode, where no template looks for it.
_SHIFT = 0x100000
_PROTECTED = re.compile(f"[{chr(_SHIFT)}-{chr(_SHIFT + 0xFFFD)}]")
