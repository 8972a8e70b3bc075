"""Frozen lake: walk over the ice to the goal and into no hole, on generated maps."""

from collections.abc import Sequence
from math import ceil

import numpy as np

from llmgym.episode import EnvResponse, GeneratedTasks, InitialMessages, MessageEnv, Task, TaskSource
from llmgym.errors import ConfigError
from llmgym.messages import AssistantMessage, Message
from llmgym.scoring import Score

from ..prompt import PromptWording
from .moves import DIRECTIONS, Cell, limits_of, read_moves, require_range, write_moves

_PROMPT = """\
Frozen lake: walk from @ to the goal G. Ice is ., holes are O, and a step into a hole ends the walk.
The last line of each message makes your moves, such as: down right{slippery}

{prompt}"""
_SLIPPERY = "\nThe ice is slippery: a move goes where it should with a chance of 1/3, else to one side of that."
_SIDES = {"up": ("left", "right"), "down": ("left", "right"), "left": ("up", "down"), "right": ("up", "down")}
_MIN_TURNS = 16
_MAX_TRIES = 1000
"""Maps that are drawn before one of the wanted length is given up."""


class FrozenLakeEnv(MessageEnv):
    """Generated maps of ice and holes, each with a safe way; a turn makes moves and is answered with the map.

    Reaching the goal earns 1 in all. On the way, a turn earns `shaping` times the share of the shortest way by which
    the walk came nearer to the goal than ever before, so walking to and fro earns nothing.

    Args:
        size: rows and columns; 3 to 12.
        holes: the chance of each cell to be a hole.
        min_moves: maps that fewer moves solve are left out.
        slippery: whether a move goes to either side as often as where it should; the episode's seed decides. Then no
            reference turns are known.
        moves_per_turn: at most so many moves in a turn.
        shaping: the part of the reward that coming nearer earns; 0 pays for the goal alone.
        system_prompt: the system message; "" for none.
        prompt_template: the user message, with "{prompt}" where the map goes, and "{slippery}", if it likes, where a
            sentence about slippery ice goes.

    Raises:
        ConfigError: a setting is out of range; or, with the first task, no such map is found.
    """

    def __init__(
        self,
        *,
        size: int = 6,
        holes: float = 0.3,
        min_moves: int = 7,
        slippery: bool = False,
        moves_per_turn: int = 4,
        shaping: float = 0.2,
        system_prompt: str = "",
        prompt_template: str = _PROMPT,
    ) -> None:
        require_range("size", size, 3, 12)
        require_range("holes", holes, 0.0, 0.6)
        require_range("min_moves", min_moves, 1, size * size)
        require_range("moves_per_turn", moves_per_turn, 1, 100)
        require_range("shaping", shaping, 0.0, 1.0)
        self.size, self.holes, self.min_moves = size, holes, min_moves
        self.slippery, self.moves_per_turn, self.shaping = slippery, moves_per_turn, shaping
        self.wording = PromptWording(system_prompt, prompt_template.replace("{slippery}", _SLIPPERY * slippery))
        turns = max(_MIN_TURNS, ceil(size * size / moves_per_turn))
        self.default_limits = limits_of(turns)  # type: ignore[misc]  # budgets depend on the settings
        self._map = _Map("@G")
        self._at, self._nearest, self._rng = self._map.start, 0, np.random.default_rng(0)

    def tasks(self, split: str) -> TaskSource:
        return GeneratedTasks(self._make_task, split=split)

    def reset(self, task: Task, rng: np.random.Generator) -> InitialMessages:
        self._map, self._rng = _Map(task.prompt), rng
        self._at, self._nearest = self._map.start, self._map.distance[self._map.start]
        return self.wording.initial_messages(task)

    def step(self, message: AssistantMessage) -> EnvResponse:
        moves = read_moves(message.content, max_moves=self.moves_per_turn)
        if isinstance(moves, str):
            return EnvResponse(messages=(Message("user", moves),), score=Score(reward=0.0, reason="no moves"))
        before, reason = self._nearest, "on the ice"
        for move in moves:
            self._at = self._map.moved(self._at, self._slipped(move))
            self._nearest = min(self._nearest, self._map.distance.get(self._at, before))
            if self._at == self._map.goal:
                reason = "at the goal"
                break
            if self._at in self._map.holes:
                reason = "in a hole"
                break
        reward = self._progress(self._nearest) - self._progress(before)
        score = Score(reward=reward, extracted=" ".join(moves), reason=reason)
        reply = self._map.to_text(self._at)
        return EnvResponse(messages=(Message("user", reply),), score=score, terminated=reason != "on the ice")

    def solve(self, task: Task) -> Sequence[str] | None:
        """A shortest way; None on slippery ice, where no way is sure."""
        return None if self.slippery else write_moves(_Map(task.prompt).way(), max_moves=self.moves_per_turn)

    def _progress(self, distance: int) -> float:
        """What has been earned where the walk was as near as that."""
        if distance == 0:
            return 1.0
        return self.shaping * (1 - distance / self._map.distance[self._map.start])

    def _slipped(self, move: str) -> str:
        return (move, *_SIDES[move])[int(self._rng.integers(3))] if self.slippery else move

    def _make_task(self, rng: np.random.Generator) -> Task:
        for _ in range(_MAX_TRIES):
            signs = np.where(rng.random((self.size, self.size)) < self.holes, "O", ".")
            start, goal = rng.choice(self.size * self.size, size=2, replace=False)
            signs.flat[start], signs.flat[goal] = "@", "G"
            text = "\n".join("".join(row) for row in signs)
            lake = _Map(text)
            if (num_moves := lake.distance.get(lake.start, 0)) >= self.min_moves:
                return Task(key="", prompt=text, metadata={"num_moves": num_moves})
        raise ConfigError(
            f"No map of size {self.size} with holes={self.holes} whose shortest way has {self.min_moves} moves was "
            "found. Lower min_moves, or raise size."
        )


