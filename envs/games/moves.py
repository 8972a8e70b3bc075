"""Moves on a grid, written in words."""

from collections.abc import Sequence
from typing import NamedTuple

from llmgym.episode import Limits
from llmgym.errors import ConfigError

_TURN_TOKENS, _REPLY_TOKENS = 96, 160


class Cell(NamedTuple):
    """A place on a grid; row 0 is the top, column 0 the left."""

    row: int
    column: int

    def next_to(self, direction: str) -> "Cell":
        """The neighbour in a direction, which may be off the grid."""
        down, right = DIRECTIONS[direction]
        return Cell(self.row + down, self.column + right)

    def before(self, direction: str) -> "Cell":
        """The cell whose neighbour in a direction this one is."""
        down, right = DIRECTIONS[direction]
        return Cell(self.row - down, self.column - right)


DIRECTIONS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
"""Rows down and columns right of each move."""

_SHORT = {name[0]: name for name in DIRECTIONS}


def last_line(text: str) -> str:
    """What a turn says to do: its last line that is not blank, "" where there is none. Lines before it are thoughts."""
    lines = text.split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def read_moves(text: str, *, max_moves: int) -> list[str] | str:
    """The moves in the last line of a turn, or what is wrong with it, in words that the policy can act on.

    Moves are words of `DIRECTIONS` or their first letters, between spaces or commas, in any case.
    """
    words = last_line(text).lower().replace(",", " ").split()
    if not words:
        return f"say where to go: {', '.join(DIRECTIONS)}"
    moves = [_SHORT.get(word, word) for word in words]
    for word, move in zip(words, moves, strict=True):
        if move not in DIRECTIONS:
            return f"{word[:20]!r} is no move; the last line may hold {', '.join(DIRECTIONS)}, with spaces between"
    if len(moves) > max_moves:
        return f"{len(moves)} moves in one turn are too many; make {max_moves} or fewer"
    return moves


def write_moves(moves: Sequence[str], *, max_moves: int) -> list[str]:
    """The turns that make these moves, with as many moves each as a turn may have."""
    return [" ".join(moves[start : start + max_moves]) for start in range(0, len(moves), max_moves)]


def limits_of(turns: int) -> Limits:
    """Budgets of a game of so many turns, each answered with a board."""
    return Limits(
        turns=turns,
        turn_tokens=_TURN_TOKENS,
        episode_tokens=turns * _TURN_TOKENS,
        context_tokens=max(2048, turns * (_TURN_TOKENS + _REPLY_TOKENS)),
    )


def require_range(name: str, value: float, low: float, high: float) -> None:
    """Raises ConfigError where a setting is not within [low, high], or a whole number is asked for and not given."""
    is_whole = isinstance(low, int) and isinstance(high, int)
    if isinstance(value, bool) or not isinstance(value, int if is_whole else int | float) or not low <= value <= high:
        kind = "a whole number" if is_whole else "a number"
        raise ConfigError(f"{name} is {value!r}, but it must be {kind} from {low} to {high}.")
