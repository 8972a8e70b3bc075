"""A user who talks with the policy: played by a script, or by a language model.

The user hears what the policy says, never its tools, and knows nothing of how the task is judged.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any, Protocol

import numpy as np

from llmgym.episode import EnvResponse, Task
from llmgym.errors import SamplerError
from llmgym.messages import AssistantMessage, Message

from .phrases import (
    DONE,
    REFUSES,
    asks_for_facts,
    asks_to_confirm,
    found,
    waits_for_answer,
    without_announcements,
    without_offers,
)

END = "###STOP###"
"""At the end of what a user says: nothing more will follow. It is not shown to the policy."""

Ask = Callable[[Sequence[Message]], str | Awaitable[str]]
"""From a conversation to what a language model answers, as `llmgym.sampling.ask_sampler` and `ask_endpoint` give it."""


class UserSimulator(Protocol):
    """Plays the user of one episode at a time.

    What it remembers of an episode is set anew in `first` and never changed in place: each episode has a shallow copy
    (`copy.copy`) of the simulator that an environment was given.
    """

    def first(self, task: Task, rng: np.random.Generator) -> str:
        """What the user says first. Begins an episode, all of whose randomness comes from `rng`."""

    def reply(self, messages: Sequence[Message]) -> str | Awaitable[str]:
        """What the user says next, with `END` behind it where nothing more will follow.

        Args:
            messages: what user and policy said so far; the last is the policy's.

        Raises:
            InfrastructureError: the user could not answer. That is never the policy's fault, and no reward.
        """


class Conversation:
    """What a user and the policy say to each other in one episode.

    Args:
        user: is copied, so that episodes which run at once may share it.
    """

    def __init__(self, user: UserSimulator) -> None:
        self.user = copy.copy(user)
        self.messages: list[Message] = []

    def begin(self, task: Task, rng: np.random.Generator) -> Message:
        """The user's first message."""
        self.messages = [Message("user", self.user.first(task, rng))]
        return self.messages[0]

    def say(
        self, message: AssistantMessage, respond: Callable[[Message, bool], EnvResponse]
    ) -> EnvResponse | Awaitable[EnvResponse]:
        """Tell the user what the policy said, and what `respond(answer, is_last)` makes of the answer.

        A user that answers later is awaited, and the environment's `step` with it.
        """
        self.messages.append(message)
        answer = self.user.reply(tuple(self.messages))
        return self._later(answer, respond) if isawaitable(answer) else respond(*self._heard(answer))

    async def _later(self, answer: Awaitable[str], respond: Callable[[Message, bool], EnvResponse]) -> EnvResponse:
        return respond(*self._heard(await answer))

    def _heard(self, answer: str) -> tuple[Message, bool]:
        said = Message("user", answer.replace(END, "").strip())
        self.messages.append(said)
        return said, END in answer


# -- a script --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Fact:
    """Something that a user tells whoever asks for it."""

    asked_by: str
    """Regular expression, found without regard to case in a question for it."""
    answer: str


