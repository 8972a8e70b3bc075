"""Any Gymnasium environment with discrete actions, played in text: one action a message."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from llmgym.episode import (
    EnvResponse,
    FiniteTasks,
    GeneratedTasks,
    InitialMessages,
    Limits,
    MessageEnv,
    Task,
    TaskSource,
    content_key,
)
from llmgym.errors import ConfigError
from llmgym.messages import AssistantMessage, Message
from llmgym.scoring import Score

from .games.moves import last_line
from .gymnasium_tables import BestPlay, best_play
from .gymnasium_words import Describe, observed, rendered, words_of
from .prompt import PromptWording

_PROMPT = "{about}\nThe last line of each message is one action: {actions}.\n\n{prompt}"
_NUM_SEEDS = 64
"""Seeds that are tried to see how many beginnings an environment has."""
_MANY_STARTS = 20
"""Where so many of them differ, tasks are generated without end."""
_MAX_TURNS, _TURN_TOKENS, _REPLY_TOKENS = 200, 32, 64


class GymnasiumEnv(MessageEnv):
    """Any Gymnasium environment with discrete actions, told in text; a message is an action, and earns its reward.

    A task is a beginning: the wrapped environment's state after `reset(seed=...)`. What is left to chance after that
    comes from the episode's own seed. What the wrapped environment calls terminated ends the task; what it calls
    truncated, by a time limit of its own, stops the episode with TIME_LIMIT, `truncated` and not `terminated`. A
    message that names no action is answered with the names; the wrapped environment does not see it.

    Reference turns are known where the wrapped environment tells all its transitions in a table `P` and leaves
    nothing to chance, such as CliffWalking, Taxi, and FrozenLake that is not slippery.

    Args:
        env_id: of the wrapped environment; "module:id" imports the module first.
        env_kwargs: keywords for `gymnasium.make`.
        action_names: in the order of their numbers. None: known names, else the numbers; a number is always understood.
        describe: "ansi" shows what it renders as text, "observation" its numbers; "auto" has words for well-known
            environments, else what is rendered as text, else numbers.
        reward_scale: every reward is multiplied by this; above 0.
        relative_to_best: where reference turns are known, the end of the task also pays what makes the best possible
            return 1: a full reward is then a best possible play, from wherever it began.
        invalid_reward: what a message that names no action earns, before the scale. None: -1 for well-known
            environments whose steps cost 1, so that saying nothing is no way out, else 0.
        reward_range: bounds of an episode's reward, after the scale. None: as known, else without bounds.
        system_prompt: the system message; "" for none.
        prompt_template: the user message, with "{prompt}" where the beginning goes, and "{about}" and "{actions}", if
            it likes, where a sentence about a well-known environment and the names of the actions go.

    Raises:
        ConfigError: there is no such environment, it cannot be made so, or its actions are not discrete: where the
            id is unknown at once, else with the first task.
    """

    def __init__(
        self,
        env_id: str = "Taxi-v4",
        *,
        env_kwargs: Mapping[str, Any] | None = None,
        action_names: Sequence[str] | None = None,
        describe: str = "auto",
        reward_scale: float = 1.0,
        relative_to_best: bool = True,
        invalid_reward: float | None = None,
        reward_range: Sequence[float] | None = None,
        system_prompt: str = "",
        prompt_template: str = _PROMPT,
    ) -> None:
        if describe not in ("auto", "ansi", "observation"):
            raise ConfigError(f'describe is {describe!r}, but it must be "auto", "ansi" or "observation".')
        if not 0 < reward_scale < float("inf"):
            raise ConfigError(f"reward_scale is {reward_scale}, but it must be above 0.")
        if reward_range is not None and not (len(reward_range) == 2 and reward_range[0] < reward_range[1]):
            raise ConfigError(f"reward_range is {reward_range!r}, but it must be a lower and a higher number.")
        try:
            max_steps = gym.spec(env_id).max_episode_steps
        except (gym.error.Error, ImportError) as error:
            raise ConfigError(f"There is no Gymnasium environment {env_id!r}: {error}") from error
        self.env_id, self.env_kwargs, self.describe = env_id, dict(env_kwargs or {}), describe
        self.words = words_of(env_id)
        self.reward_scale, self.relative_to_best = reward_scale, relative_to_best
        self.invalid_reward = self.words.invalid_reward if invalid_reward is None else invalid_reward
        self._action_names, self._declared_range = action_names, reward_range
        self._system_prompt, self._prompt_template = system_prompt, prompt_template
        PromptWording(system_prompt, prompt_template)  # a template without a place for the prompt is refused at once
        turns = min(max_steps or _MAX_TURNS, _MAX_TURNS)
        self.default_limits = Limits(  # type: ignore[misc]  # budgets depend on the wrapped environment
            turns=turns,
            turn_tokens=_TURN_TOKENS,
            episode_tokens=turns * _TURN_TOKENS,
            context_tokens=max(8192, turns * (_TURN_TOKENS + _REPLY_TOKENS)),
        )
        self._offset = 0.0

    # -- the contract ------------------------------------------------------------------------------------------

    @property
    def reward_range(self) -> tuple[float, float]:  # type: ignore[override]
        """As given, else as known."""
        if self._declared_range is not None:
            return (self._declared_range[0], self._declared_range[1])
        if self.relative_to_best and self._best is not None:
            return (-float("inf"), 1.0)
        low, high = self.words.reward_range or (-float("inf"), float("inf"))
        return (low * self.reward_scale, high * self.reward_scale)

    def tasks(self, split: str) -> TaskSource:
        """Beginnings: generated without end where many, else all there are; a single one is in both splits.

        Raises:
            ConfigError: there is no such split, or the wrapped environment cannot be made or has other actions.
        """
        if split not in ("train", "test"):
            raise ConfigError(f'split is {split!r}, but there are the splits "train" and "test".')
        starts = self._starts
        if len(starts) >= _MANY_STARTS:
            return GeneratedTasks(self._make_task, split=split)
        tasks = [Task(key=content_key(text), prompt=text, metadata={"seed": seed}) for text, seed in starts.items()]
        tasks.sort(key=lambda task: task.key)
        num_test = max(1, len(tasks) // 10)
        return FiniteTasks(tasks if len(tasks) == 1 else tasks[:num_test] if split == "test" else tasks[num_test:])

    def reset(self, task: Task, rng: np.random.Generator) -> InitialMessages:
        observation, _ = self._env.reset(seed=task.metadata["seed"])
        self._env.unwrapped.np_random = rng  # the beginning is the task's; chance from here on is the episode's
        self._offset = 0.0
        if self.relative_to_best and self._best is not None:
            self._offset = 1.0 - self.reward_scale * float(self._best.return_S[int(observation)])
        template = self._prompt_template.replace("{about}", self.words.about)
        template = template.replace("{actions}", ", ".join(self.action_names)).strip()
        return PromptWording(self._system_prompt, template).initial_messages(task)

    def step(self, message: AssistantMessage) -> EnvResponse:
        said = last_line(message.content)
        number = self._read(said)
        if number is None:
            score = Score(reward=self.reward_scale * self.invalid_reward, extracted=said[:100], reason="no action")
            reply = f"{said[:40]!r} is no action; say one of: {', '.join(self.action_names)}"
            return EnvResponse(messages=(Message("user", reply),), score=score)
        observation, reward, terminated, truncated, _ = self._env.step(self._first_action + number)
        text = self._describe(self._env, observation)
        paid = self.reward_scale * float(reward) + (self._offset if terminated else 0.0)
        return EnvResponse(
            messages=(Message("user", text),),
            score=Score(reward=paid, extracted=self.action_names[number], reason=f"the reward {float(reward):g}"),
            terminated=bool(terminated),
            truncated=bool(truncated) and not terminated,
        )

    def solve(self, task: Task) -> Sequence[str] | None:
        """The best possible play, where it is known."""
        if self._best is None:
            return None
        state = int(self._scout.reset(seed=task.metadata["seed"])[0])
        return [self.action_names[action] for action in self._best.actions(state)]

    def close(self) -> None:
        for name in ("_env", "_scout"):
            if name in vars(self):
                vars(self).pop(name).close()

    # -- the wrapped environment -------------------------------------------------------------------------------

    @cached_property
    def _env(self) -> gym.Env[Any, Any]:
        """Plays the episode."""
        return self._made()

    @cached_property
    def _scout(self) -> gym.Env[Any, Any]:
        """Looks at beginnings, whatever is being played."""
        return self._made()

    def _made(self) -> gym.Env[Any, Any]:
        try:
            env = gym.make(self.env_id, **self.env_kwargs)
            if self.describe == "ansi" or (self.words.describe is None and self.describe == "auto"):
                modes = env.metadata.get("render_modes", ())
                if "ansi" in modes:
                    env.close()
                    env = gym.make(self.env_id, **{**self.env_kwargs, "render_mode": "ansi"})
                elif self.describe == "ansi":
                    raise ConfigError(f'{self.env_id} renders {modes}, but no "ansi". Leave describe="auto".')
        except (gym.error.Error, TypeError, ImportError) as error:
            raise ConfigError(f"{self.env_id!r} cannot be made with env_kwargs={self.env_kwargs}: {error}") from error
        if not isinstance(env.action_space, spaces.Discrete):
            raise ConfigError(f"{self.env_id} has the actions {env.action_space}, but they must be Discrete.")
        return env

    @property
    def _describe(self) -> Describe:
        if self.describe == "auto" and self.words.describe is not None:
            return self.words.describe
        return rendered if self._scout.render_mode == "ansi" else observed

    @cached_property
    def action_names(self) -> tuple[str, ...]:
        """In the order of their numbers.

        Raises:
            ConfigError: those that were given are not one for each action.
        """
        num_actions = int(self._scout.action_space.n)  # type: ignore[attr-defined]
        names = self._action_names or self.words.actions or [str(number) for number in range(num_actions)]
        if len(names) != num_actions or len({name.lower().strip() for name in names}) != num_actions:
            raise ConfigError(f"action_names is {list(names)}, but {self.env_id} has {num_actions} actions.")
        return tuple(names)

    @cached_property
    def _first_action(self) -> int:
        return int(self._scout.action_space.start)  # type: ignore[attr-defined]

    def _read(self, said: str) -> int | None:
        """The number of the action that is named."""
        names = {name.lower().strip(): number for number, name in enumerate(self.action_names)}
        if said.lower() in names:
            return names[said.lower()]
        is_number = re.fullmatch(r"[0-9]{1,6}", said) and int(said) < len(names)
        return int(said) if is_number else None

    @cached_property
    def _best(self) -> BestPlay | None:
        if not isinstance(self._scout.observation_space, spaces.Discrete):
            return None
        best = best_play(getattr(self._scout.unwrapped, "P", None))
        return best if best is not None and self._is_true(best) else None

    def _is_true(self, best: BestPlay) -> bool:
        """Whether the environment does what its table says, on a few of its beginnings."""
        for seed in range(3):
            observation, _ = self._scout.reset(seed=seed)
            if not np.isfinite(expected := best.return_S[int(observation)]):
                return False
            earned, terminated = 0.0, False
            for action in best.actions(int(observation)):
                _, reward, terminated, _, _ = self._scout.step(self._first_action + action)
                earned += float(reward)
            if not terminated or abs(earned - expected) > 1e-6:
                return False
        return True

    @cached_property
    def _starts(self) -> dict[str, int]:
        """The different beginnings of the first seeds, as text, each with its first seed."""
        starts: dict[str, int] = {}
        for seed in range(_NUM_SEEDS):
            starts.setdefault(self._start(seed), seed)
        return starts

    def _start(self, seed: int) -> str:
        observation, _ = self._scout.reset(seed=seed)
        return self._describe(self._scout, observation)

    def _make_task(self, rng: np.random.Generator) -> Task:
        seed = int(rng.integers(2**31))
        return Task(key="", prompt=self._start(seed), metadata={"seed": seed})
