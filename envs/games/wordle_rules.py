"""The marks of a guess, and the guess that tells most."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

PRESENT, ELSEWHERE, ABSENT = "+", "?", "-"
"""Marks of a letter: in its right place, in the word at another place, not in the word (or not once more)."""

_MAX_PROBES = 2000
"""Candidates that are weighed as guesses at most, and as many of the first words beside them."""


def marks_of(guess: str, secret: str) -> str:
    """A mark for each letter of a guess.

    Each letter of the secret answers for one letter of the guess: first for one in the right place, then for the
    leftmost others.
    """
    left = Counter(letter for letter, own in zip(secret, guess, strict=True) if letter != own)
    marks = []
    for letter, own in zip(guess, secret, strict=True):
        if letter == own:
            marks.append(PRESENT)
        elif left[letter]:
            left[letter] -= 1
            marks.append(ELSEWHERE)
        else:
            marks.append(ABSENT)
    return "".join(marks)


def candidates(words: Sequence[str], clues: Sequence[tuple[str, str]]) -> list[str]:
    """The words that agree with all (guess, marks)."""
    return [word for word in words if all(marks_of(guess, word) == marks for guess, marks in clues)]


def best_guess(words: Sequence[str], possible: Sequence[str]) -> str:
    """The guess whose marks are expected to tell most about which word is the secret; a possible word where it can be.

    Args:
        words: what may be guessed.
        possible: what the secret may be; at least one word.
    """
    if len(possible) <= 2:
        return possible[0]
    own, all_possible = possible[:_MAX_PROBES], set(possible)
    pool = [*own, *(word for word in words[:_MAX_PROBES] if word not in all_possible)]
    bits = _entropies(pool, possible)
    bits[: len(own)] += 1e-6
    return pool[int(np.argmax(bits))]


def _entropies(guesses: Sequence[str], possible: Sequence[str]) -> np.ndarray:
    """Bits that the marks of each guess are expected to tell, shape (guesses,), all possible words as likely."""
    codes = _codes(_letters(guesses), _letters(possible))
    num_codes = 3 ** len(possible[0])
    places = codes + num_codes * np.arange(len(guesses))[:, None]
    shares = np.bincount(places.ravel(), minlength=num_codes * len(guesses)).reshape(-1, num_codes) / len(possible)
    bits: np.ndarray = -(shares * np.log2(np.where(shares > 0, shares, 1.0))).sum(1)
    return bits


def _codes(guesses: np.ndarray, secrets: np.ndarray) -> np.ndarray:
    """`marks_of` for all pairs at once, as numbers to the base 3; (G, L) and (S, L) letters give shape (G, S)."""
    guess, secret = guesses[:, None, :], secrets[None, :, :]
    is_right = guess == secret
    code = np.zeros(is_right.shape[:2], dtype=np.int64)
    for place in range(guesses.shape[1]):
        letter = guess[:, :, place, None]
        num_left = ((secret == letter) & ~is_right).sum(2)
        num_before = ((guess == letter) & ~is_right)[:, :, :place].sum(2)
        is_elsewhere = ~is_right[:, :, place] & (num_before < num_left)
        code = 3 * code + np.where(is_right[:, :, place], 2, is_elsewhere)
    return code


def _letters(words: Sequence[str]) -> np.ndarray:
    return np.array([list(word.encode("ascii")) for word in words], dtype=np.uint8)
