"""What a customer wants, and how an agent who keeps the rules deals with it."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from llmgym.messages import ToolCall

from ..users import Fact
from ..users.phrases import DONE
from .database import Database, choose, make_database
from .desk import STORE_CREDIT

AMOUNT = r"(?<![\w.,])\d[\d,]*\.\d\d(?!\w|[.,]\d)"
"""An amount of money, as agents write it."""


@dataclass(frozen=True, kw_only=True)
class Desire:
    """One thing that a customer wants, as each style of customer says it. Patterns are those of `users.Wish`."""

    request: str
    """All of it."""
    brief: str
    """What a customer of few words says of it; the rest is in `facts`."""
    facts: tuple[Fact, ...] = ()
    proposal: tuple[str, ...] = ()
    ends: tuple[tuple[str, str], ...] = ((DONE, ""),)
    first_mind: str = ""
    """What a customer who changes their mind asks for at first; "" where they only hesitate."""
    always_changes: bool = False
    """True: whatever their style, customers ask for `first_mind` at first."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One task of the store."""

    intent: str
    database: Database
    """As the episode finds it."""
    today: dt.date
    identity: tuple[Fact, ...]
    """What customers say about themselves when asked."""
    desires: tuple[Desire, ...]
    calls: tuple[ToolCall, ...]
    """The reference actions: all calls that change the database."""
    facts: tuple[str, ...]
    """Amounts and dates that the customer must be told."""
    turns: tuple[str | ToolCall, ...]
    """The reference turns."""

    @property
    def situation(self) -> str:
        """Who the customer is and what they want, for whoever plays them; nothing of what the agent should do."""
        about = " ".join(dict.fromkeys(fact.answer for fact in self.identity))
        wishes = []
        for desire in self.desires:
            told = " ".join(dict.fromkeys([desire.request, *(fact.answer for fact in desire.facts)]))
            if desire.always_changes:
                told = (
                    f'At first: "{desire.first_mind}" When the agent asks for your agreement to that, you change your '
                    f'mind: "{told}"'
                )
            wishes.append(f"- {told}")
        return f"When asked who you are: {about}\nYour wishes, one after the other:\n" + "\n".join(wishes)


