"""What an episode needs of a tokenizer, and the built-in one: bytes."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ..errors import ConfigError, TokenizerError
from ..extras import require
from .message import Role


@runtime_checkable
class Tokenizer(Protocol):
    """Text to ids and back. Control tokens end turns and open messages; text never becomes one."""

    @property
    def vocab_size(self) -> int:
        """V: the width of the model's logits, padding ids included."""

    @property
    def num_tokens(self) -> int:
        """Ids from here to V are padding of the vocabulary: they mean nothing, and samplers never sample them."""

    @property
    def eos_id(self) -> int:
        """The token that ends an answer. A tokenizer may name all tokens that end a turn in a member `end_ids`."""

    @property
    def pad_id(self) -> int:
        """Fills arrays; never sampled."""

    def encode(self, text: str) -> list[int]:
        """The ids of plain text; control-token text in it stays text."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; control tokens and padding ids are nothing, broken characters U+FFFD."""


@runtime_checkable
class RoleTokenizer(Tokenizer, Protocol):
    """A tokenizer whose messages are: the ids that open the role, the content, the end token."""

    def header(self, role: Role) -> Sequence[int]:
        """The control tokens that open a message of this role."""


@runtime_checkable
class TemplateTokenizer(Tokenizer, Protocol):
    """A tokenizer that writes conversations by a chat template."""

    @property
    def end_texts(self) -> Mapping[int, str]:
        """The tokens that end a turn, as a template writes them."""

    @property
    def control_texts(self) -> Mapping[int, str]:
        """All control tokens, as a template writes them."""

    def apply_template(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> str:
        """The conversation as the chat template writes it; TokenizerError where the template refuses it."""

    def decode_turn(self, ids: Iterable[int]) -> str:
        """The text of a sampled turn, its control tokens written out."""

    def protect_turn(self, ids: Iterable[int]) -> str:
        """The same, in which only what was sampled as a control token can be read as one."""

    def protect(self, text: str) -> str:
        """`text` with control-token text made unreadable as such."""

    def restore(self, text: str) -> str:
        """What was protected."""

    def encode_protected(self, text: str) -> list[int]:
        """The ids of a template's text: its own control tokens are control tokens, protected text is plain."""


def end_ids_of(tokenizer: Tokenizer) -> frozenset[int]:
    """All tokens that end a turn: `tokenizer.end_ids` where it has them, else `eos_id` alone."""
    ends: Iterable[int] = getattr(tokenizer, "end_ids", ())
    return frozenset(ends) | {tokenizer.eos_id}


def turn_text(tokenizer: Tokenizer, ids: Iterable[int]) -> str:
    """The text of a sampled turn; its control tokens are written out where the tokenizer knows their text."""
    return tokenizer.decode_turn(ids) if isinstance(tokenizer, TemplateTokenizer) else tokenizer.decode(ids)


class ByteTokenizer:
    """One id a byte of UTF-8, then the control tokens. Nothing to download.

    Args:
        vocab_size: V, at least 262; more gives padding ids, which decode to nothing.
    """

    num_tokens = 262
    pad_id = 256
    eos_id = 257
    _HEADERS: Mapping[Role, tuple[int]] = {"system": (258,), "user": (259,), "assistant": (260,), "tool": (261,)}

    def __init__(self, vocab_size: int = 264) -> None:
        if vocab_size < self.num_tokens:
            raise ConfigError(f"vocab_size is {vocab_size}, but 256 bytes and 6 control tokens need at least 262.")
        self.vocab_size = vocab_size

    def encode(self, text: str) -> list[int]:
        return list(text.encode("utf-8", "replace"))

    def decode(self, ids: Iterable[int]) -> str:
        return bytes(token for token in ids if token < 256).decode("utf-8", "replace")

    def header(self, role: Role) -> Sequence[int]:
        return self._HEADERS[role]

    def __repr__(self) -> str:
        return f"ByteTokenizer(vocab_size={self.vocab_size})"


def is_missing_folder(source: str | Path) -> bool:
    """True where `source` can only be meant as a folder (a hub id has one slash at most), and there is none."""
    text = str(source)
    is_path = isinstance(source, Path) or text.startswith((".", "/", "~")) or text.count("/") > 1
    return is_path and not Path(source).exists()


def load_tokenizer(tokenizer: Any, *, vocab_size: int | None = None) -> Tokenizer:
    """The tokenizer that is meant.

    Args:
        tokenizer: "bytes", a folder or hub id that transformers can load, a transformers tokenizer, or any
            object with the members of `Tokenizer`.
        vocab_size: V, where the tokenizer does not decide it: the width of the model's logits.

    Raises:
        TokenizerError: it cannot be loaded, or lacks an end token or a way to write messages.
        MissingExtraError: transformers is needed and not installed.
    """
    if tokenizer == "bytes":
        return ByteTokenizer(vocab_size or 264)
    if isinstance(tokenizer, Tokenizer):
        return tokenizer
    if isinstance(tokenizer, (str, Path)) or hasattr(tokenizer, "apply_chat_template"):
        if isinstance(tokenizer, (str, Path)) and is_missing_folder(tokenizer):
            raise TokenizerError(
                f"There is no tokenizer folder {str(tokenizer)!r}. Check the path. A folder holds tokenizer.json, a "
                "hub id is 'organization/name', and 'bytes' needs no files."
            )
        require("transformers", extra="train", purpose=f"The tokenizer {str(tokenizer)[:80]!r}")
        from .hf_tokenizer import HFTokenizer

        return HFTokenizer.load(tokenizer, vocab_size=vocab_size)
    raise TokenizerError(
        f"{type(tokenizer).__name__} is not a tokenizer. Pass 'bytes', a folder or hub id, a transformers "
        f"tokenizer, or an object with vocab_size, num_tokens, eos_id, pad_id, encode and decode."
    )
