"""Guessing a number by asking: many turns, and a reward for each bit of uncertainty removed."""

import re
from collections.abc import Sequence
from math import log2

import numpy as np

from llmgym.episode import EnvResponse, GeneratedTasks, InitialMessages, Limits, MessageEnv, Task, TaskSource
from llmgym.errors import ConfigError
from llmgym.messages import AssistantMessage, Message
from llmgym.scoring import Score

from .prompt import PromptWording


class GuessNumberEnv(MessageEnv):
    """A secret number from an interval that the prompt names; each guess is answered "higher", "lower" or "right".

    A turn earns the share of the uncertainty that it removed, `log2(candidates before / candidates after)` over
    `log2(candidates at first)`, and the right guess the rest: whoever gets there has earned 1 in all, and halving
    the interval gets there soonest.

    Args:
        upper: intervals are drawn from 1 to this number; at least 3.
        system_prompt: the system message; "" for none.
        prompt_template: the user message, with "{prompt}" where the interval goes.

    Raises:
        ConfigError: `upper` is below 3.
    """

    default_limits = Limits(turns=16, turn_tokens=16, episode_tokens=256, context_tokens=512)

    def __init__(
        self,
        *,
        upper: int = 100,
        system_prompt: str = "",
        prompt_template: str = "Guess my number, from {prompt}.",
    ) -> None:
        if upper < 3:
            raise ConfigError(f"upper is {upper}, but it must be at least 3, so that there are several intervals.")
        self.upper = upper
        self.wording = PromptWording(system_prompt, prompt_template)
        self._secret = self._low = self._high = 1
        self._num_candidates, self._earned = 1, 0.0

    def tasks(self, split: str) -> TaskSource:
        return GeneratedTasks(self._make_task, split=split)

    def reset(self, task: Task, rng: np.random.Generator) -> InitialMessages:  # noqa: ARG002
        self._secret, self._low, self._high = (task.metadata[name] for name in ("secret", "low", "high"))
        self._num_candidates, self._earned = self._high - self._low + 1, 0.0
        return self.wording.initial_messages(task)

    def step(self, message: AssistantMessage) -> EnvResponse:
        said = message.content.strip()
        if not re.fullmatch(r"[0-9]{1,18}", said):
            return self._reply("say one whole number", reward=0.0, said=said)
        guess = int(said)
        if guess == self._secret:
            return self._reply("right", reward=1.0 - self._earned, said=said, terminated=True)

        before = self._high - self._low + 1
        if guess < self._secret:
            self._low = max(self._low, guess + 1)
        else:
            self._high = min(self._high, guess - 1)
        after = self._high - self._low + 1
        reward = log2(before / after) / log2(self._num_candidates)
        return self._reply("higher" if guess < self._secret else "lower", reward=reward, said=said)

    def solve(self, task: Task) -> Sequence[str]:
        secret, low, high = (task.metadata[name] for name in ("secret", "low", "high"))
        guesses: list[int] = []
        while not guesses or guesses[-1] != secret:
            guess = (low + high) // 2
            guesses.append(guess)
            low, high = (guess + 1, high) if guess < secret else (low, guess - 1)
        return [str(guess) for guess in guesses]

    def _reply(self, reply: str, *, reward: float, said: str, terminated: bool = False) -> EnvResponse:
        self._earned += reward
        expected = str(self._secret) if terminated else None
        score = Score(reward=reward, extracted=said, expected=expected, reason=reply)
        return EnvResponse(messages=(Message("user", reply),), score=score, terminated=terminated)

    def _make_task(self, rng: np.random.Generator) -> Task:
        low, high = (int(end) for end in np.sort(rng.choice(self.upper, size=2, replace=False) + 1))
        secret = int(rng.integers(low, high + 1))
        return Task(
            key="",  # the source names it
            prompt=f"{low} to {high}",
            answer=str(secret),
            metadata={"secret": secret, "low": low, "high": high},
        )
