"""Words for Gymnasium environments: what a message shows of them, and what their actions are called."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np

Describe = Callable[[gym.Env[Any, Any], Any], str]
"""What a policy is shown, of the environment and its newest observation."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """How one environment is told."""

    about: str = ""
    """What it asks for, in a sentence."""
    actions: tuple[str, ...] = ()
    """Names, in the order of their numbers."""
    describe: Describe | None = None
    """None: what it renders as text, else the numbers that it observes."""
    invalid_reward: float = 0.0
    """Of a message that names no action, so that saying nothing is never better than playing."""
    reward_range: tuple[float, float] | None = None
    """Bounds of an episode's reward, where they are known."""


def words_of(env_id: str) -> Words:
    """Those of a well-known environment, whatever its version; of others, nothing but defaults."""
    name = env_id.rpartition("/")[2].rpartition(":")[2]
    return _KNOWN.get(re.sub(r"-v\d+$", "", name), Words())


def rendered(env: gym.Env[Any, Any], observation: Any) -> str:  # noqa: ARG001  as `Describe`
    """The text that the environment renders; what it colours stands in brackets."""
    text = str(env.render())
    text = re.sub(r"\x1b\[[0-9;]*m(.*?)\x1b\[0m", r"[\1]", text)
    return "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")


def observed(env: gym.Env[Any, Any], observation: Any) -> str:
    """The observation in numbers of four digits."""
    if isinstance(observation, Mapping):
        return ", ".join(f"{name}: {observed(env, value)}" for name, value in observation.items())
    if isinstance(observation, tuple):
        return ", ".join(observed(env, value) for value in observation)
    if isinstance(observation, np.ndarray) and observation.ndim:
        return "[" + ", ".join(observed(env, value) for value in observation) + "]"
    if isinstance(observation, float | np.floating):
        return f"{float(observation):.4g}"
    return str(observation)


def _named(*names: str) -> Describe:
    return partial(_with_names, names)


def _with_names(names: Sequence[str], env: gym.Env[Any, Any], observation: Any) -> str:
    return ", ".join(f"{name} {observed(env, value)}" for name, value in zip(names, observation, strict=True))


def _taxi(env: gym.Env[Any, Any], observation: Any) -> str:
    # Its rendering tells the passenger and the destination by colour alone.
    row, column, passenger, destination = env.unwrapped.decode(observation)  # type: ignore[attr-defined]
    places = ("R", "G", "Y", "B", "in the taxi")
    where = places[passenger] if passenger == 4 else f"at {places[passenger]}"
    return f"taxi: row {row}, column {column}; passenger: {where}; destination: {places[destination]}"


_TAXI_MAP = "|R: | : :G|\n| : | : : |\n| : : : : |\n| | : | : |\n|Y| : |B: |"
_LAKE = Words(
    about="Walk over the ice F from S to the goal G; a step into a hole H ends the walk. [ ] marks where you are.",
    actions=("left", "down", "right", "up"),
    reward_range=(0.0, 1.0),
)
_CLIFF = Words(
    about="Walk from x to T in few steps; a step onto the cliff C costs 100 and leads back to the start.",
    actions=("up", "right", "down", "left"),
    invalid_reward=-1.0,
)

_KNOWN: Mapping[str, Words] = {
    "FrozenLake": _LAKE,
    "FrozenLake8x8": _LAKE,
    "CliffWalking": _CLIFF,
    "CliffWalkingSlippery": _CLIFF,
    "Taxi": Words(
        about="Drive the taxi to the passenger, pick up, drive to the destination, drop off, in few steps. South is "
        f"down, the first row is 0, and the taxi passes : but not |.\n{_TAXI_MAP}",
        actions=("south", "north", "east", "west", "pick up", "drop off"),
        describe=_taxi,
        invalid_reward=-1.0,
    ),
    "Blackjack": Words(
        about="Get nearer to 21 than the dealer, and not above it. A usable ace counts 11.",
        actions=("stick", "hit"),
        describe=_named("your sum", "the dealer shows", "usable ace"),
        reward_range=(-1.0, 1.5),
    ),
    "CartPole": Words(
        about="Keep the pole on the cart from falling.",
        actions=("left", "right"),
        describe=_named("position", "velocity", "angle", "angular velocity"),
        reward_range=(0.0, 500.0),
    ),
    "MountainCar": Words(
        about="Reach position 0.5 in few steps.",
        actions=("left", "none", "right"),
        describe=_named("position", "velocity"),
        invalid_reward=-1.0,
    ),
    "Acrobot": Words(
        about="Swing the end of the two links above the line in few steps.",
        actions=("torque -1", "torque 0", "torque 1"),
        describe=_named("cos 1", "sin 1", "cos 2", "sin 2", "angular velocity 1", "angular velocity 2"),
        invalid_reward=-1.0,
    ),
}
