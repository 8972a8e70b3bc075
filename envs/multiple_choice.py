"""Multiple-choice questions, from a data set or generated, with the options in an order of their own for each seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from llmgym.episode import (
    EnvResponse,
    FiniteTasks,
    GeneratedTasks,
    InitialMessages,
    Limits,
    MessageEnv,
    Task,
    TaskSource,
)
from llmgym.errors import ConfigError
from llmgym.messages import AssistantMessage
from llmgym.scoring import Score

from .math.extraction import visible_text
from .math.problem_set import ProblemSet, accept_all
from .multiple_choice_letters import LETTERS, chosen_letter
from .multiple_choice_rows import generated_task, question_task
from .prompt import PromptWording

DEFAULT_SYSTEM_PROMPT = (
    'Think step by step, then finish with "the answer is (X)", where X is the letter of the right option.'
)


class MultipleChoiceEnv(MessageEnv):
    """Questions with two to ten options, answered by a letter.

    Options are shuffled for each question by `seed`, letters are given in the new order, and the reference letter
    follows: a policy cannot learn where the right option stands in the file. A reply that names no letter of an option
    earns nothing; there is no guess on its behalf.

    Args:
        dataset: a .jsonl, .jsonl.gz, .json or .parquet file, or an id of the Hugging Face hub, with a question, a list
            of options and the right one's place, letter or text in each row. None: generated mathematics problems.
        test_dataset: the same for the test split. None: the hub's own test split, else a tenth of `dataset`.
        dataset_config: configuration of the data set on the hub.
        columns: the columns of the data set, for example {"prompt": "Question", "options": "choices", "answer": "key"}.
            By default "problem", "question" or "prompt"; "options" or "choices"; "answer_index" or "answer".
        seed: of the orders of options and of the generated supply.
        shuffle: False keeps the order of the file.
        difficulty: of generated problems, from 1 to 5.
        num_options: of generated problems, from 2 to 10.
        fallbacks: accept "Answer: X" and a letter that stands alone, too, as MMLU-Pro does; False: "the answer is X"
            alone.
        system_prompt: the system message; "" for none.
        prompt_template: the user message, with "{prompt}" where question and options go.

    Raises:
        ConfigError: a keyword is out of range.
    """

    default_limits = Limits(turns=1, turn_tokens=1024, episode_tokens=1024, context_tokens=4096)

    def __init__(
        self,
        dataset: str | None = None,
        test_dataset: str | None = None,
        *,
        dataset_config: str | None = None,
        columns: Mapping[str, str] | None = None,
        seed: int = 0,
        shuffle: bool = True,
        difficulty: int = 1,
        num_options: int = 4,
        fallbacks: bool = True,
        system_prompt: str = DEFAULT_SYSTEM_PROMPT,
        prompt_template: str = "{prompt}",
    ) -> None:
        if dataset is None and (test_dataset is not None or columns):
            raise ConfigError(
                "test_dataset and columns describe a data set, but dataset is None. Name it in `dataset`."
            )
        if unknown := set(columns or {}) - {"prompt", "options", "answer"}:
            raise ConfigError(f'columns names {sorted(unknown)}, but it maps "prompt", "options" and "answer".')
        if difficulty not in range(1, 6) or num_options not in range(2, len(LETTERS) + 1):
            raise ConfigError(
                f"difficulty is {difficulty!r} and num_options {num_options!r}, but they must be whole numbers from 1 "
                f"to 5 and from 2 to {len(LETTERS)}."
            )
        named = tuple(sorted((columns or {}).items()))
        self._problem_set = (
            None
            if dataset is None
            else ProblemSet(dataset, test_dataset, dataset_config, named, question_task, accept_all)
        )
        self._seed, self._shuffle, self._fallbacks = seed, shuffle, fallbacks
        self._difficulty, self._num_options = difficulty, num_options
        self._wording = PromptWording(system_prompt, prompt_template)
        self._of_split: dict[str, FiniteTasks] = {}
        self._task: Task | None = None

    def tasks(self, split: str) -> TaskSource:
        """The tasks of "train" or "test".

        Raises:
            ConfigError: there is no such split.
            DataError: a row of the data set cannot be used; DataNotFoundError: there is no such data set.
            MissingExtraError: the data set needs a package that is not installed.
        """
        if self._problem_set is None:
            return GeneratedTasks(self._generate, split=split, seed=self._seed)
        if split not in self._of_split:
            questions = self._problem_set.tasks(split)
            self._of_split[split] = FiniteTasks([self._lettered(task, self._rng_of(task)) for task in questions])
        return self._of_split[split]

    def reset(self, task: Task, rng: np.random.Generator) -> InitialMessages:  # noqa: ARG002 - the order is the task's
        self._task = task
        return self._wording.initial_messages(task)

    def step(self, message: AssistantMessage) -> EnvResponse:
        assert self._task is not None, "step before reset"
        return EnvResponse(score=self._score(message, self._task), terminated=True)

    def solve(self, task: Task) -> Sequence[str]:
        """One turn: the sentence that the system prompt asks for."""
        return (f"The answer is ({task.answer}).",)

    def _score(self, message: AssistantMessage, task: Task) -> Score:
        letter = chosen_letter(visible_text(message.content), fallbacks=self._fallbacks)
        is_option = letter is not None and letter in LETTERS[: len(task.metadata["options"])]
        is_correct = is_option and letter == task.answer
        return Score(
            reward=float(is_correct),
            parts={"correct": float(is_correct), "format": float(is_option)},
            extracted=letter,
            expected=task.answer,
            reason="correct" if is_correct else "wrong" if is_option else "no answer",
        )

    def _generate(self, rng: np.random.Generator) -> Task:
        return self._lettered(generated_task(rng, difficulty=self._difficulty, num_options=self._num_options), rng)

    def _rng_of(self, task: Task) -> np.random.Generator:
        return np.random.default_rng([self._seed, int(task.key, 16)])

    def _lettered(self, task: Task, rng: np.random.Generator) -> Task:
        """The task with lettered options; its key stays, whatever their order."""
        options, place = task.metadata["options"], task.metadata["place"]
        order = [int(index) for index in rng.permutation(len(options))] if self._shuffle else list(range(len(options)))
        shown = tuple(options[index] for index in order)
        lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, shown, strict=False)]
        return Task(
            key=task.key,
            prompt="\n".join((task.metadata["question"], "", *lines)),
            answer=LETTERS[order.index(place)],
            metadata={**task.metadata, "options": shown, "place": order.index(place)},
        )
