"""Environments of one kind, for as many episodes at once as are under way."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..episode import TaskSource, TokenEnv
from ..episode.register import make_token_env


class EnvPool:
    """Environments made from one id and the same keywords, which are used again and again.

    Args:
        env_id: in Gymnasium's registry.
        name: what plans and metrics call this kind; its id where "".
        tokenizer: as `gym.make` takes it; it must be that of the sampler's model.
        env_kwargs: further keywords for `gym.make`.
    """

    def __init__(
        self, env_id: str, *, name: str = "", tokenizer: Any = "bytes", env_kwargs: Mapping[str, Any] | None = None
    ) -> None:
        self.env_id, self.name = env_id, name or env_id
        self._kwargs = {**(env_kwargs or {}), "tokenizer": tokenizer, "view": "turn", "observation": "last"}
        self._envs: list[TokenEnv] = []
        self._idle = [self._make()]

    @property
    def example(self) -> TokenEnv:
        """One of the environments, to ask for its tokenizer, limits or reference turns."""
        return self._envs[0]

    @property
    def full_reward(self) -> float:
        """What an episode earns at most; one that does is a success."""
        return self.example.message_env.reward_range[1]

    def tasks(self, split: str) -> TaskSource:
        """The tasks of a split."""
        return self.example.message_env.tasks(split)

    @contextmanager
    def lent(self) -> Iterator[TokenEnv]:
        """An environment for one episode.

        Where that is cancelled or given up, the environment is not used again: a thread may still be at work in it.
        """
        env = self._idle.pop() if self._idle else self._make()
        is_cancelled = False
        try:
            yield env
        except asyncio.CancelledError:
            is_cancelled = True
            raise
        finally:
            if not is_cancelled and not env.episode.is_given_up:
                self._idle.append(env)

    def close(self) -> None:
        """Close all environments."""
        for env in self._envs:
            env.close()

    def _make(self) -> TokenEnv:
        env = make_token_env(self.env_id, disable_env_checker=True, **self._kwargs)
        self._kwargs["tokenizer"] = env.tokenizer  # loaded once
        self._envs.append(env)
        return env
