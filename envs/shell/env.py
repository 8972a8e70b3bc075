"""Tasks in a file system, done with a shell and judged by what is there in the end."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from random import Random
from typing import ClassVar

import numpy as np

from llmgym.episode import EnvResponse, GeneratedTasks, InitialMessages, Limits, Task, TaskSource, ToolEnv
from llmgym.errors import ConfigError
from llmgym.execution import Limits as RunLimits
from llmgym.execution import Session
from llmgym.messages import AssistantMessage, ToolCall
from llmgym.scoring import Score
from llmgym.threads import in_thread
from llmgym.tools import Shell, Submit, Workspace

from ..prompt import PromptWording
from .comparison import difference
from .exercise import Exercise
from .families import ABOUT_METADATA, FAMILIES
from .tree import CAN_CHANGE_MODES, SCRATCH, Tree, dump, lay, unpack

DEFAULT_SYSTEM_PROMPT = (
    "Do the task with the tool shell, which works in a folder of files. Then call submit: with the answer where the"
    " task asks a question, else with an empty answer. A question is only answered; it changes nothing. All files"
    " count, with their contents, names and permissions, also those that the task does not name, so leave nothing else"
    f" behind. Only what is in the folder {SCRATCH}, which you may make, does not count. Each line of a text file ends"
    " with a newline."
)
_KEPT_OUTPUT_BYTES = 3000


class ShellEnv(ToolEnv):
    """A task in a file system: find, count, edit, rename, repair, pack, and so on, generated without end.

    The policy works with a shell in a sandbox and ends with `submit`, or with a message that calls no tool: its text is
    the answer then. It earns 1 if all files are in the end as the generator computed it, and the answer is right where
    the task asks for one. What is there is read by a process of its own, after all that the policy started is gone, and
    compared outside of the sandbox. `Score.parts` holds "files" and, for a question, "answer".

    Neither the expected files nor the answer are ever in the sandbox. Runs of white space in an answer are one space.

    Args:
        families: names of the families to generate from, see `FAMILIES`. None: all but those about permissions and
            times of files (`ABOUT_METADATA`), which some sandboxes let nobody set.
        difficulty: 1 (few files), 2 (more of them, deeper) or 3 (with spaces in their names).
        seed: of the generated supply.
        sandbox: "auto", or a level that `llmgym.execution.open_sandbox` knows.
        allow_unsafe: needed for the sandbox "process", which holds no hostile code.
        command_timeout_s: seconds that a command may take.
        memory_mib: memory of a command.
        system_prompt: the system message; "" for none.
        prompt_template: the user message, with "{prompt}" where the task goes.

    Raises:
        ConfigError: a keyword is out of range.
    """

    default_limits: ClassVar[Limits] = Limits(turns=12, turn_tokens=1024, episode_tokens=8192, context_tokens=24576)

    def __init__(
        self,
        *,
        families: Sequence[str] | None = None,
        difficulty: int = 1,
        seed: int = 0,
        sandbox: str = "auto",
        allow_unsafe: bool = False,
        command_timeout_s: float = 10.0,
        memory_mib: int = 512,
        system_prompt: str = DEFAULT_SYSTEM_PROMPT,
        prompt_template: str = "{prompt}",
    ) -> None:
        self._families = _checked_families(families)
        if difficulty not in (1, 2, 3):
            raise ConfigError(f"difficulty is {difficulty!r}, but it must be 1, 2 or 3.")
        self._difficulty, self._seed = difficulty, seed
        self.wording = PromptWording(system_prompt, prompt_template)
        limits = RunLimits(
            wall_s=command_timeout_s,
            cpu_s=command_timeout_s,
            memory_mib=memory_mib,
            output_bytes=_KEPT_OUTPUT_BYTES,
        )
        self.workspace = _Files(sandbox=sandbox, limits=limits, allow_unsafe=allow_unsafe)
        submit = Submit(description="Ends the task, with the answer where it asks a question.")
        self.tools = (Shell(self.workspace), submit)
        self._task: Task | None = None

    def tasks(self, split: str) -> TaskSource:
        """The tasks of "train" or "test".

        Raises:
            ConfigError: there is no such split, or the sandbox lets nobody set the permissions that a family is about.
            SandboxError: no sandbox of the level works here.
        """
        self._require_metadata()
        return GeneratedTasks(self._generate, split=split, seed=self._seed)

    def reset(self, task: Task, rng: np.random.Generator) -> InitialMessages:
        self._task = task
        self.workspace.tree = _exercise(task).before
        self.begin_tools(rng)
        return self.wording.initial_messages(task)

    async def answer(self, message: AssistantMessage) -> EnvResponse:
        return await in_thread(partial(self._judge, message.content))

    def solve(self, task: Task) -> Sequence[str | ToolCall]:
        """The commands, and then the answer."""
        call = ToolCall("shell", {"command": _exercise(task).commands})
        return [call, ToolCall("submit", {"answer": task.answer or ""})]

    def _judge(self, said: str) -> EnvResponse:
        assert self._task is not None, "answer follows reset"
        exercise = _exercise(self._task)
        problem = self.workspace.difference(exercise)
        self.workspace.close()
        parts, extracted = {"files": float(problem is None)}, None
        if exercise.answer is not None:
            extracted = " ".join(said.split())
            parts["answer"] = float(extracted == " ".join(exercise.answer.split()))
            if problem is None and not parts["answer"]:
                problem = "the answer is wrong"
        score = Score(
            reward=float(problem is None),
            parts=parts,
            extracted=extracted,
            expected=exercise.answer,
            reason=problem or "all is as it should be",
        )
        return EnvResponse(score=score, terminated=True)

    def _generate(self, rng: np.random.Generator) -> Task:
        family = self._families[int(rng.integers(len(self._families)))]
        exercise = FAMILIES[family](Random(int(rng.integers(2**63))), self._difficulty)
        metadata = {"family": family, "difficulty": self._difficulty, "exercise": exercise}
        return Task(key="", prompt=exercise.prompt, answer=exercise.answer, metadata=metadata)

    def _require_metadata(self) -> None:
        sandbox = self.workspace.require_sandbox()
        chosen = [name for name in self._families if name in ABOUT_METADATA]
        if chosen and sandbox.run(CAN_CHANGE_MODES).stdout.data != b"True\n":
            raise ConfigError(
                f"The sandbox {sandbox.level!r} lets this user change no permissions and times of files, but the"
                f" families {', '.join(chosen)} are about them. Name other families, or another sandbox."
            )


class _Files(Workspace):
    """A workspace that begins with the tree of a task."""

    tree: Tree = {}  # noqa: RUF012  (never changed, only replaced)

    def fill(self, session: Session) -> None:
        lay(session, self.tree)

    def difference(self, exercise: Exercise) -> str | None:
        """The first way in which the files are not as they should be.

        Raises:
            SandboxError: they cannot be seen.
        """
        if not self.is_open:  # nothing ran, so nothing changed
            return None if exercise.after is None else "nothing was done"
        actual = dump(self.session)
        if actual is None:
            return "there is far more than there should be"
        return difference(
            exercise.goal, actual, lambda data: unpack(self.session, data), exact_modes=exercise.exact_modes
        )


def _exercise(task: Task) -> Exercise:
    exercise = task.metadata["exercise"]
    assert isinstance(exercise, Exercise)
    return exercise


def _checked_families(families: Sequence[str] | None) -> tuple[str, ...]:
    if families is None:
        return tuple(name for name in FAMILIES if name not in ABOUT_METADATA)
    names = (families,) if isinstance(families, str) else tuple(families)
    if not names or any(name not in FAMILIES for name in names):
        raise ConfigError(f"families is {families!r}, but each must be one of: {', '.join(FAMILIES)}.")
    return names