@dataclass(frozen=True, kw_only=True)
class Wish:
    """One thing that a user wants.

    Patterns are regular expressions, found without regard to case.
    """

    request: str
    """What the user says of it."""
    proposal: tuple[str, ...] = ()
    """Patterns of a proposal that the user says yes to; one that lacks any is corrected. The first is what the proposal
    is about. None: there is nothing to agree to."""
    correction: str = ""
    """What the user says to another proposal about the same thing; "" for the request."""
    ends: tuple[tuple[str, str], ...] = ((f"{DONE}|{REFUSES}", ""),)
    """Patterns that the policy's messages must all have matched before the user turns to something else, each with what
    the user says while it alone is missing. The first counts in a message that asks nothing, but whether there is
    anything else; and where there is a proposal, once the user has said yes."""
    facts: tuple[Fact, ...] = ()
    """Told beside those of the script, and before them."""
    changes_to: Wish | None = None
    """At the first question for a yes about it, the user wants this instead, and says its request."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """All that a scripted user knows and wants."""

    opening: str
    wishes: tuple[Wish, ...]
    """At least one, in this order."""
    facts: tuple[Fact, ...] = ()
    one_at_a_time: bool = False
    """True: of several facts that are asked for, the user tells the first that was not told."""
    yes: str = "Yes, please go ahead."
    unsure: str = "You know your rules better than I do."
    """Said to a question for a yes where there is nothing to agree to."""
    goodbye: str = "Thank you, that is all. Goodbye."
    patience: int = 4
    """So many messages in a row that lead nowhere, and the user leaves."""


@dataclass(eq=False)
class ScriptedUser:
    """Follows a script: the same words of the policy always get the same answers.

    A question for a yes is answered with one if it proposes what the user wants, else with a correction. A question for
    facts gets those that it asks for. Where a wish is dealt with, the user turns to the next, and leaves after the
    last. Whether what the policy says is true, the user does not know.
    """

    write: Callable[[Task, np.random.Generator], Script]
    """Makes the script of an episode."""
    _script: Script | None = field(default=None, init=False)
    _wishes: tuple[Wish, ...] = field(default=(), init=False)
    _told: frozenset[str] = field(default=frozenset(), init=False)
    _met: frozenset[int] = field(default=frozenset(), init=False)
    """Places of the ends of the present wish that were met."""
    _has_agreed: bool = field(default=False, init=False)
    _num_lost: int = field(default=0, init=False)

    def first(self, task: Task, rng: np.random.Generator) -> str:
        self._script = self.write(task, rng)
        self._told, self._num_lost = frozenset(), 0
        self._turn_to(self._script.wishes)
        return self._script.opening

    def reply(self, messages: Sequence[Message]) -> str:
        assert self._script is not None, "reply follows first"
        answer = self._answer(messages[-1].content)
        if answer is not None:
            self._num_lost = 0
            return answer
        self._num_lost += 1
        if self._num_lost >= self._script.patience:
            return f"This leads nowhere. Goodbye. {END}"
        if self._has_agreed:
            return self._script.yes
        is_question = asks_to_confirm(messages[-1].content)
        return self._script.unsure if is_question and not self._wishes[0].proposal else self._wishes[0].request

    def _answer(self, said: str) -> str | None:
        """What the user says to a message that leads somewhere."""
        assert self._script is not None
        wish, is_question = self._wishes[0], asks_to_confirm(said)
        heard = [without_announcements(said), *[said] * (len(wish.ends) - 1)]
        met = {place for place, text in enumerate(heard) if found(wish.ends[place][0], text)} - self._met
        said = without_offers(said)
        if waits_for_answer(said) or self._must_agree:
            met.discard(0)
        self._met |= met
        if is_question and wish.proposal:
            if wish.changes_to is not None and found(wish.proposal[0], said):
                self._turn_to((wish.changes_to, *self._wishes[1:]))
                return self._wishes[0].request
            if all(found(pattern, said) for pattern in wish.proposal):
                self._has_agreed = True
                return self._script.yes
        if len(self._met) == len(wish.ends):
            self._turn_to(self._wishes[1:])
            return self._wishes[0].request if self._wishes else f"{self._script.goodbye} {END}"
        missing = next(reminder for place, (_, reminder) in enumerate(wish.ends) if place not in self._met)
        if met and missing:
            return missing
        if is_question and wish.proposal and found(wish.proposal[0], said):
            is_wrong = self._has_agreed or any(found(pattern, said) for pattern in wish.proposal[1:])
            self._has_agreed = False
            return f"{'No. ' if is_wrong else ''}{wish.correction or wish.request}"
        return self._facts_asked_by(said, wish) or None

    @property
    def _must_agree(self) -> bool:
        return bool(self._wishes[0].proposal) and not self._has_agreed

    def _turn_to(self, wishes: tuple[Wish, ...]) -> None:
        self._wishes, self._met, self._has_agreed = wishes, frozenset(), False

    def _facts_asked_by(self, said: str, wish: Wish) -> str:
        assert self._script is not None
        if not asks_for_facts(said):
            return ""
        known = (*wish.facts, *self._script.facts)
        answers = list(dict.fromkeys(fact.answer for fact in known if found(fact.asked_by, said)))
        if self._script.one_at_a_time:
            answers = ([answer for answer in answers if answer not in self._told] or answers)[:1]
        self._told |= set(answers)
        return " ".join(answers)


# -- a language model ------------------------------------------------------------------------------------------

_ROLE = """\
You play a customer who talks with a service agent. Your situation and your wishes:

{instruction}

Say one short message at a time, as a customer would write it. Tell only what the situation says, and only what the \
agent needs at the moment; if you do not know something, say so. Do not do the agent's work, and do not say that you \
play a part, whatever the agent writes. Where the agent asks for your agreement to something that you want, answer "Yes" \
and nothing more. As soon as your wishes are fulfilled or finally refused, or you are handed over to somebody else, \
say goodbye and write {end} at the end of that message."""


@dataclass(eq=False)
class ModelUser:
    """Has a language model play the user. `reply` is awaited where `ask` is.

    The model sees the conversation from the other side: the policy is the one who asks it. What it sees decides its
    random stream where `ask` is of a sampler, so the same task, seed and words of the policy get the same answers.
    """

    ask: Ask
    """The model; not the one that is trained."""
    instruction: Callable[[Task], str]
    """Who the user is, what they know and what they want. Say nothing here that the policy must not hear."""
    styles: tuple[str, ...] = ("",)
    """Sentences about the user's manner; one is drawn for each episode and added to the instruction."""
    opening: str = "Hello, I need some help."
    """Said first, so that an episode begins without waiting for the model."""
    greeting: str = "Hello! How can I help you?"
    """Shown to the model as what the agent said before the opening: many chat templates want somebody else to begin."""
    role: str = _ROLE
    """The system message; `{instruction}` and `{end}` in it are replaced."""
    max_chars: int = 4000
    """Of one message of the policy that the model reads; a policy must not be able to overflow its context."""
    _system: str = field(default="", init=False)

    def __deepcopy__(self, memo: dict[int, Any]) -> ModelUser:
        return copy.copy(self)  # the model is shared, and the rest never changes in place

    def first(self, task: Task, rng: np.random.Generator) -> str:
        instruction = f"{self.instruction(task)} {self.styles[int(rng.integers(len(self.styles)))]}".strip()
        self._system = self.role.replace("{end}", END).replace("{instruction}", instruction)
        return self.opening

    def reply(self, messages: Sequence[Message]) -> str | Awaitable[str]:
        seen = [self._seen(each) for each in messages]
        answer = self.ask((Message("system", self._system), Message("user", self.greeting), *seen))
        return self._later(answer) if isawaitable(answer) else self._checked(answer)

    async def _later(self, answer: Awaitable[str]) -> str:
        return self._checked(await answer)

    def _seen(self, message: Message) -> Message:
        # Half characters cannot be sent to a server, and a policy must not be able to make its user fail.
        text = message.content[: self.max_chars].encode("utf-8", "replace").decode()
        return Message("assistant" if message.role == "user" else "user", text)

    def _checked(self, answer: Any) -> str:
        if not isinstance(answer, str) or not answer.strip():
            raise SamplerError(
                f"The model that plays the user said {answer!r:.80}, but a user says something. Check its prompt "
                "format and the tokens that it may sample."
            )
        return answer
