"""Environments under Gymnasium's ids. Gymnasium's registry is the only one there is."""

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, cast

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from ..errors import ConfigError, RegistrationError
from .message_env import MessageEnv
from .token_env import TokenEnv

ENTRY_POINT_GROUP = "llmgym.envs"
_ENTRY_POINT = "llmgym.episode.token_env:make_env"


def register_env(env_id: str, env: str | type[MessageEnv], **kwargs: Any) -> None:
    """Make `gym.make(env_id)` build a `TokenEnv` around `env`. The same registration twice is harmless.

    Args:
        env_id: "namespace/Name-v0".
        env: a `MessageEnv` class, or "package.module:Name", which is imported on first use.
        kwargs: defaults for the keywords of `TokenEnv` and of `env`.

    Raises:
        RegistrationError: something else has the id, or `env` can make no environment.
    """
    if not (callable(env) or (isinstance(env, str) and ":" in env)):
        raise RegistrationError(
            f"{env!r} cannot be registered as {env_id!r}. Pass a subclass of llmgym.MessageEnv, or the name of one: "
            '"package.module:Name".'
        )
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


def make_token_env(env: str | EnvSpec, **kwargs: Any) -> TokenEnv:
    """`gym.make`, for environments of llmgym alone, and without Gymnasium's wrappers.

    Raises:
        ConfigError: the id is that of another library's environment, or the module before its colon cannot be imported.
        gymnasium.error.UnregisteredEnv: nothing is registered as `env`.
    """
    if isinstance(env, str):
        _import_module_of(env)
        spec = gym.registry.get(env.rpartition(":")[2])
    else:
        spec = env
    if spec is not None and not is_llmgym_env(spec):
        raise ConfigError(
            f"{spec.id!r} is not an environment of llmgym. `llmgym envs` lists them; llmgym.register_env adds another."
        )
    return cast(TokenEnv, gym.make(env, **kwargs).unwrapped)


def _import_module_of(env_id: str) -> None:
    """Import what stands before the colon of "package:namespace/Name-v0", as Gymnasium would."""
    module, colon, _ = env_id.partition(":")
    if not colon:
        return
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, but something that it imports is not
        raise ConfigError(
            f"There is no module {module!r}, which {env_id!r} asks to import first. Check its name, and that it is "
            "installed or on PYTHONPATH."
        ) from error
