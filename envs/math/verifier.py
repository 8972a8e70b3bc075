"""Scores a message against a reference answer."""

from dataclasses import dataclass, replace

from llmgym.episode import Task
from llmgym.errors import ConfigError
from llmgym.messages import AssistantMessage
from llmgym.scoring import Score

from .comparison import Outcome, Verdict, compare
from .extraction import INSTRUCTIONS, AnswerFormat, extract


def check(response: str, reference: str, *, answer_format: AnswerFormat = "any", timeout_s: float = 4.0) -> Verdict:
    """Find the final answer of a response and compare it with the reference answer. It never raises, and never hangs.

    The same response always gets the same verdict: from any thread or process, in any order, on a loaded machine.

    Args:
        response: the whole text of a model.
        reference: the known right answer, bare: "42", r"\\frac{1}{2}", "x^2 + 1", "(1, 2]", "even".
        answer_format: where the answer is looked for, see `MathVerifier.answer_format`.
        timeout_s: CPU seconds that math-verify may use, where it is asked.
    """
    try:
        answer = extract(response, answer_format)
    except Exception as error:  # as in `compare`
        return Verdict(Outcome.ERROR, f"{type(error).__name__}: {error}"[:300])
    if answer is None:
        return Verdict(Outcome.NO_ANSWER)
    return replace(compare(answer, reference, timeout_s=timeout_s), extracted=answer)


@dataclass(frozen=True, kw_only=True)
class MathVerifier:
    """Extracts the final answer of a message and compares it with the task's reference answer.

    Calling it with a message and a task gives a `Score` with the parts "correct" and "format", both 0 or 1. It pays 1
    for a correct answer. The same message always gets the same verdict, from any thread, on a loaded machine as well.

    A comparison that fails for our reasons gives a `Score` with `is_valid=False`; so does a reference answer that is
    empty. An answer that the resource gate refuses is wrong, and its reason says so.

    Raises (on calling):
        ConfigError: the task has no reference answer.
    """

    answer_format: AnswerFormat = "box"
    """"box": the last `\\boxed{}`, and nothing else, as training wants it; "tags": `<answer>…</answer>`; "last_number":
    the last number in the text; "any": the last box, else the answer that the text states, as evaluation wants it."""
    format_reward: float = 0.0
    """Paid for an answer in the right form that is wrong; in [0, 1)."""
    timeout_s: float = 4.0
    """CPU seconds that math-verify may use, where it is asked; an answer that takes longer is refused."""

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
        verdict = check(message.content, task.answer, answer_format=self.answer_format, timeout_s=self.timeout_s)
        is_well_formed = verdict.extracted is not None
        return Score(
            reward=1.0 if verdict.is_correct else self.format_reward if is_well_formed else 0.0,
            is_valid=verdict.outcome not in (Outcome.ERROR, Outcome.UNUSABLE_REFERENCE),
            parts={"correct": float(verdict.is_correct), "format": float(is_well_formed)},
            extracted=verdict.extracted,
            expected=task.answer,
            reason=verdict.reason,
        )
