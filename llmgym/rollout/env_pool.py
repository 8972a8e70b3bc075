"""Environments of one kind, for as many episodes at once as are under way."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Any

from ..episode import TaskSource, TokenEnv
from ..episode.register import make_token_env

_FAILURES_IN_A_ROW = 2
"""After so many an environment is not used again: it may have lost a worker, or what it wrote may be damaged."""


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
        self._num_failures: dict[TokenEnv, int] = {}
        self._idle = [self._make()]
        self.num_replaced = 0
        """Environments that failed again and again, and that another one stands for."""

    @property
    def example(self) -> TokenEnv:
        """One of the environments, to ask for its tokenizer, limits or reference turns."""
        if not self._envs:
            self._idle.append(self._make())
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
                if self._num_failures.get(env, 0) >= _FAILURES_IN_A_ROW:
                    self._replace(env)
                else:
                    self._idle.append(env)

    def tell(self, env: TokenEnv, *, has_failed: bool) -> None:
        """Whether an episode of `env` failed for reasons of its own; one that does so again is not lent again."""
        self._num_failures[env] = self._num_failures.get(env, 0) + 1 if has_failed else 0

    def close(self) -> None:
        """Close all environments, each whatever becomes of the others."""
        with ExitStack() as closing:
            for env in self._envs:
                closing.callback(self._close, env)

    def _replace(self, env: TokenEnv) -> None:
        self.num_replaced += 1
        self._envs.remove(env)
        self._close(env)
        del self._num_failures[env]

    def _close(self, env: TokenEnv) -> None:
        # Whatever it is that broke in one that failed, it may break here too, and is told already.
        with suppress(Exception) if self._num_failures.get(env) else nullcontext():
            env.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """A pool goes to another process as what it is made of, and makes environments of its own there."""
        return _remade, (self.env_id, self.name, self._kwargs)

    def _make(self) -> TokenEnv:
        env = make_token_env(self.env_id, disable_env_checker=True, **self._kwargs)
        self._kwargs["tokenizer"] = env.tokenizer  # loaded once
        self._envs.append(env)
        return env


def _remade(env_id: str, name: str, kwargs: dict[str, Any]) -> EnvPool:
    tokenizer = kwargs.pop("tokenizer")
    return EnvPool(env_id, name=name, tokenizer=tokenizer, env_kwargs=kwargs)
