"""A cold start: supervised learning on demonstrations, some of which are no good.

A model that is to be improved by its own samples must first sample something right now and then. Demonstrations mix
the environment's reference turns with guesses, so that it begins able to do the task, and far from always doing it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..episode import TokenEnv, Trajectory
from ..errors import ConfigError
from ..learning import Agent, Learner, LearnerConfig, Policy
from ..registry import AGENTS
from ..rollout import TaskCursor, demonstrate
from ..settings import from_mapping


@dataclass(frozen=True, kw_only=True)
class ColdStartConfig:
    """Settings of the cold start."""

    num_demonstrations: int = 8000
    """Demonstrations of training tasks; where there are fewer tasks, they come round again."""
    solve_share: float = 0.5
    """Share that shows the reference turns; the others answer at once, and with the last line of another task's."""
    steps: int = 500
    """Optimizer steps."""
    batch_size: int = 64
    """Demonstrations of a step."""
    learner: Mapping[str, Any] = field(default_factory=dict)
    """Settings of this phase's learner."""

    def __post_init__(self) -> None:
        for name in ("num_demonstrations", "steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"cold_start.{name} is {getattr(self, name)}, but it must be at least 1.")
        if not 0 <= self.solve_share <= 1:
            raise ConfigError(f"cold_start.solve_share is {self.solve_share}, but it is a share from 0 to 1.")
        if self.learner_config(seed=0).lora is not None:
            raise ConfigError(
                "cold_start.learner.lora is set, but a cold start trains all weights: the adapter of the run is put on "
                "what comes of it. Write the table as [learner.lora]."
            )

    def learner_config(self, *, seed: int) -> LearnerConfig:
        """The settings of this phase's learner, its schedule ending with its steps."""
        return from_mapping(
            LearnerConfig, {"total_steps": self.steps, "seed": seed, **self.learner}, where="cold_start.learner"
        )


def make_demonstrations(
    env: TokenEnv, cursor: TaskCursor, config: ColdStartConfig, *, seed: int
) -> Iterator[Trajectory]:
    """Demonstrations of the next tasks, reference turns and guesses mixed at random.

    Raises:
        ConfigError: the environment has no reference turns.
    """
    rng = np.random.default_rng((seed, 0xC01D))
    last_answer: str | None = None
    for _ in range(config.num_demonstrations):
        task = cursor.next()
        turns = env.solve(task)
        if turns is None:
            raise ConfigError(
                f"{type(env.message_env).__name__} has no reference turns, so there is nothing to demonstrate. "
                "Leave [cold_start] out and begin with a model that can do the task now and then, or write `solve`."
            )
        is_guess = last_answer is not None and rng.random() >= config.solve_share
        shown = [last_answer] if is_guess and last_answer is not None else turns
        last_answer = turns[-1].rpartition("\n")[2]  # without what was worked out before it
        yield demonstrate(env, task, shown, seed=int(rng.integers(2**31)))


def run_cold_start(
    policy: Policy,
    demonstrations: list[Trajectory],
    config: ColdStartConfig,
    *,
    seed: int,
    on_step: Callable[[int, Mapping[str, float]], None],
    make_learner: Callable[[Policy, Agent, LearnerConfig], Learner] = Learner,
) -> None:
    """Train `policy` on the demonstrations, reshuffled each pass."""
    learner = make_learner(policy, AGENTS.lookup("sft")(), config.learner_config(seed=seed))
    rng = np.random.default_rng((seed, 0x5F7))
    order: list[int] = []
    for step in range(config.steps):
        while len(order) < config.batch_size:
            order += rng.permutation(len(demonstrations)).tolist()
        chosen, order = order[: config.batch_size], order[config.batch_size :]
        on_step(step, learner.update([[demonstrations[index] for index in chosen]]))
    learner.copy_back()
