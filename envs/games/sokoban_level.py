"""Sokoban levels: rules, text, and generation backwards from the solved state, which knows the fewest pushes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from .moves import DIRECTIONS, Cell

_MAX_STATES = 20_000
"""Of one backward search; what was found by then is exact, as the search goes by number of pushes."""
_MAX_TRIES = 200
"""Rooms that are made before a level of the wanted number of pushes is given up."""
_MAX_LEVELS = 50
"""Levels of one room that are offered."""


@dataclass(frozen=True)
class Level:
    """A room and who stands where."""

    height: int
    width: int
    walls: frozenset[Cell]
    goals: frozenset[Cell]
    boxes: frozenset[Cell]
    player: Cell

    @property
    def num_on_goals(self) -> int:
        return len(self.boxes & self.goals)

    @property
    def is_solved(self) -> bool:
        return self.boxes <= self.goals

    def moved(self, direction: str) -> Level:
        """The level after a move; the same one where a wall, or a box that cannot be pushed, is in the way."""
        cell = self.player.next_to(direction)
        if cell in self.walls:
            return self
        if cell not in self.boxes:
            return replace(self, player=cell)
        beyond = cell.next_to(direction)
        if beyond in self.walls or beyond in self.boxes:
            return self
        return replace(self, player=cell, boxes=self.boxes - {cell} | {beyond})

    def to_text(self) -> str:
        """A line for each row, in the signs that Sokoban levels are written in, with "-" for the floor."""
        return "\n".join(
            "".join(self._sign(Cell(row, column)) for column in range(self.width)) for row in range(self.height)
        )

    def _sign(self, cell: Cell) -> str:
        if cell in self.walls:
            return "#"
        if cell in self.boxes:
            return "*" if cell in self.goals else "$"
        if cell == self.player:
            return "+" if cell in self.goals else "@"
        return "." if cell in self.goals else "-"


def level_from_text(text: str) -> Level:
    """The level that `Level.to_text` wrote."""
    rows = text.split("\n")
    cells = {Cell(row, column): sign for row, line in enumerate(rows) for column, sign in enumerate(line)}
    where = {signs: frozenset(cell for cell, sign in cells.items() if sign in signs) for signs in ("#", ".*+", "$*")}
    (player,) = (cell for cell, sign in cells.items() if sign in "@+")
    return Level(len(rows), len(rows[0]), where["#"], where[".*+"], where["$*"], player)


def walk(start: Cell, blocked: frozenset[Cell]) -> dict[Cell, tuple[str, ...]]:
    """A shortest walk to each cell that can be reached around what is blocked."""
    walks: dict[Cell, tuple[str, ...]] = {start: ()}
    frontier = [start]
    for cell in frontier:
        for direction in DIRECTIONS:
            neighbour = cell.next_to(direction)
            if neighbour not in blocked and neighbour not in walks:
                walks[neighbour] = (*walks[cell], direction)
                frontier.append(neighbour)
    return walks


def dead_cells(level: Level) -> frozenset[Cell]:
    """Floor from which no box can ever be pushed to a goal, whatever the other boxes do."""
    alive = set(level.goals)
    frontier = list(alive)
    for cell in frontier:
        for direction in DIRECTIONS:
            origin, behind = cell.before(direction), cell.before(direction).before(direction)
            if origin not in level.walls and behind not in level.walls and origin not in alive:
                alive.add(origin)
                frontier.append(origin)
    return frozenset(_inner_cells(level.height, level.width)) - level.walls - alive


def generate(
    rng: np.random.Generator,
    *,
    size: int,
    num_boxes: int,
    min_pushes: int,
    max_pushes: int,
    accept: Callable[[Level], bool],
) -> tuple[Level, int, list[str]] | None:
    """A level with no box on a goal, the fewest pushes that solve it, and moves that do so with as many.

    None where no room of many tries has such a level.

    Args:
        rng: of everything that is drawn.
        size: rows and columns.
        num_boxes: boxes, and goals.
        min_pushes: fewest pushes of the level, at least so many.
        max_pushes: fewest pushes of the level, at most so many.
        accept: whether a level will do; some of each room are asked about.
    """
    for _ in range(_MAX_TRIES):
        room = _room(rng, size, num_boxes)
        if room is None:
            continue
        pulled = _pulled(room, max_pushes)
        found = [state for state, (pushes, _) in pulled.items() if pushes >= min_pushes and not state[0] & room.goals]
        for index in rng.permutation(len(found))[:_MAX_LEVELS]:
            boxes, player = found[index]
            standing = sorted(walk(player, room.walls | boxes))
            level = replace(room, boxes=boxes, player=standing[int(rng.integers(len(standing)))])
            if accept(level):
                return level, pulled[boxes, player][0], _pushed(level, found[index], pulled)
    return None


def _room(rng: np.random.Generator, size: int, num_boxes: int) -> Level | None:
    """A solved room: walls around, a fifth of the inside walled up, all floor connected; None where it is not."""
    inner = list(_inner_cells(size, size))
    border = {Cell(row, column) for row in range(size) for column in range(size)} - set(inner)
    order = [inner[index] for index in rng.permutation(len(inner))]
    num_walls = len(inner) // 5
    walls, floor = border | set(order[:num_walls]), order[num_walls:]
    if len(walk(floor[0], frozenset(walls))) < len(floor):
        return None
    goals = frozenset(floor[:num_boxes])
    return Level(size, size, frozenset(walls), goals, goals, floor[num_boxes])


State = tuple[frozenset[Cell], Cell]
"""Boxes, and the first of the cells that the player can reach."""


def _pulled(room: Level, max_pushes: int) -> dict[State, tuple[int, State | None]]:
    """States, each with the fewest pushes from it to solved, and the state after the first of them.

    A push undone is a pull, so a search by pulls from the solved states finds those numbers.
    """
    floor = set(_inner_cells(room.height, room.width)) - room.walls
    near = {cell: {d: cell.next_to(d) for d in DIRECTIONS if cell.next_to(d) in floor} for cell in floor}
    free = floor - room.goals
    pulled: dict[State, tuple[int, State | None]] = {}
    while free:  # the player ends on one side of the boxes or another
        side = _reach(min(free), room.goals, near)
        free -= side
        pulled[room.goals, min(side)] = (0, None)
    frontier = list(pulled)
    for state in frontier:
        num_pushes = pulled[state][0]
        if num_pushes == max_pushes or len(pulled) >= _MAX_STATES:
            break
        for earlier in _pulls(state, near):
            if earlier not in pulled:
                pulled[earlier] = (num_pushes + 1, state)
                frontier.append(earlier)
    return pulled


def _pushed(level: Level, state: State, pulled: Mapping[State, tuple[int, State | None]]) -> list[str]:
    """Moves that solve a level: from its state, the pulls that led there undone one after the other."""
    moves: list[str] = []
    while (after := pulled[state][1]) is not None:
        (origin,), (target,) = level.boxes - after[0], after[0] - level.boxes
        direction = next(direction for direction in DIRECTIONS if origin.next_to(direction) == target)
        moves += [*walk(level.player, level.walls | level.boxes)[origin.before(direction)], direction]
        level, state = replace(level, boxes=after[0], player=origin), after
    return moves


def _pulls(state: State, near: Mapping[Cell, Mapping[str, Cell]]) -> Iterator[State]:
    boxes, player = state
    reach = _reach(player, boxes, near)
    for box in sorted(boxes):
        for direction, origin in near[box].items():  # the box came from there, and now the player stands there
            behind = near[origin].get(direction)
            if origin in reach and behind is not None and behind not in boxes:
                earlier = boxes - {box} | {origin}
                yield earlier, min(_reach(behind, earlier, near))


def _reach(start: Cell, boxes: frozenset[Cell], near: Mapping[Cell, Mapping[str, Cell]]) -> set[Cell]:
    """The cells that the player can reach. As `walk`, without the ways: levels are made of thousands of these."""
    reached, frontier = {start}, [start]
    while frontier:
        for cell in near[frontier.pop()].values():
            if cell not in reached and cell not in boxes:
                reached.add(cell)
                frontier.append(cell)
    return reached


def _inner_cells(height: int, width: int) -> Iterator[Cell]:
    return (Cell(row, column) for row in range(1, height - 1) for column in range(1, width - 1))
