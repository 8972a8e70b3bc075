"""Sokoban: push every box onto a goal, with moves in words."""

from collections.abc import Sequence
from functools import partial
from math import ceil

import numpy as np

from llmgym.episode import EnvResponse, GeneratedTasks, InitialMessages, MessageEnv, Task, TaskSource, split_of
from llmgym.errors import ConfigError
from llmgym.messages import AssistantMessage, Message
from llmgym.scoring import Score

from ..prompt import PromptWording
from .moves import limits_of, read_moves, require_range, write_moves
from .sokoban_level import Level, dead_cells, generate, level_from_text

_PROMPT = """\
Sokoban: push every box ($) onto a goal (.). You are @, walls are #, floor is -.
A box on a goal is *, you on a goal are +.
You push a box by walking into it; you cannot pull, nor push two boxes at once.
The last line of each message makes your moves, such as: up left left

{prompt}"""

_MIN_TURNS = 16
_MOVES_A_PUSH = 8
"""With the walks between pushes, and room for mistakes."""


class SokobanEnv(MessageEnv):
    """Generated Sokoban levels, each solvable; a turn makes a few moves and is answered with the level after them.

    A turn earns `shaping` times the change in the share of boxes on goals, so moving a box on and off a goal sums to
    nothing, and the turn that solves the level earns the rest of 1. At first no box is on a goal. The fewest pushes
    that solve a level are in its task's metadata, as "num_pushes".

    Args:
        size: rows and columns, walls included; 5 to 10.
        boxes: of each level; 1 to 4.
        min_pushes: levels that fewer pushes solve are left out.
        max_pushes: levels that need more pushes are left out.
        moves_per_turn: at most so many moves in a turn.
        shaping: the part of the reward that boxes on goals earn on the way; 0 pays for solved levels alone.
        end_on_deadlock: whether the task ends where a box was pushed to where it can never reach a goal.
        system_prompt: the system message; "" for none.
        prompt_template: the user message, with "{prompt}" where the level goes.

    Raises:
        ConfigError: a setting is out of range; or, with the first task, no such level is found.
    """

    def __init__(
        self,
        *,
        size: int = 7,
        boxes: int = 2,
        min_pushes: int = 6,
        max_pushes: int = 16,
        moves_per_turn: int = 8,
        shaping: float = 0.2,
        end_on_deadlock: bool = False,
        system_prompt: str = "",
        prompt_template: str = _PROMPT,
    ) -> None:
        require_range("size", size, 5, 10)
        require_range("boxes", boxes, 1, 4)
        require_range("min_pushes", min_pushes, 1, 60)
        require_range("max_pushes", max_pushes, min_pushes, 60)
        require_range("moves_per_turn", moves_per_turn, 1, 100)
        require_range("shaping", shaping, 0.0, 1.0)
        self.size, self.boxes = size, boxes
        self.min_pushes, self.max_pushes = min_pushes, max_pushes
        self.moves_per_turn, self.shaping, self.end_on_deadlock = moves_per_turn, shaping, end_on_deadlock
        self.wording = PromptWording(system_prompt, prompt_template)
        turns = max(_MIN_TURNS, ceil(_MOVES_A_PUSH * max_pushes / moves_per_turn))
        self.default_limits = limits_of(turns)  # type: ignore[misc]  # budgets depend on the settings
        self._level: Level | None = None
        self._earned = 0.0

    def tasks(self, split: str) -> TaskSource:
        """Generated without end; a hash of the level decides the split. Raises ConfigError for any other split."""
        return GeneratedTasks(partial(self._make_task, split), split=split)

    def reset(self, task: Task, rng: np.random.Generator) -> InitialMessages:  # noqa: ARG002  nothing is random
        self._level, self._earned = level_from_text(task.prompt), 0.0
        return self.wording.initial_messages(task)

    def step(self, message: AssistantMessage) -> EnvResponse:
        assert self._level is not None, "step follows reset"
        moves = read_moves(message.content, max_moves=self.moves_per_turn)
        if isinstance(moves, str):
            return EnvResponse(messages=(Message("user", moves),), score=Score(reward=0.0, reason="no moves"))
        for move in moves:
            if not self._level.is_solved:
                self._level = self._level.moved(move)
        level, is_over = self._level, self._level.is_solved
        reason = f"{level.num_on_goals} of {self.boxes} boxes on goals"
        if self.end_on_deadlock and level.boxes & dead_cells(level):
            is_over, reason = True, f"{reason}, and one that can never be"
        total = 1.0 if level.is_solved else self.shaping * level.num_on_goals / self.boxes
        reward, self._earned = total - self._earned, total
        score = Score(reward=reward, extracted=" ".join(moves), reason=reason)
        return EnvResponse(messages=(Message("user", level.to_text()),), score=score, terminated=is_over)

    def solve(self, task: Task) -> Sequence[str]:
        """Moves with the fewest pushes."""
        return write_moves(task.metadata["moves"], max_moves=self.moves_per_turn)

    def _make_task(self, split: str, rng: np.random.Generator) -> Task:
        made = generate(
            rng,
            size=self.size,
            num_boxes=self.boxes,
            min_pushes=self.min_pushes,
            max_pushes=self.max_pushes,
            accept=lambda level: split_of(level.to_text()) == split,
        )
        if made is None:
            raise ConfigError(
                f"No level of size {self.size} with {self.boxes} boxes that {self.min_pushes} to {self.max_pushes} "
                "pushes solve was found. Lower min_pushes, or raise size."
            )
        level, num_pushes, moves = made
        return Task(key="", prompt=level.to_text(), metadata={"num_pushes": num_pushes, "moves": tuple(moves)})
