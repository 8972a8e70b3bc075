"""Environments under Gymnasium's ids. Gymnasium's registry is the only one there is."""

from importlib.metadata import entry_points
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from ..errors import RegistrationError
from .message_env import MessageEnv

ENTRY_POINT_GROUP = "llmgym.envs"
_ENTRY_POINT = "llmgym.episode.token_env:make_env"


def register_env(env_id: str, env: str | type[MessageEnv], **kwargs: Any) -> None:
    """Make `gym.make(env_id)` build a `TokenEnv` around `env`. The same registration twice is harmless.

    Args:
        env_id: "namespace/Name-v0".
        env: a `MessageEnv` class, or "package.module:Name", which is imported on first use.
        kwargs: defaults for the keywords of `TokenEnv` and of `env`.

    Raises:
        RegistrationError: something else has the id.
    """
    spec = EnvSpec(
        id=env_id,
        entry_point=_ENTRY_POINT,
        vector_entry_point="llmgym.episode.vector:make_vector_env",
        kwargs={"env": env, **kwargs},
    )
    taken = gym.registry.get(env_id)
    if taken is None:
        gym.register(env_id, spec.entry_point, kwargs=spec.kwargs, vector_entry_point=spec.vector_entry_point)
    elif (taken.entry_point, taken.kwargs) != (spec.entry_point, spec.kwargs):
        raise RegistrationError(
            f"The id {env_id!r} already stands for {taken.kwargs.get('env', taken.entry_point)!r}, so it cannot also "
            f"stand for {env!r}. Choose another name or version."
        )


def register_announced_envs() -> None:
    """Register what installed packages announce in the entry-point group `llmgym.envs`: an id for a class each."""
    for point in entry_points(group=ENTRY_POINT_GROUP):
        register_env(point.name, point.value)


def is_llmgym_env(spec: EnvSpec) -> bool:
    """True for ids that make a `TokenEnv`."""
    return spec.entry_point == _ENTRY_POINT
