"""Gymnasium spaces for a vocabulary of 150,000 tokens and for text, cheap to make, check, copy and pickle.

Gymnasium's `Sequence(Discrete(V))` needs milliseconds to check one turn, and its `Text` holds a fixed alphabet.
Batches of both spaces are Gymnasium's own: a `Tuple` of copies, whose elements are tuples. `iterate` must stay
unregistered for them, or Gymnasium would iterate over the tokens of each element of such a tuple.
"""

from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Space
from gymnasium.spaces.utils import flatdim, flatten, flatten_space, unflatten
from gymnasium.vector.utils import (
    create_empty_array,
    create_shared_memory,
    read_from_shared_memory,
    write_to_shared_memory,
)

from ..errors import ConfigError

_LONGEST_TOKEN_SAMPLE = 32
_LONGEST_TEXT_SAMPLE = 8
_SAMPLE_CHARACTERS = "abcdefghijklmnopqrstuvwxyz     "
_PADDING = -1
"""Fills a flattened element up to the space's `max_length`."""


class Tokens(Space[np.ndarray]):
    """int32 vectors of 1 to `max_length` token ids; an end token only ever comes last.

    `contains` also takes int64 vectors, lists and tuples of ints. Samples are short and end in the end token:
    random turns for tests, not a policy. Flattened, an element is padded with -1 to `max_length`.

    Args:
        vocab_size: ids are below it.
        max_length: ids of the longest element.
        end_id: the end token, or None.
        seed: of `sample`.
        other_end_ids: of further tokens that only come last.

    Raises:
        ConfigError: a number is out of range.
    """

    def __init__(
        self,
        vocab_size: int,
        max_length: int,
        end_id: int | None = None,
        seed: int | np.random.Generator | None = None,
        *,
        other_end_ids: Iterable[int] = (),
    ) -> None:
        if vocab_size < 1 or max_length < 1:
            raise ConfigError(f"Tokens({vocab_size}, {max_length}) is empty. Both numbers must be at least 1.")
        self.end_ids = tuple(sorted({*other_end_ids} | ({end_id} if end_id is not None else set())))
        for end in self.end_ids:
            if not 0 <= end < vocab_size:
                raise ConfigError(f"end_id is {end}, but the vocabulary's ids are 0 to {vocab_size - 1}.")
        self.vocab_size, self.max_length, self.end_id = vocab_size, max_length, end_id
        super().__init__(dtype=np.int32, seed=seed)

    def contains(self, x: Any) -> bool:
        if isinstance(x, (list, tuple)):
            try:
                x = np.frombuffer(array("q", x), dtype=np.int64)
            except (TypeError, OverflowError):
                return False
        if not isinstance(x, np.ndarray) or x.ndim != 1 or not 1 <= x.size <= self.max_length:
            return False
        if x.dtype == np.int32:
            ids = x.view(np.uint32)
        elif x.dtype == np.int64:
            ids = x.view(np.uint64)
        else:
            return False
        # Seen as unsigned, a negative id is a huge one: one pass finds both kinds of stray ids.
        if ids.max() >= self.vocab_size:
            return False
        return not any((ids[:-1] == end).any() for end in self.end_ids)

    def sample(self, mask: None = None, probability: None = None) -> np.ndarray:
        """A short random element; a random turn for tests, not a policy.

        Raises:
            ConfigError: a mask was passed. Sampling with a mask over a vocabulary is a policy's work.
        """
        _refuse_masks(mask, probability)
        length = int(self.np_random.integers(1, max(1, min(self.max_length - 1, _LONGEST_TOKEN_SAMPLE)) + 1))
        num_others = self.vocab_size - len(self.end_ids)
        if not num_others:
            return np.array(self.end_ids[:1], dtype=np.int32)
        ids = self.np_random.integers(num_others, size=length, dtype=np.int32)
        for end in self.end_ids:
            ids += ids >= end
        if self.end_id is not None:
            ids[-1] = self.end_id
        return ids

    @property
    def is_np_flattenable(self) -> bool:
        return True

    def to_jsonable(self, sample_n: Iterable[np.ndarray]) -> list[list[int]]:
        return [np.asarray(ids).tolist() for ids in sample_n]

    def from_jsonable(self, sample_n: list[Any]) -> list[np.ndarray]:
        return [np.asarray(ids, dtype=np.int32) for ids in sample_n]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokens) and (self.vocab_size, self.max_length, self.end_id, self.end_ids) == (
            other.vocab_size,
            other.max_length,
            other.end_id,
            other.end_ids,
        )

    __hash__ = None  # type: ignore[assignment]  # like every space: it holds a random stream

    def __repr__(self) -> str:
        end = "" if self.end_id is None else f", end_id={self.end_id}"
        return f"Tokens({self.vocab_size}, {self.max_length}{end})"


