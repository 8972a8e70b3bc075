"""Function calling: one request, some functions, and the calls that answer it, checked by structure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmgym.episode import EnvResponse, GeneratedTasks, InitialMessages, Limits, MessageEnv, Task, TaskSource
from llmgym.errors import ConfigError
from llmgym.messages import AssistantMessage, Message, ToolCall
from llmgym.scoring import Score
from llmgym.tools import Tool

from .checker import Mistake, find_mistake
from .decoding import Call, UnreadableCalls, read_calls
from .generated import generated_task
from .leaderboard import CATEGORIES, leaderboard_folder, leaderboard_tasks, require_categories
from .refusals import refusal_problem
from .request import REFUSAL, calls_text, tool_calls
from .schemas import AnswerFunction, functions_text, tool_name

_FUNCTIONS, _PROMPT = "{functions}", "{prompt}"
PROMPT_MODE_SYSTEM_PROMPT = f"""You answer requests by calling functions. These can be called, each described in JSON:
{_FUNCTIONS}

Answer with nothing but the calls that the request needs, in one list:
[name(parameter=value, parameter=value), name(parameter=value)]
If no function fits, or something is missing that a function needs, call none, and say so in a sentence."""
NATIVE_SYSTEM_PROMPT = (
    "Answer the request by calling the functions that it needs. If none fits, or something is missing that a function "
    "needs, call none, and say so in a sentence."
)


class FunctionCallingEnv(MessageEnv):
    """Which functions to call with which arguments, in one turn; right calls earn 1, any mistake 0.

    Calls are compared with the allowed ones by the rules of the Berkeley Function Calling Leaderboard, whose error
    labels begin the score's `reason`; its verdict is in the score's parts as "official". Where no function fits, its
    verdict is right for whatever holds no call, and where it only asks for a call ("live_relevance"), for any: the
    reward asks for a readable refusal (see `refusals`), or for calls of functions that are there.

    Args:
        dataset: "generated", or "bfcl": the leaderboard's tasks as the test split, beside generated ones to train on.
        data_dir: the folder of the leaderboard's files, or the one that holds it as `bfcl`. None: what the environment
            variable LLMGYM_DATA_DIR names.
        categories: of the leaderboard's tasks; none: all.
        mode: "prompt": functions are listed in the system prompt and called in Python text, whatever the model.
            "native": functions are the episode's tools, with underscores for dots: the tokenizer's chat template must
            show them. They are called in the model's own form (`tool_format="hermes"` or another with room for
            several arguments).
        irrelevance: share of generated tasks that no function fits. A constant refusal earns as much: 0 by default.
        require_readable_refusal: False pays the leaderboard's own verdict where it knows no right calls.
        seed: of the generated supply.
        system_prompt: the system message, with "{functions}" in prompt mode. None: one for the mode.
        prompt_template: the user message, with "{prompt}" where the request goes.

    Raises:
        ConfigError: a keyword is out of range, or a prompt lacks its place.
    """

    default_limits = Limits(turns=1, turn_tokens=1024, episode_tokens=1024, context_tokens=16384)

    def __init__(
        self,
        *,
        dataset: str = "generated",
        data_dir: str | None = None,
        categories: Sequence[str] = (),
        mode: str = "prompt",
        irrelevance: float = 0.0,
        require_readable_refusal: bool = True,
        seed: int = 0,
        system_prompt: str | None = None,
        prompt_template: str = _PROMPT,
    ) -> None:
        for name, value, known in (("dataset", dataset, ("generated", "bfcl")), ("mode", mode, ("prompt", "native"))):
            if value not in known:
                raise ConfigError(f"{name} is {value!r}, but it must be {' or '.join(map(repr, known))}.")
        if dataset == "generated" and (data_dir is not None or categories):
            raise ConfigError('data_dir and categories are for dataset="bfcl". Ask for it, or leave them out.')
        if not 0 <= irrelevance <= 1:
            raise ConfigError(f"irrelevance is {irrelevance}, but it is a share, from 0 to 1.")
        default = PROMPT_MODE_SYSTEM_PROMPT if mode == "prompt" else NATIVE_SYSTEM_PROMPT
        self._system_prompt = default if system_prompt is None else system_prompt
        if _PROMPT not in prompt_template or (mode == "prompt" and _FUNCTIONS not in self._system_prompt):
            raise ConfigError(
                f"prompt_template must contain {_PROMPT!r}, and in prompt mode system_prompt {_FUNCTIONS!r}, where the "
                "request and the functions go."
            )
        self._dataset, self._data_dir, self._mode, self._seed = dataset, data_dir, mode, seed
        self._categories = require_categories(categories) or CATEGORIES
        self._irrelevance, self._require_readable_refusal = irrelevance, require_readable_refusal
        self._prompt_template = prompt_template
        self._task: Task | None = None

    def tasks(self, split: str) -> TaskSource:
        """Tasks of "train", always generated, or "test".

        Raises:
            ConfigError: there is no such split.
            DataError: a row of the leaderboard's files cannot be used; DataNotFoundError: they are not there.
        """
        if self._dataset == "bfcl" and split == "test":
            return leaderboard_tasks(leaderboard_folder(self._data_dir), self._categories)
        return GeneratedTasks(self._generate, split=split, seed=self._seed)

    def reset(self, task: Task, rng: np.random.Generator) -> InitialMessages:  # noqa: ARG002  nothing is random
        self._task = task
        system = self._system_prompt
        if self._mode == "native":
            self.tools = self.tools_of(task)
        else:
            system = system.replace(_FUNCTIONS, functions_text(task.metadata["functions"], task.metadata["language"]))
        messages = [Message(role, text) for role, text in task.metadata["messages"]]
        if messages[0].role == "system":
            system = f"{system}\n\n{messages.pop(0).content}" if system else messages.pop(0).content
        messages[-1] = Message("user", self._prompt_template.replace(_PROMPT, messages[-1].content))
        return InitialMessages((*([Message("system", system)] if system else []), *messages))

    def step(self, message: AssistantMessage) -> EnvResponse:
        assert self._task is not None, "step before reset"
        return EnvResponse(score=self._score(message, self._task), terminated=True)

    def tools_of(self, task: Task) -> Sequence[Tool]:
        """In native mode the functions of the task, else none."""
        functions, language = task.metadata["functions"], task.metadata["language"]
        return tuple(AnswerFunction(function, language) for function in functions) if self._mode == "native" else ()

    def solve(self, task: Task) -> Sequence[str | Sequence[ToolCall]] | None:
        """The reference calls in one turn, or a refusal.

        None where any call is right, and where the leaderboard's own rules refuse the allowed values, as on a few of
        its tasks.
        """
        if not task.metadata["expected"]:
            return [REFUSAL] if "irrelevance" in task.metadata["category"] else None
        if self._mode == "prompt":
            text = calls_text(task.metadata["calls"])
            return [text] if self._mistake(read_calls(text, task.metadata["language"]), task) is None else None
        calls = tool_calls(task.metadata["calls"])
        return [calls] if self._mistake(_answered(calls), task) is None else None

    def _generate(self, rng: np.random.Generator) -> Task:
        return generated_task(rng, irrelevance=self._irrelevance)

    def _score(self, message: AssistantMessage, task: Task) -> Score:
        try:
            calls = self._read(message, task.metadata["language"])
        except UnreadableCalls as error:
            calls, problem = None, Mistake("ast_decoder:decoder_failed", str(error))
        if task.metadata["expected"]:
            mistake = problem if calls is None else self._mistake(calls, task)
        elif "irrelevance" in task.metadata["category"]:
            is_call = calls or (self._mode == "native" and message.malformed_calls)
            mistake = (
                Mistake("irrelevance_error:decoder_success", "a call, where no function fits") if is_call else None
            )
        else:
            mistake = None if calls else Mistake("relevance_error:decoder_failed", "no call, where a function fits")
        is_right = mistake is None
        reason = "right" if mistake is None else f"{mistake.label}: {mistake.detail}"
        is_paid = is_right
        if is_right and not task.metadata["expected"] and self._require_readable_refusal:
            why_not = _unknown_function(calls, task) if calls else _no_refusal(message, task)
            if why_not is not None:
                is_paid, reason = False, why_not
        return Score(
            reward=float(is_paid),
            parts={"official": float(is_right)},
            extracted=None if calls is None else calls_text([(call.name, call.arguments) for call in calls]),
            expected=task.answer,
            reason=reason,
        )

    def _read(self, message: AssistantMessage, language: str) -> list[Call]:
        if self._mode == "prompt":
            return read_calls(message.content, language)
        if message.malformed_calls:
            raise UnreadableCalls(message.malformed_calls[0].problem)
        return _answered(message.tool_calls)

    def _mistake(self, calls: Sequence[Call], task: Task) -> Mistake | None:
        if not calls and self._mode == "native":
            return Mistake("ast_decoder:decoder_failed", "no call")
        return find_mistake(
            calls,
            task.metadata["functions"],
            task.metadata["expected"],
            category=task.metadata["category"],
            language=task.metadata["language"],
            dots_as_underscores=self._mode == "native",
        )


def _no_refusal(message: AssistantMessage, task: Task) -> str | None:
    problem = refusal_problem(message.content, task.metadata["messages"][-1][1])
    return None if problem is None else f"no readable refusal: {problem}"


def _unknown_function(calls: Sequence[Call], task: Task) -> str | None:
    names = {
        form for function in task.metadata["functions"] for form in (function["name"], tool_name(function["name"]))
    }
    return next((f"no function is called {call.name!r:.60}" for call in calls if call.name not in names), None)


def _answered(calls: Sequence[ToolCall]) -> list[Call]:
    return [Call(call.name, call.arguments) for call in calls]