class _Map:
    """A lake, read from its text: where the holes are, and how far each cell is from the goal."""

    def __init__(self, text: str) -> None:
        rows = text.split("\n")
        self.cells = {Cell(row, column): sign for row, line in enumerate(rows) for column, sign in enumerate(line)}
        self.holes = {cell for cell, sign in self.cells.items() if sign == "O"}
        (self.start,) = (cell for cell, sign in self.cells.items() if sign == "@")
        (self.goal,) = (cell for cell, sign in self.cells.items() if sign == "G")
        self.distance = {self.goal: 0}
        """Moves to the goal around the holes, from where there is a way."""
        frontier = [self.goal]
        for cell in frontier:
            for direction in DIRECTIONS:
                near = cell.next_to(direction)
                if near in self.cells and near not in self.holes and near not in self.distance:
                    self.distance[near] = self.distance[cell] + 1
                    frontier.append(near)

    def moved(self, cell: Cell, direction: str) -> Cell:
        """Where a move ends; nothing is beyond the border."""
        near = cell.next_to(direction)
        return near if near in self.cells else cell

    def way(self) -> list[str]:
        """A shortest way from the start."""
        moves, cell = [], self.start
        while cell != self.goal:
            nearer = self.distance[cell] - 1
            moves.append(next(d for d in DIRECTIONS if self.distance.get(cell.next_to(d)) == nearer))
            cell = cell.next_to(moves[-1])
        return moves

    def to_text(self, player: Cell) -> str:
        """The map with "@" where the player is, "X" where that is a hole."""
        signs = {**self.cells, self.start: ".", player: "X" if player in self.holes else "@"}
        rows: dict[int, str] = {}
        for cell in sorted(signs):
            rows[cell.row] = rows.get(cell.row, "") + signs[cell]
        return "\n".join(rows.values())
