"""Products of whole numbers, with a calculator at hand: the smallest task with a tool."""

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from llmgym.episode import (
    EnvResponse,
    FiniteTasks,
    InitialMessages,
    Limits,
    Task,
    TaskSource,
    ToolEnv,
    content_key,
    split_of,
)
from llmgym.errors import ConfigError
from llmgym.messages import AssistantMessage, ToolCall
from llmgym.scoring import Score
from llmgym.tools import Calculator

from .prompt import PromptWording

_MAX_DIGITS = 3
"""Every pair of factors is listed: 810,000 of three digits."""


class CalculatorEnv(ToolEnv):
    """Asks for a product such as 37*81; the right number earns 1.

    Two turns solve it: call the calculator, then say what it answered. Knowing the product is as good.
    The tasks are all pairs of factors with so many digits whose product is large enough, in splits by content.

    Args:
        digits: of each factor; 1 to 3.
        min_product: products below it are left out.
        format_reward: what a wrong whole number earns.
        system_prompt: the system message; "" for none.
        prompt_template: the user message, with "{prompt}" where the product goes.

    Raises:
        ConfigError: a setting is out of range, or leaves no task.
    """

    tools = (Calculator(),)
    default_limits = Limits(turns=3, turn_tokens=96, episode_tokens=288, context_tokens=384)

    def __init__(
        self,
        *,
        digits: int = 2,
        min_product: int = 1000,
        format_reward: float = 0.0,
        system_prompt: str = "",
        prompt_template: str = "{prompt}",
    ) -> None:
        if digits not in range(1, _MAX_DIGITS + 1):
            raise ConfigError(f"digits is {digits}, but factors have 1 to {_MAX_DIGITS} digits.")
        largest = (10**digits - 1) ** 2
        if min_product > largest:
            raise ConfigError(f"min_product is {min_product}, but the largest product of {digits} digits is {largest}.")
        if not 0 <= format_reward < 1:
            raise ConfigError(f"format_reward is {format_reward}, but it must be at least 0 and below 1.")
        self.digits, self.min_product, self.format_reward = digits, min_product, format_reward
        self.wording = PromptWording(system_prompt, prompt_template)
        self._task: Task | None = None

    def tasks(self, split: str) -> TaskSource:
        return _products(self.digits, self.min_product, split)

    def reset(self, task: Task, rng: np.random.Generator) -> InitialMessages:  # noqa: ARG002
        self._task = task
        return self.wording.initial_messages(task)

    def answer(self, message: AssistantMessage) -> EnvResponse:
        assert self._task is not None, "answer follows reset"
        said = message.content.strip()
        if said == self._task.answer:
            reward, reason = 1.0, "the product"
        elif re.fullmatch(r"-?[0-9]+", said):
            reward, reason = self.format_reward, "a whole number, but not the product"
        else:
            reward, reason = 0.0, "not a whole number"
        score = Score(reward=reward, extracted=said, expected=self._task.answer, reason=reason)
        return EnvResponse(score=score, terminated=True)

    def solve(self, task: Task) -> Sequence[str | ToolCall]:
        assert task.answer is not None
        return [ToolCall("calculator", {"expression": task.prompt}), task.answer]


@lru_cache(maxsize=8)
def _products(digits: int, min_product: int, split: str) -> FiniteTasks:
    factors = range(10 ** (digits - 1), 10**digits)
    tasks = []
    for left in factors:
        for right in factors:
            prompt, answer = f"{left}*{right}", str(left * right)
            if left * right >= min_product and split_of(prompt) == split:
                tasks.append(Task(key=content_key(prompt, answer), prompt=prompt, answer=answer))
    # In an order that means nothing, so that the first few are like the rest.
    return FiniteTasks(sorted(tasks, key=lambda task: task.key))
