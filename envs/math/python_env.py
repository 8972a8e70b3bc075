"""Mathematics with Python at hand."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from llmgym.episode import EnvResponse, InitialMessages, Limits, Task, TaskSource, ToolEnv
from llmgym.execution import Limits as RunLimits
from llmgym.messages import AssistantMessage, ToolCall
from llmgym.tools import Python, ToolError, Workspace
from llmgym.tools.calculator import evaluate

from .env import MathEnv
from .extraction import AnswerFormat

DEFAULT_SYSTEM_PROMPT = "Solve the problem; compute with the tool python. {format}"
_KEPT_OUTPUT_BYTES = 2000


class MathPythonEnv(ToolEnv, MathEnv):  # type: ignore[misc]  # its step may have to be awaited
    """The problems of `MathEnv`, with a tool that runs Python in a sandbox; names stay from call to call.

    The first message that calls no tool is the answer, and the verifier of `MathEnv` judges it. What runs in the
    sandbox is what the policy wrote and nothing else: neither the problem nor its answer is there.

    Args:
        dataset: as in `MathEnv`, and so are all keywords that are not named here.
        sandbox: "auto", or a level that `llmgym.execution.open_sandbox` knows.
        allow_unsafe: needed for the sandbox "process", which holds no hostile code.
        python_timeout_s: seconds that a call of the tool may take.
        memory_mib: memory of a call.

    Raises:
        ConfigError: a keyword is out of range.
    """

    default_limits: ClassVar[Limits] = Limits(turns=6, turn_tokens=1024, episode_tokens=4096, context_tokens=16384)

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
        sandbox: str = "auto",
        allow_unsafe: bool = False,
        python_timeout_s: float = 10.0,
        memory_mib: int = 512,
        system_prompt: str | None = DEFAULT_SYSTEM_PROMPT,
        prompt_template: str = "{problem}",
        format_reward: float = 0.0,
        timeout_s: float = 4.0,
    ) -> None:
        super().__init__(
            dataset,
            test_dataset,
            dataset_config=dataset_config,
            columns=columns,
            families=families,
            difficulty=difficulty,
            seed=seed,
            answer_format=answer_format,
            system_prompt=system_prompt,
            prompt_template=prompt_template,
            format_reward=format_reward,
            timeout_s=timeout_s,
        )
        limits = RunLimits(
            wall_s=python_timeout_s,
            cpu_s=python_timeout_s,
            memory_mib=memory_mib,
            output_bytes=_KEPT_OUTPUT_BYTES,
        )
        self._workspace = Workspace(sandbox=sandbox, limits=limits, allow_unsafe=allow_unsafe)
        self.tools = (Python(self._workspace),)

    def tasks(self, split: str) -> TaskSource:
        """As in `MathEnv`.

        Raises:
            SandboxError, UnknownSandboxError, ConfigError: also where the sandbox cannot be used.
        """
        self._workspace.require_sandbox()
        return super().tasks(split)

    def reset(self, task: Task, rng: np.random.Generator) -> InitialMessages:
        self.begin_tools(rng)
        return super().reset(task, rng)

    def answer(self, message: AssistantMessage) -> EnvResponse:
        return MathEnv.step(self, message)

    def solve(self, task: Task) -> Sequence[str | ToolCall]:  # type: ignore[override]  # it calls the tool first
        """Compute the last step of the worked solution that is one, or else say the answer in Python; then answer."""
        return [ToolCall("python", {"code": _program(task)}), *super().solve(task)]


def _program(task: Task) -> str:
    assert task.answer is not None, "MathEnv.solve says so"
    for line in reversed(task.metadata.get("solution", "").splitlines()):
        for expression in reversed(line.split("=")[:-1]):
            if _is_worth(expression.strip(), task.answer):
                exact = re.sub(r"\d*\.?\d+", r"Fraction('\g<0>')", expression.strip().replace("^", "**"))
                return f"from fractions import Fraction\nprint({exact})"
    return f"print({task.answer!r})"


def _is_worth(expression: str, answer: str) -> bool:
    """Whether it is more than a number, and its value is the answer."""
    try:
        return not re.fullmatch(r"[\d.]*", expression) and evaluate(expression) == evaluate(answer)
    except ToolError:
        return False
