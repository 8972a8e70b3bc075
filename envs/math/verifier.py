"""Scores a message against a reference answer."""

from dataclasses import dataclass

from llmgym.episode import Task
from llmgym.errors import ConfigError
from llmgym.messages import AssistantMessage
from llmgym.scoring import Score

from .comparison import compare
from .extraction import INSTRUCTIONS, AnswerFormat, extract


@dataclass(frozen=True, kw_only=True)
class MathVerifier:
    """Extracts the final answer of a message and compares it with the task's reference answer.

    Calling it with a message and a task gives a `Score` with the parts "correct" and "format", both 0 or 1. It pays 1
    for a correct answer. The same message always gets the same verdict, from any thread, on a loaded machine as well.

    Raises (on calling):
        MissingExtraError: the reference is no plain number, and math-verify is not installed.
        VerifierError: the comparison itself failed.
    """

    answer_format: AnswerFormat = "box"
    """"box": the last `\\boxed{}`; "tags": `<answer>…</answer>`; "last_number": the last number in the text."""
    format_reward: float = 0.0
    """Paid for an answer in the right form that is wrong; in [0, 1)."""
    timeout_s: float = 4.0
    """CPU seconds that a comparison may take; an answer that takes longer is wrong."""

    def __post_init__(self) -> None:
        if self.answer_format not in INSTRUCTIONS:
            raise ConfigError(
                f"answer_format is {self.answer_format!r}, but it must be one of {', '.join(map(repr, INSTRUCTIONS))}."
            )
        if not 0 <= self.format_reward < 1:
            raise ConfigError(
                f"format_reward is {self.format_reward}. It must be at least 0 and below 1: a correct answer earns 1."
            )
        if not 0 < self.timeout_s <= 600:
            raise ConfigError(f"timeout_s is {self.timeout_s}, but it must be above 0 and at most 600 seconds.")

    def __call__(self, message: AssistantMessage, task: Task) -> Score:
        if task.answer is None:
            raise ConfigError(f"Task {task.key!r} has no reference answer. MathVerifier needs one in Task.answer.")
        answer = extract(message.content, self.answer_format)
        if answer is None:
            return self._score(task.answer, None, is_correct=False, reason="no answer")
        verdict = compare(answer, task.answer, timeout_s=self.timeout_s)
        reason = "correct" if verdict.is_correct else "wrong"
        if verdict.problem:
            reason += f": {verdict.problem}"
        return self._score(task.answer, answer, is_correct=verdict.is_correct, reason=reason)

    def _score(self, expected: str, answer: str | None, *, is_correct: bool, reason: str) -> Score:
        is_well_formed = answer is not None
        return Score(
            reward=1.0 if is_correct else self.format_reward if is_well_formed else 0.0,
            parts={"correct": float(is_correct), "format": float(is_well_formed)},
            extracted=answer,
            expected=expected,
            reason=reason,
        )
