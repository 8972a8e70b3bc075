"""A customer-service desk: a customer who talks, tools on a database, and rules to keep."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from llmgym.episode import EnvResponse, GeneratedTasks, InitialMessages, Limits, Task, TaskSource, ToolEnv
from llmgym.errors import ConfigError
from llmgym.messages import AssistantMessage, Message, ToolCall
from llmgym.scoring import Score

from ..prompt import with_tools
from ..users import Conversation, Script, ScriptedUser, user_named
from ..users.phrases import agrees, asks_to_confirm, takes_back
from . import intents_orders, intents_refusals
from .customer import MANNERS, STYLES, script_of
from .database import Database, choose, same_state
from .desk import Desk
from .rules import MAX_NUMBERS, POLICY
from .scenario import Draft, Scenario

INTENTS: Mapping[str, Callable[[Draft], None]] = MappingProxyType(
    {
        intent.__name__: intent
        for intent in (
            intents_orders.cancel,
            intents_orders.return_part,
            intents_orders.return_to_other_method,
            intents_orders.exchange,
            intents_orders.change_items,
            intents_orders.change_address,
            intents_orders.change_payment,
            intents_orders.cancel_and_return,
            intents_orders.returns_then_exchanges,
            intents_orders.redeem_gift_card,
            intents_orders.lost_package,
            intents_refusals.cancel_too_late,
            intents_refusals.cancel_shipped,
            intents_refusals.return_too_late,
            intents_refusals.return_too_late_for_gold,
            intents_refusals.return_final_sale,
            intents_refusals.exchange_out_of_stock,
            intents_refusals.order_of_another,
            intents_refusals.unknown_customer,
            intents_refusals.package_in_transit,
            intents_refusals.got_hurt,
            intents_refusals.total_of_two_orders,
            intents_refusals.span_of_prices,
        )
    }
)
"""What customers come for, by name."""

_NUMBER = re.compile(r"(?<![\w.,/:-])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?!\w|[.,:/-]\d)")
_DATE = re.compile(r"(?<![\w-])\d{4}-\d\d-\d\d(?![\w-])")


class StoreEnv(ToolEnv):
    """A customer of an online store wants something; the policy is the agent who serves them with the store's tools.

    Each task has a store of its own, a customer, and something that they want: what the written rules allow, forbid, or
    leave to a human. The customer tells it piece by piece, agrees to proposals or corrects them, and leaves. The
    episode ends there, or when the policy hands the customer over.

    The reward is 1 if the database then equals that after the reference actions, the customer was told the amounts and
    dates that they must know, and the rules were kept on the way: find the customer first, look up before acting,
    act only after a yes to a message that names what is done. Else it is 0. `Score.parts` tells "database", "facts"
    (the share that was told) and "policy" apart. Every task needs an action or an answer that no tool shows.

    Args:
        intents: names of `INTENTS` to draw tasks from. None: all.
        user: who plays the customer: "script"; the address of an endpoint, such as "http://localhost:8000/v1", whose
            model is `user_model`; a function from `llmgym.sampling.ask_sampler` or `ask_endpoint`; or a
            `llmgym.envs.users.UserSimulator`.
        user_model: name of the endpoint's model.
        style: of the customer: "patient", "terse" or "changing" (their mind). None: drawn anew in each episode.
        system_prompt: the rules; "{today}" in it is replaced, and "{tools}" by the tools' schemas, for chat templates
            that show none. None: `llmgym.envs.store.POLICY`.

    Raises:
        ConfigError: there is no such intent, style or user.
    """

    default_limits = Limits(turns=40, turn_tokens=1024, episode_tokens=16384, context_tokens=32768)

    def __init__(
        self,
        *,
        intents: str | Sequence[str] | None = None,
        user: Any = "script",
        user_model: str = "",
        style: str | None = None,
        system_prompt: str | None = None,
    ) -> None:
        names = tuple(INTENTS) if intents is None else (intents,) if isinstance(intents, str) else tuple(intents)
        if not names or not set(names) <= set(INTENTS):
            raise ConfigError(f"intents is {intents!r}, but it must name some of: {', '.join(INTENTS)}.")
        if style is not None and style not in STYLES:
            raise ConfigError(f"style is {style!r}, but there are {', '.join(STYLES)}, or None for any.")
        self.intents = names
        self.user = user_named(
            user,
            user_model,
            script=ScriptedUser(partial(_script, STYLES if style is None else (style,))),
            instruction=_situation,
            styles=tuple(MANNERS.values()) if style is None else (MANNERS[style],),
        )
        self.system_prompt = POLICY if system_prompt is None else system_prompt
        self._desk = Desk()
        self.tools = self._desk.tools()
        self._task: Task | None = None
        self._conversation: Conversation | None = None
        self._said: list[str] = []

    def tasks(self, split: str) -> TaskSource:
        return GeneratedTasks(partial(make_task, self.intents), split=split)

    def reset(self, task: Task, rng: np.random.Generator) -> InitialMessages:
        scenario: Scenario = task.metadata["scenario"]
        self._task, self._said = task, []
        self._desk.open(scenario.database)
        self._conversation = Conversation(self.user)
        first = self._conversation.begin(task, rng)
        rules = with_tools(self.system_prompt, self.tools).replace("{today}", scenario.today.isoformat())
        return InitialMessages((*((Message("system", rules),) if rules else ()), first))

    def answer(self, message: AssistantMessage) -> EnvResponse | Awaitable[EnvResponse]:
        assert self._conversation is not None, "answer follows reset"
        if message.tool_calls:
            return EnvResponse(score=self._score("handed over"), terminated=True)
        self._said.append(message.content)
        return self._conversation.say(message, partial(self._heard, message.content))

    def solve(self, task: Task) -> Sequence[str | ToolCall]:
        scenario: Scenario = task.metadata["scenario"]
        return scenario.turns

    def _heard(self, said: str, answer: Message, is_last: bool) -> EnvResponse:
        if agrees(answer.content) and asks_to_confirm(said):
            self._desk.agreed_to = said
        elif takes_back(answer.content):
            self._desk.agreed_to = ""
        score = self._score("the customer left") if is_last else None
        return EnvResponse(messages=(answer,), score=score, terminated=is_last)

    def _score(self, ending: str) -> Score:
        assert self._task is not None, "a score follows reset"
        scenario: Scenario = self._task.metadata["scenario"]
        is_right = same_state(self._desk.database, reference_state(scenario))
        told = [any(says(text, fact) for text in self._said) for fact in scenario.facts]
        breaches = self._desk.breaches_of(needs_customer=scenario.intent != "unknown_customer")
        parts = {
            "database": float(is_right),
            "facts": sum(told) / len(told) if told else 1.0,
            "policy": float(not breaches),
        }
        untold = [fact for fact, was_told in zip(scenario.facts, told, strict=True) if not was_told]
        problems = [
            *([] if is_right else ["the database is not as it should be"]),
            *([f"the customer was not told {', '.join(untold)}"] if untold else []),
            *breaches,
        ]
        reason = f"{ending}; {'; '.join(problems) or 'all is as it should be'}"
        return Score(reward=float(not problems), parts=parts, expected=self._task.answer, reason=reason)


def make_task(intents: Sequence[str], rng: np.random.Generator) -> Task:
    """A task of one of the intents, with all that it needs in `metadata["scenario"]`."""
    intent = choose(rng, intents)
    draft = Draft(rng)
    INTENTS[intent](draft)
    scenario = draft.finish(intent)
    calls = [[call.name, dict(call.arguments)] for call in scenario.calls]
    answer = json.dumps({"calls": calls, "facts": scenario.facts})
    return Task(key="", prompt=scenario.situation, answer=answer, metadata={"scenario": scenario, "intent": intent})


def reference_state(scenario: Scenario) -> Database:
    """The database after the reference actions."""
    desk = Desk()
    desk.open(scenario.database)
    for call in scenario.calls:
        getattr(desk, call.name)(**call.arguments)
    return desk.database


def _read(text: str) -> frozenset[str | Decimal]:
    """The numbers and dates of a message; none where there are too many to mean anything."""
    dates = _DATE.findall(text)
    numbers = [Decimal(number.replace(",", "")) for number in _NUMBER.findall(_DATE.sub(" ", text))]
    return frozenset([*dates, *numbers]) if len(dates) + len(numbers) <= MAX_NUMBERS else frozenset()


def says(text: str, fact: str) -> bool:
    """True where a message holds an amount or a date as a whole: "10.00" is in "$10", and not in "110.00"."""
    return (fact if _DATE.fullmatch(fact) else Decimal(fact)) in _read(text)


def _script(styles: Sequence[str], task: Task, rng: np.random.Generator) -> Script:
    return script_of(task.metadata["scenario"], choose(rng, styles))


def _situation(task: Task) -> str:
    scenario: Scenario = task.metadata["scenario"]
    return scenario.situation
