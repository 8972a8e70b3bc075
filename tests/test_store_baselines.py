"""What agents earn in the store that do not serve its customers: nothing, or what their one trick is right for."""

import re
from functools import cache

import numpy as np
import pytest
from llmgym.envs.store import INTENTS
from support.store import STYLES, Desk, call, store

from llmgym import ToolCall

ID = r"\b(?:S|I|P|GIFT|card_|paypal_)\d{5}\b"
DECLINES = {
    "already_shipped": {"cancel_shipped"},
    "out_of_stock": {"exchange_out_of_stock"},
    "final_sale": {"return_final_sale"},
    "still_in_transit": {"package_in_transit"},
    "order_of_another_customer": {"order_of_another"},
    "cancel_period_over": set(),  # the last day must be told too
    "return_period_over": set(),
    "identity_not_confirmed": {"unknown_customer"},
}
"""What an agent earns its reward with that declines everything for one reason, after doing all else right."""


@cache
def stores():
    """A task of each intent, with customers of all styles."""
    return [store(intent, STYLES[place % 3]) for place, intent in enumerate(INTENTS)]


def paid(agent):
    """Intents in which an agent earned anything."""
    earned = set()
    for env, task, scenario in stores():
        desk = Desk(env, task)
        agent(desk)
        if desk.score is not None and desk.score.reward > 0:
            earned.add(scenario.intent)
    return earned


def to_the_end(desk, *said):
    for text in said * 8:
        desk.take(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yes",
        "Your request has been completed.",
        "Unfortunately I cannot do that.",
        "You get 15.00. That has been done.",
        "Shall I proceed? (yes/no)",
        "###STOP###",
        " ".join(f"{amount}.00" for amount in range(20)),
    ],
)
def test_saying_one_thing_earns_nothing(text):
    assert paid(lambda desk: to_the_end(desk, text)) == set()


def test_saying_what_the_customer_said_earns_nothing():
    def echo(desk):
        for _ in range(12):
            desk.take(desk.heard)

    assert paid(echo) == set()


def test_random_calls_and_words_earn_nothing():
    def act(desk):
        rng = np.random.default_rng(len(desk.heard))
        desk.identify()
        names = re.findall(ID, desk.take("Which order?"))
        for _ in range(30):
            tool = desk.env.tools[int(rng.integers(len(desk.env.tools) - 2))]  # the last two: handing over, calculator
            values = [*names, *(tool.parameters["properties"].get("reason", {}).get("enum", ["store_credit"]))]
            some = {name: str(rng.choice(values)) for name in tool.parameters["required"]}
            lists = {name for name, schema in tool.parameters["properties"].items() if schema.get("type") == "array"}
            heard = desk.take(ToolCall(tool.name, {k: [v] if k in lists else v for k, v in some.items()}))
            names += re.findall(ID, heard)[:5]
        to_the_end(desk, "Done.", "yes?")

    assert len(paid(act)) <= 1


def test_reading_everything_earns_nothing():
    def read(desk):
        customer_id = desk.identify()
        if customer_id:
            desk.read_everything(customer_id)
        to_the_end(desk, "Done.")

    assert paid(read) == set()


def test_telling_the_customer_everything_earns_nothing():
    def tell(desk):
        customer_id = desk.identify()
        texts = desk.read_everything(customer_id) if customer_id else []
        for text in texts:
            for start in range(0, len(text), 300):
                desk.take(text[start : start + 300])
        to_the_end(desk, "Done.")

    assert paid(tell) == set()


def test_handing_everybody_over_at_once_earns_nothing():
    for reason in ("late_return_of_gold_customer", "safety", "other"):
        assert paid(lambda desk, reason=reason: desk.take(call("hand_over_to_human", reason=reason))) == set()


def test_handing_every_known_customer_over_is_right_for_one_intent_only():
    def hand_over(desk, reason):
        desk.identify()
        desk.take(call("hand_over_to_human", reason=reason))

    assert paid(lambda desk: hand_over(desk, "safety")) == {"got_hurt"}
    assert paid(lambda desk: hand_over(desk, "other")) == set()


@pytest.mark.parametrize("reason", DECLINES)
def test_declining_everything_for_one_reason_is_right_for_that_alone(reason):
    def decline(desk):
        desk.identify()
        for order_id in desk.orders():
            desk.take(call("get_order", order_id=order_id))
            desk.take(call("decline_request", order_id=order_id, reason=reason))
        to_the_end(desk, "Unfortunately I cannot do that.")

    assert paid(decline) == DECLINES[reason]


def test_declining_without_looking_earns_nothing():
    def decline(desk):
        for order_id in desk.orders():
            desk.take(call("decline_request", order_id=order_id, reason="already_shipped"))
        to_the_end(desk, "Unfortunately I cannot do that.")

    assert paid(decline) == set()


def test_doing_everything_at_once_earns_nothing():
    def act(desk):
        customer_id = desk.identify() or "nobody"
        for order_id in desk.orders():
            shown = desk.take(call("get_order", order_id=order_id))
            items = re.findall(r"\bI\d{5}\b", shown)
            to = {"order_id": order_id, "payment_method_id": "store_credit"}
            desk.take(f"I am going to cancel, return and change all of {order_id}: {shown}. Shall I proceed?")
            desk.take(f"I am going to cancel, return and change all of {order_id}: {shown}. Shall I proceed?")
            desk.take(call("cancel_order", order_id=order_id, reason="no_longer_needed"))
            desk.take(call("return_items", item_ids=items, **to))
            desk.take(call("change_payment", **to))
            desk.take(call("file_complaint", order_id=order_id, category="lost_package"))
            desk.take(call("give_credit", order_id=order_id, reason="lost_package"))
            desk.take(call("decline_request", order_id=order_id, reason="already_shipped"))
        desk.take(call("get_customer", customer_id=customer_id))
        to_the_end(desk, "It has been done: 15.00.", "Unfortunately I cannot do more.")

    assert paid(act) == set()
