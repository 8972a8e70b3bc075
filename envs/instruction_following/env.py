"""Instruction following: prompts with constraints that a program can check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmgym.episode import EnvResponse, GeneratedTasks, InitialMessages, Limits, MessageEnv, Task, TaskSource
from llmgym.errors import ConfigError
from llmgym.messages import AssistantMessage
from llmgym.scoring import Score

from ..prompt import PromptWording
from .constraints import CHECKS, follows, follows_loosely, require_packages
from .drafts import TOPICS
from .generated import DEFAULT_KINDS, GENERATED_KINDS, generated_task
from .public import public_file, public_tasks
from .quality import quality_problem


class InstructionFollowingEnv(MessageEnv):
    """Texts that keep 1 to 4 constraints of IFEval's 25 kinds (Zhou et al. 2023, arXiv:2311.07911).

    The score's parts are the shares of constraints kept, "strict" and "loose", and whether all are, "all_strict" and
    "all_loose"; its reason names those that are not. Keeping constraints is easy for babble, so the reward of generated
    prompts also asks for an honest attempt (see `quality`), and a check of the language fails where there is none to
    tell. On the public prompts neither holds, and the verdicts are the published ones.

    Args:
        dataset: "generated", or "ifeval": the 541 public prompts as the test split, beside generated ones to train on.
        data_dir: the folder of the file `input_data.jsonl`, or the one that holds it in `ifeval`. None: what the
            environment variable LLMGYM_DATA_DIR names.
        mode: "strict" checks the text as it is; "loose" also without its first or last line, and without asterisks.
        reward: "all" pays 1 where every constraint is kept, "fraction" the share of those that are.
        guard: whether only honest attempts are paid. None: for generated prompts alone.
        unknown_language_passes: whether a check of the language holds where none can be told. None: for public prompts
            alone.
        kinds: of generated prompts; none: all that need no optional package.
        max_constraints: of a generated prompt, beside the limit of its words that each has; 1 to 3.
        seed: of the generated supply.
        system_prompt: the system message; "" for none.
        prompt_template: the user message, with "{prompt}" where the prompt goes.

    Raises:
        ConfigError: a keyword is out of range.
    """

    default_limits = Limits(turns=1, turn_tokens=2048, episode_tokens=2048, context_tokens=6144)

    def __init__(
        self,
        *,
        dataset: str = "generated",
        data_dir: str | None = None,
        mode: str = "strict",
        reward: str = "all",
        guard: bool | None = None,
        unknown_language_passes: bool | None = None,
        kinds: Sequence[str] = (),
        max_constraints: int = 3,
        seed: int = 0,
        system_prompt: str = "",
        prompt_template: str = "{prompt}",
    ) -> None:
        choices = (
            ("dataset", dataset, ("generated", "ifeval")),
            ("mode", mode, ("strict", "loose")),
            ("reward", reward, ("all", "fraction")),
        )
        for name, value, known in choices:
            if value not in known:
                raise ConfigError(f"{name} is {value!r}, but it must be {' or '.join(map(repr, known))}.")
        if dataset == "generated" and data_dir is not None:
            raise ConfigError('data_dir is for dataset="ifeval". Ask for it, or leave data_dir out.')
        for kind in kinds:
            if kind not in GENERATED_KINDS:
                raise ConfigError(f"kinds names {kind!r}, but generated are {', '.join(GENERATED_KINDS)}.")
        if max_constraints not in range(1, 4):
            raise ConfigError(f"max_constraints is {max_constraints}, but it is 1, 2 or 3.")
        self._dataset, self._data_dir, self._mode, self._reward = dataset, data_dir, mode, reward
        self._guard, self._unknown_passes = guard, unknown_language_passes
        self._kinds, self._max_constraints, self._seed = tuple(kinds) or DEFAULT_KINDS, max_constraints, seed
        self._wording = PromptWording(system_prompt, prompt_template)
        self._task: Task | None = None

    def tasks(self, split: str) -> TaskSource:
        """Prompts of "train", always generated, or "test".

        Raises:
            ConfigError: there is no such split.
            DataError: a row of the public file cannot be used; DataNotFoundError: it is not there.
            MissingExtraError: a kind needs a package that is not installed.
        """
        is_public = self._dataset == "ifeval" and split == "test"
        require_packages(tuple(CHECKS) if is_public else self._kinds)
        if is_public:
            return public_tasks(public_file(self._data_dir))
        return GeneratedTasks(self._generate, split=split, seed=self._seed)

    def reset(self, task: Task, rng: np.random.Generator) -> InitialMessages:  # noqa: ARG002  nothing is random
        self._task = task
        return self._wording.initial_messages(task)

    def step(self, message: AssistantMessage) -> EnvResponse:
        assert self._task is not None, "step before reset"
        return EnvResponse(score=self._score(message.content, self._task), terminated=True)

    def solve(self, task: Task) -> Sequence[str] | None:
        """A text that keeps the constraints of a generated prompt; None for a public one."""
        return [task.metadata["solution"]] if "solution" in task.metadata else None

    def _generate(self, rng: np.random.Generator) -> Task:
        return generated_task(rng, kinds=self._kinds, max_constraints=self._max_constraints)

    def _score(self, text: str, task: Task) -> Score:
        is_generated = "solution" in task.metadata
        unknown_passes = not is_generated if self._unknown_passes is None else self._unknown_passes
        constraints: Sequence[tuple[str, Mapping[str, Any]]] = task.metadata["constraints"]
        kept = {
            mode: [check(text, kind, arguments, unknown_passes=unknown_passes) for kind, arguments in constraints]
            for mode, check in (("strict", follows), ("loose", follows_loosely))
        }
        parts = {mode: sum(verdicts) / len(verdicts) for mode, verdicts in kept.items()}
        parts |= {f"all_{mode}": float(all(verdicts)) for mode, verdicts in kept.items()}
        broken = [kind for (kind, _), is_kept in zip(constraints, kept[self._mode], strict=True) if not is_kept]
        reward = parts[self._mode] if self._reward == "fraction" else parts[f"all_{self._mode}"]
        reason = f"not kept: {', '.join(broken)}" if broken else "all constraints are kept"
        if is_generated if self._guard is None else self._guard:
            problem = quality_problem(text, prompt=task.prompt, topic=task.metadata.get("topic"), topics=TOPICS)
            if problem is not None:
                reward, reason = 0.0, f"no honest attempt: {problem}; {reason}"
        return Score(reward=reward, parts=parts, reason=reason)
