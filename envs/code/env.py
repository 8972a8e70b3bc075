"""Programming environments: a problem, a program, and tests that the program cannot talk to."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import ClassVar

import numpy as np

from llmgym.episode import EnvResponse, FiniteTasks, InitialMessages, Limits, MessageEnv, Task
from llmgym.errors import ConfigError
from llmgym.execution import Grading, Sandbox, agrade, shared_sandbox
from llmgym.execution import Limits as RunLimits
from llmgym.messages import AssistantMessage, Message
from llmgym.scoring import Score

from ..math.problem_set import ProblemSet, accept_all
from .builtin import PROBLEMS
from .data import CodeTaskOf
from .exercise import Exercise, fresh_exercise
from .extraction import INSTRUCTIONS, CodeFormat, extract, render
from .problem import Problem

DEFAULT_SYSTEM_PROMPT = "Write a Python program that solves the problem. {format}"
DEFAULT_PROMPT_TEMPLATE = "{problem}\n\n{tests}"


class CodeEnv(MessageEnv):
    """Programming problems with unit tests, from the built-in set or a data set.

    A program runs in a sandbox, and its answers are compared outside of it. Some tests are visible: the policy reads
    them, and with more `attempts` than one it is told which of them fail and may answer again. The last program earns 1
    if it passes all tests, the hidden ones too. `Score.parts` holds "correct", the passed shares "visible" and
    "hidden", and "gap", the first minus the second: a policy that writes for the tests it sees shows a large one.

    The tests of built-in problems are drawn anew in each episode, so there is nothing to learn by heart.

    Args:
        dataset: a .jsonl, .json or .parquet file, or an id of the Hugging Face hub, in a shape that `exercise_of`
            knows. None: the built-in problems.
        test_dataset: the same for the test split. None: the hub's own test split, else a tenth of `dataset`.
        dataset_config: configuration of the data set on the hub.
        difficulty: built-in problems of these difficulties alone, from 1 to 5. None: all.
        num_visible: tests that are shown, where the data set does not say which.
        num_hidden: hidden tests of a built-in problem.
        attempts: programs that the policy may hand in.
        reward: "all": 1 for a program that passes all tests, else 0. "fraction": the share of tests that it passes,
            which invites programs for the easy cases.
        code_format: "last_block": the program is the last fenced block; "whole": all of the answer.
        sandbox: "auto", or a level that `llmgym.execution.open_sandbox` knows.
        allow_unsafe: needed for the sandbox "process", which holds no hostile code.
        timeout_s: CPU seconds that a run of the program may take; with `data` tests one run answers them all. On a
            clock it may take four times as long, so that a busy machine does not change a verdict.
        memory_mib: memory of a run.
        system_prompt: `{format}` in it is replaced by a sentence that asks for the code format. None or "": none.
        prompt_template: the user message; `{problem}`, `{tests}` (the visible ones) and `{format}` are replaced.

    Raises:
        ConfigError: a keyword is out of range.
    """

    default_limits: ClassVar[Limits] = Limits(turns=1, turn_tokens=2048, episode_tokens=2048, context_tokens=8192)

    def __init__(
        self,
        dataset: str | None = None,
        test_dataset: str | None = None,
        *,
        dataset_config: str | None = None,
        difficulty: int | Sequence[int] | None = None,
        num_visible: int = 3,
        num_hidden: int = 37,
        attempts: int = 1,
        reward: str = "all",
        code_format: CodeFormat = "last_block",
        sandbox: str = "auto",
        allow_unsafe: bool = False,
        timeout_s: float = 5.0,
        memory_mib: int = 512,
        system_prompt: str | None = DEFAULT_SYSTEM_PROMPT,
        prompt_template: str = DEFAULT_PROMPT_TEMPLATE,
    ) -> None:
        _check_settings(dataset, test_dataset, difficulty, reward, code_format, prompt_template)
        for name, value, least in (("num_visible", num_visible, 0), ("num_hidden", num_hidden, 1)):
            if value < least:
                raise ConfigError(f"{name} is {value}, but it must be at least {least}.")
        if attempts < 1 or (attempts > 1 and num_visible == 0):
            raise ConfigError(
                f"attempts is {attempts} and num_visible {num_visible}. There must be one attempt, and for more of "
                "them tests whose failures the policy may be told."
            )
        self._source = self._source_of(dataset, test_dataset, dataset_config, num_visible)
        self._difficulty = {difficulty} if isinstance(difficulty, int) else set(difficulty or range(1, 6))
        self._num_visible, self._num_hidden, self._attempts = num_visible, num_hidden, attempts
        self._pays_fraction, self._code_format = reward == "fraction", code_format
        self._sandbox_settings = (sandbox, allow_unsafe)
        self._run_limits = RunLimits(wall_s=4 * timeout_s, cpu_s=timeout_s, memory_mib=memory_mib)
        self._system_prompt, self._prompt_template = system_prompt, prompt_template
        limits = type(self).default_limits
        self.default_limits = Limits(  # type: ignore[misc]  # each attempt is a turn
            turns=attempts,
            turn_tokens=limits.turn_tokens,
            episode_tokens=attempts * limits.episode_tokens,
            context_tokens=attempts * limits.context_tokens,
        )
        self._exercise: Exercise | None = None
        self._num_answers = 0

    def tasks(self, split: str) -> FiniteTasks:
        """The tasks of "train" or "test".

        Raises:
            ConfigError: there is no such split.
            DataError: a row of the data set cannot be used; DataNotFoundError: there is no such data set.
            SandboxError: no sandbox of the level works here.
        """
        if split not in ("train", "test"):
            raise ConfigError(f'split is {split!r}, but there are the splits "train" and "test".')
        self._sandbox()  # what is missing is said here, before a batch of episodes fails
        if self._source is not None:
            return self._source.tasks(split)
        return FiniteTasks([_task(problem) for problem in _problems(split) if problem.difficulty in self._difficulty])

    def reset(self, task: Task, rng: np.random.Generator) -> InitialMessages:
        self._exercise = self._exercise_of(task, Random(int(rng.integers(2**63)))).within(self._run_limits)
        self._num_answers = 0
        messages = [Message("system", self._filled(self._system_prompt))] if self._system_prompt else []
        return InitialMessages((*messages, Message("user", self._filled(self._prompt_template).strip())))

    async def step(self, message: AssistantMessage) -> EnvResponse:
        assert self._exercise is not None, "step before reset"
        self._num_answers += 1
        is_last = self._num_answers == self._attempts
        code = extract(message.content, self._code_format)
        if code is None:
            if not is_last:
                return _again(f"There is no program in your answer. {INSTRUCTIONS[self._code_format]}")
            return EnvResponse(score=Score(reward=0.0, parts={"format": 0.0}, reason="no program"), terminated=True)
        program, sandbox, visible = self._exercise.program(code), self._sandbox(), None
        if self._exercise.visible is not None:
            visible = await agrade(sandbox, self._exercise.visible, program)
            if not (visible.is_all_passed or is_last):
                return _again(_told(visible, self._exercise.shown))
        hidden = await agrade(sandbox, self._exercise.hidden, program)
        return EnvResponse(score=self._score(code, visible, hidden), terminated=True)

    def solve(self, task: Task) -> Sequence[str] | None:
        """The reference solution in the code format."""
        return None if task.answer is None else (render(task.answer, self._code_format),)

    def _score(self, code: str, visible: Grading | None, hidden: Grading) -> Score:
        gradings = [grading for grading in (visible, hidden) if grading is not None]
        is_correct = all(grading.is_all_passed for grading in gradings)
        num_passed = sum(grading.num_passed for grading in gradings)
        num_tests = sum(len(grading.results) for grading in gradings)
        parts = {"correct": float(is_correct), "hidden": hidden.fraction_passed, "format": 1.0}
        if visible is not None:
            parts |= {"visible": visible.fraction_passed, "gap": visible.fraction_passed - hidden.fraction_passed}
        failures = [result.reason for grading in gradings for result in grading.results if not result.is_passed]
        reason = f"passed {num_passed} of {num_tests} tests"
        if failures:
            reason += f"; the first that fails: {failures[0]}"
        if hidden.verdict_source == "in_process":
            reason += "; judged beside the program, which could have decided it itself"
        reward = num_passed / num_tests if self._pays_fraction else float(is_correct)
        return Score(reward=reward, parts=parts, extracted=code, reason=reason)

    def _source_of(
        self, dataset: str | None, test_dataset: str | None, config: str | None, num_visible: int
    ) -> ProblemSet | None:
        """Where problems come from; None for the built-in ones."""
        if dataset is None:
            return None
        return ProblemSet(dataset, test_dataset, config, task_of=CodeTaskOf(num_visible), check=accept_all)

    def _sandbox(self) -> Sandbox:
        level, allow_unsafe = self._sandbox_settings
        return shared_sandbox(level, allow_unsafe=allow_unsafe)

    def _exercise_of(self, task: Task, rng: Random) -> Exercise:
        exercise = task.metadata["exercise"]
        if isinstance(exercise, Problem):
            return fresh_exercise(exercise, rng, num_visible=self._num_visible, num_hidden=self._num_hidden)
        assert isinstance(exercise, Exercise)
        return exercise

    def _filled(self, template: str) -> str:
        assert self._exercise is not None
        tests = ""
        if self._exercise.shown:
            tests = "It must pass these tests, and others:\n\n" + "\n".join(self._exercise.shown)
        filled = template.replace("{format}", INSTRUCTIONS[self._code_format]).replace("{tests}", tests)
        return filled.replace("{problem}", self._exercise.text)


def _again(text: str) -> EnvResponse:
    return EnvResponse(messages=(Message("user", text),))


def _told(visible: Grading, shown: Sequence[str]) -> str:
    """What the policy hears of visible tests that fail."""
    failed = [(index, result.reason) for index, result in enumerate(visible.results) if not result.is_passed]
    is_each_shown = len(shown) == len(visible.results)  # what only prepares may fail, and is a result then
    lines = [f"{shown[index]}\n  {reason}" if is_each_shown else reason for index, reason in failed]
    return f"{len(failed)} of {len(visible.results)} visible tests fail:\n\n" + "\n".join(lines) + "\n\nTry again."


def _problems(split: str) -> list[Problem]:
    """Every fifth built-in problem of a difficulty is a test problem."""
    by_difficulty = sorted(PROBLEMS, key=lambda problem: problem.difficulty)  # stable: the order within stays
    return [problem for index, problem in enumerate(by_difficulty) if (index % 5 == 2) == (split == "test")]


def _task(problem: Problem) -> Task:
    metadata = {"exercise": problem, "difficulty": problem.difficulty}
    return Task(key=problem.name, prompt=problem.stub, answer=problem.solution, metadata=metadata)


def _check_settings(
    dataset: str | None,
    test_dataset: str | None,
    difficulty: int | Sequence[int] | None,
    reward: str,
    code_format: str,
    prompt_template: str,
) -> None:
    if dataset is None and test_dataset is not None:
        raise ConfigError("test_dataset names test problems, but dataset is None. Name the training problems too.")
    if dataset is not None and difficulty is not None:
        raise ConfigError(f"difficulty is {difficulty!r}, but problems come from {dataset!r}. Leave one of them out.")
    chosen = [difficulty] if isinstance(difficulty, int) else list(difficulty or ())
    if any(level not in range(1, 6) for level in chosen):
        raise ConfigError(f"difficulty is {difficulty!r}, but each must be a whole number from 1 to 5.")
    if reward not in ("all", "fraction"):
        raise ConfigError(f'reward is {reward!r}, but it must be "all" or "fraction".')
    if code_format not in INSTRUCTIONS:
        raise ConfigError(
            f"code_format is {code_format!r}, but it must be one of {', '.join(map(repr, INSTRUCTIONS))}."
        )
    if "{problem}" not in prompt_template:
        raise ConfigError(f"prompt_template is {prompt_template!r}. Write {{problem}} where the problem belongs.")
