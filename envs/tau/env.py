"""The environments: a user with a wish, a desk with tools, and a database that must end as it should."""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from llmgym.episode import EnvResponse, FiniteTasks, InitialMessages, Limits, Task, TaskSource, ToolEnv
from llmgym.errors import ConfigError
from llmgym.messages import AssistantMessage, Message, ToolCall
from llmgym.scoring import Score

from ..prompt import with_tools
from ..users import Conversation, user_named
from .data import PublicData, TauData
from .database import Database
from .desk import TRANSFER
from .judging import DESKS, RULES, Rule, end_state, is_checkable, judge
from .made_up import MadeUpData
from .user import InstructedUser

_log = logging.getLogger(__name__)
_POLICY = "{policy}"
_PROMPT = "{prompt}"


class TauEnv(ToolEnv):
    """A domain of tau-bench (Yao et al. 2024, arXiv:2406.12045) or tau2-bench, with tools of our own.

    The episode ends with the user's last word or with the tool `transfer_to_human_agents`, and then pays 1 where the
    database is as the reference actions leave it and everything was said that had to be; before that and where a budget
    ends it, it pays nothing. Nothing that the policy or the user reads tells the reference actions.

    Without data, a small made-up world takes the place of the benchmark: its tasks have keys that begin with "made-up",
    and a warning is logged. Figures from it are no figures of tau-bench. Nor are any with the default user, who tells
    the whole instruction at once, says yes to every question, and leaves when the policy says that it is done or that
    it refuses; published ones have a language model play the user.

    Args:
        data_dir: the public data is in its sub-folder "tau", with v1 and v2 in it. None: the folder that the
            environment variable LLMGYM_DATA_DIR names, or the made-up world where it is not set.
        version: 1, or 2 for tau2-bench.
        rule: "strict" leaves out tasks that ask for no change and no output, which doing nothing would solve, demands
            outputs as whole numbers or words in messages that do not recite numbers, and is exact to the cent.
            "official" is the published rule, whose end states differ if 1 became 1.0; it finds "10" in "2100".
        assertions: what to do with tasks of version 2 whose reward is also a language model's verdict on assertions:
            "skip" them, or "ignore" the assertions.
        user: "script", as above; the address of an endpoint, whose model `user_model` plays the user; a function from
            `llmgym.sampling.ask_sampler` or `ask_endpoint`; or a `llmgym.envs.users.UserSimulator`.
        user_model: name of the endpoint's model.
        system_prompt: the system message; "{policy}" in it is replaced by the domain's written policy, and "{tools}" by
            the tools' schemas, for chat templates that show none.
        prompt_template: the first user message; "{prompt}" is replaced by what the user says.

    Raises:
        ConfigError: a keyword has a value that does not exist.
        DataNotFoundError: the data is not in the folder; the message says how to get it.
    """

    domain: ClassVar[str]
    default_limits: ClassVar[Limits] = Limits(turns=40, turn_tokens=1024, episode_tokens=16_384, context_tokens=32_768)

    def __init__(
        self,
        data_dir: str | None = None,
        *,
        version: int = 1,
        rule: Rule = "strict",
        assertions: Literal["skip", "ignore"] = "skip",
        user: Any = "script",
        user_model: str = "",
        system_prompt: str = _POLICY,
        prompt_template: str = _PROMPT,
    ) -> None:
        _require_one_of("version", version, (1, 2))
        _require_one_of("rule", rule, RULES)
        _require_one_of("assertions", assertions, ("skip", "ignore"))
        if _PROMPT not in prompt_template:
            raise ConfigError(
                f"prompt_template is {prompt_template!r}, but it must contain {_PROMPT!r}, where the user's words go."
            )
        folder = data_dir or os.environ.get("LLMGYM_DATA_DIR")
        self.data: TauData = (
            PublicData(Path(folder) / "tau", self.domain, version) if folder else MadeUpData(self.domain, version)
        )
        self.rule, self.assertions = rule, assertions
        self.user = user_named(user, user_model, script=InstructedUser(), instruction=_instruction)
        self._system_prompt, self._prompt_template = system_prompt, prompt_template
        self.desk = DESKS[self.domain](version)
        self.tools = self.desk.tools(self.data.schemas())
        self._task: Task | None = None
        self._conversation: Conversation | None = None

    def tasks(self, split: str) -> TaskSource:
        """The tasks of a split that this rule can pay.

        Version 1 of retail has "train", "dev" and "test", that of airline "test"; version 2 has "train" and "test".

        Raises:
            ConfigError: there is no such split.
            DataError: the data cannot be read.
        """
        return _tasks(self.data, split, self.rule, self.assertions)

    def reset(self, task: Task, rng: np.random.Generator) -> InitialMessages:
        if task.metadata["is_made_up"]:
            _warn_once(self.domain)
        self.desk.database = Database(self.data.snapshot())
        self._task, self._conversation = task, Conversation(self.user)
        opening = self._conversation.begin(task, rng).content
        system = with_tools(self._system_prompt, self.tools).replace(_POLICY, self.data.policy())
        first = Message("user", self._prompt_template.replace(_PROMPT, opening))
        return InitialMessages((Message("system", system), first) if system else (first,))

    def answer(self, message: AssistantMessage) -> EnvResponse | Awaitable[EnvResponse]:
        assert self._conversation is not None, "answer follows reset"
        if message.tool_calls:  # handed over to a human agent
            return EnvResponse(score=self._judge(), terminated=True)
        return self._conversation.say(message, self._hear)

    def solve(self, task: Task) -> Sequence[str | ToolCall]:
        """The reference actions; then what has to be said, or else a hand-over where they have one."""
        actions: Sequence[ToolCall] = task.metadata["actions"]
        outputs: Sequence[str] = task.metadata["outputs"]
        handover = [action for action in actions if action.name == TRANSFER]
        last = handover[0] if handover and not outputs else f"It is done. {'; '.join(outputs)}".strip()
        return [*(action for action in actions if action.name != TRANSFER), last]

    def _hear(self, said: Message, is_last: bool) -> EnvResponse:
        messages = (said,) if said.content else ()
        return EnvResponse(messages=messages, score=self._judge() if is_last else None, terminated=is_last)

    def _judge(self) -> Score:
        assert self._task is not None
        assert self._conversation is not None
        said = [each.content for each in self._conversation.messages if each.role == "assistant"]
        reference = end_state(self.data, self._task.metadata["actions"])
        return judge(self.rule, self._task, self.desk.database, reference, said)