@dataclass(eq=False)
class Draft:
    """A scenario in the making: a store, a customer, and the reference agent's turns so far."""

    rng: np.random.Generator
    today: dt.date = field(init=False)
    database: Database = field(init=False)
    customer_id: str = field(init=False)
    desires: list[Desire] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    turns: list[str | ToolCall] = field(default_factory=list)
    identity: tuple[Fact, ...] = field(init=False)
    knows_numbers: bool = field(init=False)
    """False: the customer tells orders by what is in them."""

    def __post_init__(self) -> None:
        self.today = dt.date(2031, 1, 1) + dt.timedelta(days=int(self.rng.integers(365)))
        self.database = make_database(self.rng, self.today)
        self.customer_id = choose(self.rng, list(self.database["customers"]))
        self.knows_numbers = bool(self.rng.random() < 0.7)
        self._introduce()

    def _introduce(self) -> None:
        """Customers know their e-mail address, or else their name and ZIP code."""
        customer, knows_email = self.customer, self.rng.random() < 0.6
        first, last, zip_code = customer["first_name"], customer["last_name"], customer["address"]["zip"]
        email = f"My e-mail address is {customer['email']}." if knows_email else "I forgot which e-mail address I used."
        name = f"My name is {first} {last}."
        self.identity = (
            Fact(asked_by=r"\bname\b|who (are|am)|identi|verif", answer=name),
            Fact(asked_by=r"\b(zip|postal|post ?code|postcode)\b", answer=f"My ZIP code is {zip_code}."),
            Fact(asked_by=r"e-?mail", answer=email),
        )
        self.turns.append("Hello! What is the e-mail address of your account, please?")
        if knows_email:
            self.turns.append(ToolCall("find_customer_by_email", {"email": customer["email"]}))
        else:
            self.turns += ["What is your name, please?", "And what is your ZIP code?"]
            who = {"first_name": first, "last_name": last, "zip": zip_code}
            self.turns.append(ToolCall("find_customer_by_name_and_zip", who))
        self.turns += [ToolCall("get_customer", {"customer_id": self.customer_id}), "What can I do for you?"]

    @property
    def customer(self) -> dict[str, Any]:
        """Of this task."""
        found: dict[str, Any] = self.database["customers"][self.customer_id]
        return found

    def orders(self, status: str) -> list[str]:
        """Ids of the customer's orders in this status, in an order that means nothing."""
        found = [name for name in self.customer["order_ids"] if self.order(name)["status"] == status]
        return [found[int(place)] for place in self.rng.permutation(len(found))]

    def returnable(self, order_id: str) -> list[dict[str, Any]]:
        """The items of an order, none of which is of a final sale from now on."""
        items: list[dict[str, Any]] = self.order(order_id)["items"]
        for item in items:
            item["is_final_sale"] = False
        return items

    def order(self, order_id: str) -> dict[str, Any]:
        """Of any customer."""
        found: dict[str, Any] = self.database["orders"][order_id]
        return found

    def name(self, order_id: str) -> str:
        """What the customer calls an order: by its number, or by its items where that is enough."""
        alike = [each for each in self.customer["order_ids"] if self._items(each) == self._items(order_id)]
        if self.knows_numbers or alike != [order_id]:
            return f"order {order_id}"
        return f"order with {listing(sorted(self._items(order_id)))}"

    def _items(self, order_id: str) -> set[str]:
        return {item["name"] for item in self.order(order_id)["items"]}

    def order_fact(self, order_id: str) -> Fact:
        """Which order it is, for whoever asks."""
        return Fact(asked_by=r"\border\b", answer=f"It is the {self.name(order_id)}.")

    def methods(self, order_id: str) -> tuple[str, str]:
        """The payment method of an order, and the other one of the customer."""
        own = self.order(order_id)["payment_method_id"]
        (other,) = (name for name in self.customer["payment_methods"] if name != own)
        return own, other

    def kind(self, method_id: str) -> str:
        """What customers call a payment method."""
        if method_id == STORE_CREDIT:
            return "store credit"
        return str(self.customer["payment_methods"][method_id]["kind"])

    def kind_pattern(self, method_id: str) -> str:
        """Finds a payment method in what an agent says, also where its id is written."""
        return {"credit card": r"(?<!gift )card", "PayPal": "paypal"}.get(self.kind(method_id), r"store[ _]credit")

    # -- what the reference agent does -----------------------------------------------------------------------------

    def look(self, tool: str, **arguments: Any) -> None:
        """Call a tool that only reads."""
        self.turns.append(ToolCall(tool, arguments))

    def look_up(self, order_id: str) -> None:
        """Look an order up; all before it too, where the customer does not know its number."""
        own = self.customer["order_ids"]
        is_described = self.name(order_id) != f"order {order_id}"
        for each in own[: own.index(order_id) + 1] if is_described else [order_id]:
            self.look("get_order", order_id=each)

    def propose(self, text: str) -> None:
        """Ask for a yes, twice: who changes their mind or hesitates gives none the first time."""
        self.turns += [f"{text} Shall I proceed? (yes/no)"] * 2

    def act(self, tool: str, **arguments: Any) -> None:
        """Call a tool that changes the database."""
        self.calls.append(ToolCall(tool, arguments))
        self.turns.append(self.calls[-1])

    def say(self, text: str) -> None:
        """Tell the customer something."""
        self.turns.append(text)

    def decline(self, order_id: str, reason: str, because: str, *, last_day: dt.date | None = None) -> None:
        """Decline with the tool, then in words."""
        self.act("decline_request", order_id=order_id, reason=reason)
        until = ""
        if last_day is not None:
            self.facts.append(last_day.isoformat())
            until = f" The last day for it was {last_day.isoformat()}."
        self.say(f"Unfortunately I cannot do that for order {order_id}: {because}.{until}")

    def finish(self, intent: str) -> Scenario:
        """The scenario as it is now."""
        return Scenario(
            intent=intent,
            database=self.database,
            today=self.today,
            identity=self.identity,
            desires=tuple(self.desires),
            calls=tuple(self.calls),
            facts=tuple(self.facts),
            turns=tuple(self.turns),
        )


def token(text: str) -> str:
    """A pattern that finds `text` as a whole, however its words are spaced."""
    words = r"\s*".join(map(re.escape, text.split()))
    return rf"(?<!\w){words}(?!\w)"


def noun(name: str) -> str:
    """A pattern that finds an item by the last word of its name."""
    return token(name.split()[-1])


def asks_amount(request: str, reminder: str) -> dict[str, Any]:
    """Keywords of a `Desire` whose customer also wants to know an amount."""
    return {"request": f"{request} {reminder}", "ends": ((DONE, ""), (AMOUNT, reminder))}


def options_text(options: Mapping[str, str]) -> str:
    """As people say it: "black, 40 cm"."""
    return ", ".join(options.values())


def listing(names: Sequence[str]) -> str:
    """As people say it: "the a and the b"."""
    return " and ".join(f"the {name}" for name in names)
