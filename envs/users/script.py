"""A user who follows a script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from llmgym.episode import Task
from llmgym.messages import Message

from .conversation import END
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
