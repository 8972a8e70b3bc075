"""The tasks of the package reasoning-gym, judged by its own scorers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np

from llmgym.episode import EnvResponse, GeneratedTasks, InitialMessages, Limits, MessageEnv, Task, TaskSource
from llmgym.errors import ConfigError, DataError, EnvironmentFailure, VerifierError
from llmgym.extras import require
from llmgym.messages import AssistantMessage
from llmgym.registry import closest
from llmgym.scoring import Score, WorkStatus, shared_pool

from .prompt import PromptWording

_WORKER = "llmgym.envs.reasoning_gym_worker"
_MAKING_TIMEOUT_S = 60.0
"""CPU seconds in which a problem is made; most take a few milliseconds."""
_PROMPT = "{prompt}\n\nGive your final answer between <answer> and </answer>."


class ReasoningGymEnv(MessageEnv):
    """Problems of reasoning-gym (extra `reasoning`), of one task or a mixture; its scorers judge the answer.

    The answer is what stands between the last `<answer>` and `</answer>`; without them nothing is earned. A right
    answer earns 1. Where a scorer pays in part, what it pays for any text at all is taken off first, so that
    `(paid - floor) / (1 - floor)` is left. Problems are made and scored in worker processes, as both may take long.

    Args:
        tasks: a name, several names, or names with weights, for example {"gcd": 1, "sudoku": 2}.
        configs: settings of tasks by name, as the package has them, for example {"gcd": {"max_value": 50}}.
        full_only: whether answers that are right in part earn nothing.
        min_partial: answers that would earn less than that earn nothing, so that a part of a long guess does not pay;
            from 0 to 1.
        seed: of the generated supply.
        timeout_s: CPU seconds that scoring may take; an answer that takes longer is wrong.
        system_prompt: the system message; "" for none.
        prompt_template: the user message, with "{prompt}" where the problem goes.

    Raises:
        ConfigError: a setting is out of range; or, with the first task, there is no such task or setting of it.
        MissingExtraError: with the first task, where the package is not installed.
    """

    default_limits = Limits(turns=1, turn_tokens=4096, episode_tokens=4096, context_tokens=16384)

    def __init__(
        self,
        tasks: str | Sequence[str] | Mapping[str, float] = ("chain_sum", "letter_counting", "number_sorting"),
        *,
        configs: Mapping[str, Mapping[str, Any]] | None = None,
        full_only: bool = False,
        min_partial: float = 0.1,
        seed: int = 0,
        timeout_s: float = 10.0,
        system_prompt: str = "",
        prompt_template: str = _PROMPT,
    ) -> None:
        self.weights = _weights(tasks)
        self.configs = {name: dict((configs or {}).get(name, {})) for name in self.weights}
        if unused := sorted(set(configs or {}) - set(self.weights)):
            raise ConfigError(f"configs has settings for {', '.join(unused)}, which tasks does not name.")
        if not 0 <= min_partial <= 1:
            raise ConfigError(f"min_partial is {min_partial}, but it must be from 0 to 1.")
        if not timeout_s > 0:
            raise ConfigError(f"timeout_s is {timeout_s}, but it must be above 0.")
        self.full_only, self.min_partial, self.seed, self.timeout_s = full_only, min_partial, seed, timeout_s
        self.wording = PromptWording(system_prompt, prompt_template)
        self._task: Task | None = None

    def tasks(self, split: str) -> TaskSource:
        """Problems without end; a hash of the question decides the split.

        Raises:
            ConfigError: there is no such split, no such task, or no such setting.
            MissingExtraError: the package is not installed.
        """
        if split not in ("train", "test"):
            raise ConfigError(f'split is {split!r}, but there are the splits "train" and "test".')
        self._require_tasks  # noqa: B018  once
        return GeneratedTasks(partial(self._make_task, split), split=split, seed=self.seed)

    def reset(self, task: Task, rng: np.random.Generator) -> InitialMessages:  # noqa: ARG002  nothing is random
        self._task = task
        return self.wording.initial_messages(task)

    def step(self, message: AssistantMessage) -> EnvResponse:
        assert self._task is not None, "step follows reset"
        said = re.findall(r"<answer>(.*?)</answer>", message.content, flags=re.DOTALL)
        if not said:
            score = Score(reward=0.0, expected=self._task.answer, reason="no <answer> and </answer>")
        else:
            score = self._judged(said[-1].strip(), self._task)
        return EnvResponse(score=score, terminated=True)

    def solve(self, task: Task) -> Sequence[str] | None:
        """The package's own answer; None where its scorer does not pay it in full."""
        answer = self._made("reference", task.metadata["name"], task.metadata["number"])
        return None if answer is None else [f"<answer>{answer}</answer>"]

    def _judged(self, answer: str, task: Task) -> Score:
        name, number = task.metadata["name"], task.metadata["number"]
        result = shared_pool().run(
            f"{_WORKER}:score", name, self.configs[name], number, answer, timeout_s=self.timeout_s
        )
        if result.status is WorkStatus.OVERRUN:
            reason = f"scoring the answer {result.error}"
            return Score(reward=0.0, extracted=answer, expected=task.answer, reason=reason)
        if result.status is not WorkStatus.RETURNED:
            raise VerifierError(f"The scorer of {name!r} failed on problem {number}: {result.error}.")
        paid, floor = result.value["paid"], result.value["floor"]
        reward = paid if paid >= 1.0 else (paid - floor) / (1.0 - floor)
        if reward < 1.0 and (self.full_only or reward < self.min_partial):
            reward = 0.0
        reason = f"the scorer of {name} paid {paid:g}" + (f", and {floor:g} for any text" if floor else "")
        return Score(reward=reward, parts={name: paid}, extracted=answer, expected=task.answer, reason=reason)

    def _make_task(self, split: str, rng: np.random.Generator) -> Task:
        names, weights = list(self.weights), np.array(list(self.weights.values()))
        name, first = names[int(rng.choice(len(names), p=weights / weights.sum()))], int(rng.integers(2**31))
        made = self._made("problem", name, first, split)
        if made is None:
            raise DataError(f"The task {name!r} has too few questions: none was found for the split {split!r}.")
        metadata = {"name": name, "number": made["number"]}
        return Task(key="", prompt=made["question"], answer=made["answer"], metadata=metadata)

    def _made(self, function: str, name: str, number: int, *args: str) -> Any:
        path = f"{_WORKER}:{function}"
        result = shared_pool().run(path, name, self.configs[name], number, *args, timeout_s=_MAKING_TIMEOUT_S)
        if result.status is not WorkStatus.RETURNED:
            raise EnvironmentFailure(f"The task {name!r} could not make problem {number}: {result.error}.")
        return result.value

    @cached_property
    def _require_tasks(self) -> None:
        """Each task is there and takes its settings."""
        package = require("reasoning_gym", extra="reasoning", purpose="llmgym/ReasoningGym-v0")
        known = set(require("reasoning_gym.factory", extra="reasoning", purpose="llmgym/ReasoningGym-v0").DATASETS)
        for name, config in self.configs.items():
            if name == "composite" or name not in known:
                raise ConfigError(f"There is no task {name!r} in reasoning-gym. {closest(name, known - {'composite'})}")
            if taken := sorted({"seed", "size"} & set(config)):
                raise ConfigError(f"configs[{name!r}] sets {', '.join(taken)}, which each problem sets for itself.")
            try:
                json.dumps(config)
                package.create_dataset(name, **config, seed=0, size=1)
            except (TypeError, ValueError, AssertionError) as error:
                raise ConfigError(f"The task {name!r} does not take the settings {config}: {error}") from error


def _weights(tasks: str | Sequence[str] | Mapping[str, float]) -> dict[str, float]:
    names = [tasks] if isinstance(tasks, str) else list(tasks)
    weights = {name: float(tasks[name]) if isinstance(tasks, Mapping) else 1.0 for name in names}
    if not weights or len(weights) < len(names) or not all(0 < weight < float("inf") for weight in weights.values()):
        raise ConfigError(f"tasks is {tasks!r}, but it must name one task or more, once each, with weights above 0.")
    return weights