class TauRetailEnv(TauEnv):
    """The shop of tau-bench: cancelling, changing, returning and exchanging orders. See `TauEnv`."""

    domain = "retail"


class TauAirlineEnv(TauEnv):
    """The airline of tau-bench: booking, changing and cancelling reservations. See `TauEnv`."""

    domain = "airline"


@lru_cache(maxsize=16)
def _tasks(data: TauData, split: str, rule: Rule, assertions: str) -> FiniteTasks:
    tasks = [task for task in data.tasks(split) if assertions == "ignore" or not task.metadata["has_assertions"]]
    if rule == "strict":
        tasks = [task for task in tasks if is_checkable(task, end_state(data, task.metadata["actions"]))]
    return FiniteTasks(tasks)


def _instruction(task: Task) -> str:
    return task.prompt


@lru_cache(maxsize=2)
def _warn_once(domain: str) -> None:
    _log.warning(
        "The tasks of %s are made up and are not tau-bench's: no data was named. Name its folder with data_dir= or the "
        "environment variable LLMGYM_DATA_DIR.",
        domain,
    )


def _require_one_of(name: str, value: Any, known: Sequence[Any]) -> None:
    if value not in known:
        raise ConfigError(f"{name} is {value!r}, but it must be one of {', '.join(map(repr, known))}.")
