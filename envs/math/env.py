"""The mathematics environments: one question, one answer, checked exactly."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from llmgym.episode import EnvResponse, GeneratedTasks, InitialMessages, Limits, MessageEnv, Task, TaskSource
from llmgym.errors import ConfigError
from llmgym.messages import AssistantMessage, Message

from .extraction import INSTRUCTIONS, AnswerFormat, render
from .families import FAMILIES
from .problem import pick
from .problem_set import ProblemSet, report_unread, require_numbers
from .verifier import MathVerifier

DEFAULT_SYSTEM_PROMPT = "Solve the problem step by step. {format}"


class MathEnv(MessageEnv):
    """Mathematics problems, generated without end or from a data set, answered in one turn.

    Args:
        dataset: a .jsonl, .json or .parquet file, or an id of the Hugging Face hub. None: generated problems.
        test_dataset: the same for the test split. None: the hub's own test split, else a tenth of `dataset`.
        dataset_config: configuration of the data set on the hub.
        columns: the columns of the data set, for example {"prompt": "question", "answer": "solution"}. By default
            "problem", "question" or "prompt", and "answer" or "solution"; answers that end in "#### 72" or stand in a
            `\\boxed{}` are recognized.
        families: names of the families to generate from, see `FAMILIES`. None: all.
        difficulty: of generated problems, from 1 (one-digit addition) to 5; it changes sizes and the number of steps.
        seed: of the generated supply.
        answer_format: "box", "tags", "last_number" or "any": where the answer is looked for, see `MathVerifier`.
        system_prompt: `{format}` in it is replaced by a sentence that asks for the answer format. None or "": no
            system message.
        prompt_template: the user message; `{problem}` is replaced by the problem, `{format}` as above.
        few_shot: so many worked training problems come before the problem, the same ones in every episode.
        format_reward: paid for an answer in the right form that is wrong.
        timeout_s: CPU seconds that a symbolic comparison may take; an answer that takes longer is wrong.

    Raises:
        ConfigError: a keyword is out of range.
    """

    default_limits: ClassVar[Limits] = Limits(turns=1, turn_tokens=1024, episode_tokens=1024, context_tokens=4096)

    def __init__(
        self,
        dataset: str | None = None,
        test_dataset: str | None = None,
        *,
        dataset_config: str | None = None,
        columns: Mapping[str, str] | None = None,
        families: Sequence[str] | None = None,
        difficulty: int = 1,
        seed: int = 0,
        answer_format: AnswerFormat = "box",
        system_prompt: str | None = DEFAULT_SYSTEM_PROMPT,
        prompt_template: str = "{problem}",
        few_shot: int = 0,
        format_reward: float = 0.0,
        timeout_s: float = 4.0,
    ) -> None:
        self.verifier = MathVerifier(answer_format=answer_format, format_reward=format_reward, timeout_s=timeout_s)
        self._families = _checked_families(families)
        _check_settings(dataset, test_dataset, columns, families, difficulty, prompt_template, few_shot)
        self._problem_set = None
        if dataset is not None:
            self._problem_set = ProblemSet(
                dataset,
                test_dataset,
                dataset_config,
                tuple(sorted((columns or {}).items())),
                check=require_numbers if answer_format == "last_number" else report_unread,
            )
        self._difficulty, self._seed, self._few_shot = difficulty, seed, few_shot
        self._system_prompt, self._prompt_template = system_prompt, prompt_template
        self._task: Task | None = None

    def tasks(self, split: str) -> TaskSource:
        """The tasks of "train" or "test".

        Raises:
            ConfigError: there is no such split.
            DataError: a row of the data set cannot be used; DataNotFoundError: there is no such data set.
            MissingExtraError: the data set needs a package that is not installed.
        """
        if self._problem_set is not None:
            return self._problem_set.tasks(split)
        return GeneratedTasks(self._generate, split=split, seed=self._seed)

    def reset(self, task: Task, rng: np.random.Generator) -> InitialMessages:  # noqa: ARG002 - nothing here is random
        self._task = task
        messages = [Message("system", self._with_format(self._system_prompt))] if self._system_prompt else []
        for example in self._examples(task):
            messages.append(Message("user", self._question(example)))
            messages.extend(AssistantMessage(turn) for turn in self.solve(example))
        messages.append(Message("user", self._question(task)))
        return InitialMessages(tuple(messages))

    def step(self, message: AssistantMessage) -> EnvResponse:
        assert self._task is not None, "step before reset"
        return EnvResponse(score=self.verifier(message, self._task), terminated=True)

    def solve(self, task: Task) -> Sequence[str]:
        """One turn: the worked solution where there is one, and the reference answer in the answer format."""
        if task.answer is None:
            raise ConfigError(f"Task {task.key!r} has no reference answer, so there is nothing to solve it with.")
        solution, answer = task.metadata.get("solution", ""), render(task.answer, self.verifier.answer_format)
        return (f"{solution}\n{answer}" if solution else answer,)

    def _generate(self, rng: np.random.Generator) -> Task:
        family = pick(rng, self._families)
        problem = FAMILIES[family](rng, self._difficulty)
        metadata = {"family": family, "difficulty": self._difficulty, "solution": "\n".join(problem.steps)}
        return Task(key="", prompt=problem.text, answer=problem.answer, metadata=metadata)

    def _examples(self, task: Task) -> list[Task]:
        if self._few_shot == 0:
            return []
        candidates = self.tasks("train").first(self._few_shot + 1)
        return [example for example in candidates if example.prompt != task.prompt][: self._few_shot]

    def _question(self, task: Task) -> str:
        return self._with_format(self._prompt_template).replace("{problem}", task.prompt)

    def _with_format(self, template: str) -> str:
        return template.replace("{format}", INSTRUCTIONS[self.verifier.answer_format])


def _checked_families(families: Sequence[str] | None) -> tuple[str, ...]:
    if families is None:
        return tuple(FAMILIES)
    names = (families,) if isinstance(families, str) else tuple(families)
    unknown = [name for name in names if name not in FAMILIES]
    if unknown or not names:
        raise ConfigError(f"families is {families!r}, but each must be one of: {', '.join(FAMILIES)}.")
    return names


def _check_settings(
    dataset: str | None,
    test_dataset: str | None,
    columns: Mapping[str, str] | None,
    families: Sequence[str] | None,
    difficulty: int,
    prompt_template: str,
    few_shot: int,
) -> None:
    if dataset is None and (test_dataset is not None or columns):
        raise ConfigError("test_dataset and columns describe a data set, but dataset is None. Name it in `dataset`.")
    if dataset is not None and families is not None:
        raise ConfigError(f"families is {families!r}, but problems come from {dataset!r}. Leave one of the two out.")
    if unknown := set(columns or {}) - {"prompt", "answer"}:
        raise ConfigError(
            f'columns names {sorted(unknown)}, but it maps "prompt" and "answer" to columns of the data set.'
        )
    if difficulty not in range(1, 6):
        raise ConfigError(f"difficulty is {difficulty!r}, but it must be a whole number from 1 to 5.")
    if "{problem}" not in prompt_template:
        raise ConfigError(f"prompt_template is {prompt_template!r}. Write {{problem}} where the problem belongs.")
    if few_shot < 0:
        raise ConfigError(f"few_shot is {few_shot}, but it must be 0 or more.")


class PublicDataEnv(MathEnv):
    """A public data set, from files or from the Hugging Face hub.

    Args:
        data_dir: folder with NAME_train.jsonl and NAME_test.jsonl. None: the folder that the environment variable
            LLMGYM_DATA_DIR names, or the hub where it is not set.

    All other keywords are those of `MathEnv`.

    Raises:
        DataNotFoundError: on first use, where the files or the hub cannot be reached.
    """

    file_name: ClassVar[str]
    hub_id: ClassVar[str]
    hub_config: ClassVar[str | None] = None

    def __init__(
        self,
        data_dir: str | None = None,
        *,
        answer_format: AnswerFormat = "box",
        system_prompt: str | None = DEFAULT_SYSTEM_PROMPT,
        prompt_template: str = "{problem}",
        few_shot: int = 0,
        format_reward: float = 0.0,
        timeout_s: float = 4.0,
    ) -> None:
        folder = data_dir or os.environ.get("LLMGYM_DATA_DIR")
        train, test = (str(Path(folder or "") / f"{self.file_name}_{split}.jsonl") for split in ("train", "test"))
        super().__init__(
            train if folder else self.hub_id,
            test if folder else None,
            dataset_config=None if folder else self.hub_config,
            answer_format=answer_format,
            system_prompt=system_prompt,
            prompt_template=prompt_template,
            few_shot=few_shot,
            format_reward=format_reward,
            timeout_s=timeout_s,
        )


class GSM8KEnv(PublicDataEnv):
    """Grade-school word problems (Cobbe et al. 2021, arXiv:2110.14168) with whole-number answers."""

    file_name, hub_id, hub_config = "gsm8k", "openai/gsm8k", "main"


class MATHEnv(PublicDataEnv):
    """Competition problems (Hendrycks et al. 2021, arXiv:2103.03874) with answers in LaTeX.

    The MATH-500 problems are part of the test split.
    """

    file_name, hub_id = "math", "DigitalLearningGmbH/MATH-lighteval"
    default_limits: ClassVar[Limits] = Limits(turns=1, turn_tokens=2048, episode_tokens=2048, context_tokens=8192)
