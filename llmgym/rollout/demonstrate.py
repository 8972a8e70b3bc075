"""Demonstrations: written turns, played through the real environment, so that their tokens are exact too."""

from collections.abc import Sequence

from ..episode import Role, Task, TokenEnv, Trajectory
from ..episode.token_env import noise_rng
from ..errors import ConfigError


def demonstrate(env: TokenEnv, task: Task, turns: Sequence[str], *, seed: int = 0) -> Trajectory:
    """Play `turns` on `task`; what the environment answers in between is its own.

    Args:
        env: the environment, in any view.
        task: what to do.
        turns: the policy's texts, without end tokens; `env.solve(task)` gives the reference turns.
        seed: of the environment's randomness.

    Raises:
        ConfigError: a turn does not fit the budgets, or the episode ended before the last one.
    """
    episode = env.episode
    episode.begin(task, noise_rng(seed))
    for index, text in enumerate(turns):
        if episode.is_over:
            raise ConfigError(f"The episode on task {task.key!r} ended before turn {index} of {len(turns)}: {text!r}.")
        ids = env.encode_turn(text)
        if len(ids) > episode.room:
            raise ConfigError(
                f"The demonstration {text!r} has {len(ids)} tokens, but the turn has room for {episode.room}. "
                "Raise the limits or shorten it."
            )
        if episode.feed(ids):
            episode.answer()
    env_id = env.spec.id if env.spec is not None else ""
    return episode.trajectory(env_id=env_id, seed=seed, role=Role.DEMONSTRATION)
