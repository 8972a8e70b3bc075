"""What can be put around an environment, and Gymnasium does not have: recording, and a price for length."""

import inspect
import json
from collections.abc import Awaitable, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs

from ..errors import ConfigError, InfrastructureError
from ..messages import AssistantMessage, ToolCall
from ..scoring import Score
from .message_env import EnvResponse, InitialMessages, MessageEnv
from .tasks import Task, TaskSource
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


class LengthPenalty(MessageEnv):
    """Takes a price from a turn's reward for each sampled token beyond the first few.

    It stands around the `MessageEnv`, not around the Gymnasium environment, so that every view, the collector and the
    stored trajectory agree on the reward. Turns that a budget cut are not scored, so they cost nothing.

    Args:
        env: the environment whose turns are to be short.
        per_token: the price of a token.
        free_tokens: of each turn, its end token included.

    Raises:
        ConfigError: a number is negative.
    """

    def __init__(self, env: MessageEnv, *, per_token: float, free_tokens: int = 0) -> None:
        if per_token < 0 or free_tokens < 0:
            raise ConfigError(f"per_token is {per_token} and free_tokens {free_tokens}, but neither may be negative.")
        self.env, self.per_token, self.free_tokens = env, per_token, free_tokens
        self.tools = env.tools
        self.default_limits = env.default_limits  # type: ignore[misc]
        lowest, highest = env.reward_range
        self.reward_range = (lowest - per_token * env.default_limits.episode_tokens, highest)

    def tasks(self, split: str) -> TaskSource:
        return self.env.tasks(split)

    def reset(self, task: Task, rng: np.random.Generator) -> InitialMessages:
        return self.env.reset(task, rng)

    def step(self, message: AssistantMessage) -> EnvResponse | Awaitable[EnvResponse]:
        response = self.env.step(message)
        penalty = self.per_token * max(0, len(message.token_ids) - self.free_tokens)
        if inspect.isawaitable(response):
            return self._charge_later(response, penalty)
        return self._charge(response, penalty)

    def solve(self, task: Task) -> Sequence[str | ToolCall] | None:
        return self.env.solve(task)

    def close(self) -> None:
        self.env.close()

    async def _charge_later(self, response: Awaitable[EnvResponse], penalty: float) -> EnvResponse:
        return self._charge(await response, penalty)

    def _charge(self, response: EnvResponse, penalty: float) -> EnvResponse:
        if not penalty:
            return response
        score = response.score or Score(reward=0.0)
        parts = {**score.parts, "length_penalty": -penalty}
        return replace(response, score=replace(score, reward=score.reward - penalty, parts=parts))