class UnicodeText(Space[str]):
    """Any text of up to `max_length` characters that UTF-8 can hold, so without lone surrogates.

    Flattened, an element is its code points, padded with -1 to `max_length`.

    Args:
        max_length: characters of the longest element.
        seed: of `sample`, which gives a few lower-case words.

    Raises:
        ConfigError: `max_length` is below 1.
    """

    def __init__(self, max_length: int, seed: int | np.random.Generator | None = None) -> None:
        if max_length < 1:
            raise ConfigError(f"UnicodeText({max_length}) holds only the empty text. Use a max_length of at least 1.")
        self.max_length = max_length
        super().__init__(dtype=str, seed=seed)

    def contains(self, x: Any) -> bool:
        if not isinstance(x, str) or len(x) > self.max_length:
            return False
        if x.isascii():
            return True
        try:
            x.encode()
        except UnicodeEncodeError:
            return False
        return True

    def sample(self, mask: None = None, probability: None = None) -> str:
        """A short random text.

        Raises:
            ConfigError: a mask was passed.
        """
        _refuse_masks(mask, probability)
        length = int(self.np_random.integers(1, min(self.max_length, _LONGEST_TEXT_SAMPLE) + 1))
        return "".join(_SAMPLE_CHARACTERS[i] for i in self.np_random.integers(len(_SAMPLE_CHARACTERS), size=length))

    @property
    def is_np_flattenable(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnicodeText) and self.max_length == other.max_length

    __hash__ = None  # type: ignore[assignment]  # like every space: it holds a random stream

    def __repr__(self) -> str:
        return f"UnicodeText({self.max_length})"


def _refuse_masks(mask: object, probability: object) -> None:
    if mask is not None or probability is not None:
        raise ConfigError("Samples of this space take no mask. Draw tokens from the policy's own distribution.")


@flatdim.register(Tokens)
@flatdim.register(UnicodeText)
def _flatdim(space: Tokens | UnicodeText) -> int:
    return space.max_length


@flatten_space.register(Tokens)
def _flatten_tokens_space(space: Tokens) -> Box:
    return Box(_PADDING, space.vocab_size - 1, (space.max_length,), np.int32)


@flatten_space.register(UnicodeText)
def _flatten_text_space(space: UnicodeText) -> Box:
    return Box(_PADDING, 0x10FFFF, (space.max_length,), np.int32)


# mypy cannot match a subclass of Space[...] with the generic Space[T] of the next two functions.
@flatten.register(Tokens)
def _flatten_tokens(space: Tokens, x: Any) -> np.ndarray:  # type: ignore[misc]
    return _padded(np.asarray(x, dtype=np.int32), space.max_length)


@flatten.register(UnicodeText)
def _flatten_text(space: UnicodeText, x: str) -> np.ndarray:  # type: ignore[misc]
    return _padded(_code_points(x), space.max_length)


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), dtype="<i4")


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    flat = np.full(length, _PADDING, dtype=np.int32)
    flat[: values.size] = values
    return flat


@unflatten.register(Tokens)
def _unflatten_tokens(_: Tokens, x: np.ndarray) -> np.ndarray:  # type: ignore[misc]
    ids: np.ndarray = x[x != _PADDING].astype(np.int32)
    return ids


@unflatten.register(UnicodeText)
def _unflatten_text(_: UnicodeText, x: np.ndarray) -> str:  # type: ignore[misc]
    code_points: np.ndarray = x[x != _PADDING]
    return code_points.astype("<i4").tobytes().decode("utf-32-le")


@create_empty_array.register(Tokens)
def _empty_tokens(_: Tokens, n: int = 1, fn: Callable[..., np.ndarray] = np.zeros) -> tuple[np.ndarray, ...]:
    del fn  # np.empty would give ids outside the vocabulary
    return tuple(np.zeros(1, dtype=np.int32) for _ in range(n))


@create_empty_array.register(UnicodeText)
def _empty_text(_: UnicodeText, n: int = 1, fn: Callable[..., np.ndarray] = np.zeros) -> tuple[str, ...]:
    del fn
    return ("",) * n


@create_shared_memory.register(Tokens)
@create_shared_memory.register(UnicodeText)
def _create_shared_memory(space: Tokens | UnicodeText, n: int = 1, ctx: Any = None) -> Any:
    """A row for each environment: the element's length, then the element flattened, without its padding."""
    return ctx.Array("i", n * (space.max_length + 1))


def _rows(space: Tokens | UnicodeText, shared_memory: Any) -> np.ndarray:
    return np.frombuffer(shared_memory.get_obj(), dtype=np.int32).reshape(-1, space.max_length + 1)


@write_to_shared_memory.register(Tokens)
@write_to_shared_memory.register(UnicodeText)
def _write_to_shared_memory(space: Tokens | UnicodeText, index: int, value: Any, shared_memory: Any) -> None:
    values = _code_points(value) if isinstance(value, str) else np.asarray(value, dtype=np.int32)
    row = _rows(space, shared_memory)[index]
    row[0] = values.size
    row[1 : 1 + values.size] = values


@read_from_shared_memory.register(Tokens)
@read_from_shared_memory.register(UnicodeText)
def _read_from_shared_memory(space: Tokens | UnicodeText, shared_memory: Any, n: int = 1) -> "_SharedBatch":
    return _SharedBatch(space, _rows(space, shared_memory)[:n])


class _SharedBatch(Sequence[Any]):
    """A batch that is read from shared memory when looked at.

    `AsyncVectorEnv` reads the memory once, when it is made, and copies what it read at each step; a plain tuple
    would show the first observations for ever. A deep copy is a plain tuple of what is there now.
    """

    def __init__(self, space: Tokens | UnicodeText, rows: np.ndarray) -> None:
        self._space, self._rows = space, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(self)[index]
        row = self._rows[index]
        return unflatten(self._space, row[1 : 1 + row[0]])

    def __deepcopy__(self, memo: dict[int, Any]) -> tuple[Any, ...]:
        return tuple(self)
