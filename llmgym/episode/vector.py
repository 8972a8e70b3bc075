"""Many episodes at once, in groups that share task and noise."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate

from ..errors import ConfigError, ResetNeeded
from ..messages import load_tokenizer
from .token_env import TokenEnv, make_env
from .trajectory import Trajectory


class TokenVectorEnv(VectorEnv[Any, Any, np.ndarray]):
    """Steps environments side by side; B of them, in groups of G neighbours (prompt-major).

    Copies of a group begin the same task with the same noise: its k-th episode is the same one in every copy, whenever
    that copy gets there. Nothing restarts by itself (`AutoresetMode.DISABLED`): restart what is over with
    `reset(options={"reset_mask": terminations | truncations})`. What has one value an environment in `info` but not
    one shape, such as new ids, comes as an array of objects, with a mask under the key `_key`.

    Args:
        envs: B environments of the same view.
        group_size: G; divides B.

    Raises:
        ConfigError: `group_size` does not divide the number of environments.
    """

    def __init__(self, envs: Sequence[TokenEnv], *, group_size: int = 1) -> None:
        _require_whole_groups(len(envs), group_size)
        self.envs, self.num_envs, self.group_size = tuple(envs), len(envs), group_size
        first = self.envs[0]
        self.metadata = {**first.metadata, "autoreset_mode": AutoresetMode.DISABLED}
        self.render_mode = first.render_mode
        self.single_observation_space, self.single_action_space = first.observation_space, first.action_space
        self.observation_space = batch_space(first.observation_space, self.num_envs)
        self.action_space = batch_space(first.action_space, self.num_envs)
        self._observations: list[Any] = [None] * self.num_envs
        self._is_over_B = np.ones(self.num_envs, dtype=bool)
        self._seed_B = [0] * self.num_envs
        """Of each environment's stream of episodes; with the group and the episode's number it decides the task."""
        self._num_episodes_B = [0] * self.num_envs
        self._is_seeded = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode of every environment, or of some.

        Args:
            seed: begins all random streams of the environments anew; None goes on with them.
            options: "reset_mask", bool[B], True for environments to restart; all others go to their `reset`.

        Raises:
            ConfigError: the mask is not bool[B], or leaves environments that never began.
        """
        super().reset(seed=seed)
        options = dict(options or {})
        mask_B = self._checked_mask(options.pop("reset_mask", None))
        if seed is None and not self._is_seeded:
            seed = int(self.np_random.integers(2**63))
        self._is_seeded = True

        infos: dict[str, Any] = {}
        for index in np.flatnonzero(mask_B).tolist():
            if seed is not None:
                self._seed_B[index], self._num_episodes_B[index] = seed, 0
            group = index // self.group_size
            stream = np.random.SeedSequence((self._seed_B[index], group, self._num_episodes_B[index]))
            episode_seed = int(stream.generate_state(1)[0])
            self._num_episodes_B[index] += 1
            self._observations[index], info = self.envs[index].reset(seed=episode_seed, options=options)
            infos = self._add_info(infos, info, index)
        self._is_over_B[mask_B] = False
        return self._batch(), infos

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step every environment, in order.

        Returns:
            Batched observations, rewards float64[B], terminations bool[B], truncations bool[B], and infos.

        Raises:
            ResetNeeded: some environments are over or never began; none was stepped.
            ConfigError: there is not one action an environment; none was stepped.
            InvalidAction: an environment refused its action; those before it were stepped.
        """
        if self._is_over_B.any():
            raise ResetNeeded(
                f"The environments {np.flatnonzero(self._is_over_B).tolist()} are over or were never begun. "
                'Restart them before the next step: reset(options={"reset_mask": terminations | truncations}).'
            )
        actions = list(iterate(self.action_space, actions))
        if len(actions) != self.num_envs:
            raise ConfigError(f"There are {len(actions)} actions for {self.num_envs} environments. Pass one each.")
        rewards_B = np.zeros(self.num_envs)
        terminated_B, truncated_B = np.zeros(self.num_envs, dtype=bool), np.zeros(self.num_envs, dtype=bool)
        infos: dict[str, Any] = {}
        for index, (env, action) in enumerate(zip(self.envs, actions, strict=True)):
            self._observations[index], rewards_B[index], terminated_B[index], truncated_B[index], info = env.step(
                action
            )
            if info:
                infos = self._add_info(infos, info, index)
        self._is_over_B = terminated_B | truncated_B
        return self._batch(), rewards_B, terminated_B, truncated_B, infos

    def trajectories(self) -> tuple[Trajectory, ...]:
        """The current episodes as they would be stored, with their group and place in it."""
        return tuple(
            env.trajectory(group_id=index // self.group_size, sample_index=index % self.group_size)
            for index, env in enumerate(self.envs)
        )

    def render(self) -> tuple[str, ...] | None:
        """The conversations so far as text; None without `render_mode="ansi"`."""
        frames = [env.render() for env in self.envs]
        return None if None in frames else tuple(str(frame) for frame in frames)

    def close_extras(self) -> None:
        """Close every environment."""
        for env in self.envs:
            env.close()

    def _batch(self) -> Any:
        empty: Any = create_empty_array(self.single_observation_space, self.num_envs)
        return concatenate(self.single_observation_space, self._observations, empty)

    def _checked_mask(self, mask: Any) -> np.ndarray:
        if mask is None:
            return np.ones(self.num_envs, dtype=bool)
        mask_B = np.asarray(mask)
        if mask_B.shape != (self.num_envs,) or mask_B.dtype != bool:
            raise ConfigError(
                f"reset_mask has shape {mask_B.shape} and type {mask_B.dtype}, but it must be bool[{self.num_envs}], "
                "True for each environment to restart."
            )
        never_begun = [index for index in np.flatnonzero(~mask_B) if not self._num_episodes_B[index]]
        if never_begun:
            raise ConfigError(
                f"reset_mask leaves out the environments {never_begun}, which never began. Call reset() for all first."
            )
        return mask_B


def make_vector_env(num_envs: int = 1, group_size: int = 1, **kwargs: Any) -> TokenVectorEnv:
    """Gymnasium's vector entry point: `gym.make_vec(id, num_envs, group_size=G, ...)`.

    Args:
        num_envs: B.
        group_size: G, the copies of a group; divides B.
        kwargs: as `gymnasium.make` takes them.

    Raises:
        ConfigError: `group_size` does not divide `num_envs`, or no environment takes one of the keywords.
    """
    _require_whole_groups(num_envs, group_size)
    tokenizer = load_tokenizer(kwargs.pop("tokenizer", "bytes"))
    return TokenVectorEnv(
        [make_env(**kwargs, tokenizer=tokenizer) for _ in range(num_envs)],
        group_size=group_size,
    )


def _require_whole_groups(num_envs: int, group_size: int) -> None:
    if num_envs < 1 or group_size < 1 or num_envs % group_size:
        raise ConfigError(
            f"{num_envs} environments make no whole groups of {group_size}. Choose num_envs as a multiple of "
            "group_size, both at least 1."
        )
