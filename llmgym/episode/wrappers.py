"""What can be put around an environment, and Gymnasium does not have: recording."""

import json
from os import PathLike
from pathlib import Path
from typing import Any

import gymnasium as gym
from gymnasium.utils import RecordConstructorArgs

from ..errors import ConfigError, InfrastructureError
from .token_env import TokenEnv
from .trajectory_json import trajectory_to_json


class RecordTrajectories(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Appends each finished episode to a JSONL file, as `trajectory_from_json` reads it.

    An episode that our machinery failed is recorded too, with `is_valid` false; one that was left before its end is
    recorded as aborted, on the next `reset` or on `close`.

    Args:
        env: an environment of llmgym, in any view, also under other wrappers.
        path: of the file; its folder is made. Episodes are appended to what is there.

    Raises:
        ConfigError: the innermost environment is not llmgym's.
    """

    def __init__(self, env: gym.Env[Any, Any], path: str | PathLike[str]) -> None:
        RecordConstructorArgs.__init__(self, path=str(path))
        gym.Wrapper.__init__(self, env)
        if not isinstance(env.unwrapped, TokenEnv):
            raise ConfigError(
                f"RecordTrajectories records environments of llmgym, but {env.unwrapped} is a "
                f"{type(env.unwrapped).__name__}."
            )
        self.path = Path(path)
        self._token_env = env.unwrapped
        self._num_steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._finish()
        return self.env.reset(seed=seed, options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        try:
            result = self.env.step(action)
        except InfrastructureError:
            self._num_steps += 1
            self._finish()
            raise
        self._num_steps += 1
        if result[2] or result[3]:
            self._finish()
        return result

    def close(self) -> None:
        self._finish()
        self.env.close()

    def _finish(self) -> None:
        if not self._num_steps:
            return
        self._num_steps = 0
        line = json.dumps(trajectory_to_json(self._token_env.trajectory()))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
