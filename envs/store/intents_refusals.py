"""Tasks in which the agent must decline, hand over, or only answer."""

from __future__ import annotations

import datetime as dt
from typing import Any

from ..users import Fact
from ..users.phrases import REFUSES
from .database import choose, money, set_days, total_of
from .intents_orders import ASKS_WHAT_IS_WRONG, FINE
from .rules import CANCEL_DAYS, GOLD_DAYS, LOST_DAYS, RETURN_DAYS
from .scenario import AMOUNT, Desire, Draft, options_text

_ENDS = ((REFUSES, ""),)


def cancel_too_late(draft: Draft) -> None:
    """A pending order that was placed too long ago."""
    order_id = draft.orders("pending")[0]
    order = draft.order(order_id)
    set_days(order, draft.today, CANCEL_DAYS + int(draft.rng.integers(1, 6)))
    _wants_to_cancel(draft, order_id)
    draft.look_up(order_id)
    last_day = dt.date.fromisoformat(order["ordered_on"]) + dt.timedelta(days=CANCEL_DAYS)
    draft.decline(order_id, "cancel_period_over", "it was placed too long ago to be cancelled", last_day=last_day)


def cancel_shipped(draft: Draft) -> None:
    """An order that is on its way; it was placed so lately that nothing else forbids to cancel it."""
    order_id = draft.orders("shipped")[0]
    set_days(draft.order(order_id), draft.today, int(draft.rng.integers(CANCEL_DAYS)))
    _wants_to_cancel(draft, order_id)
    draft.look_up(order_id)
    draft.decline(order_id, "already_shipped", "it is on its way already")


def return_too_late(draft: Draft) -> None:
    """A return after the period of the item's category."""
    order_id, item, last_day = _late_order(draft, gold=False)
    _wants_to_return(draft, order_id, item["name"])
    draft.look_up(order_id)
    draft.look("get_product", product_id=item["product_id"])
    draft.decline(order_id, "return_period_over", "the period for returns is over", last_day=last_day)


def return_too_late_for_gold(draft: Draft) -> None:
    """A return after the period, by a customer for whom a human decides."""
    order_id, item, _ = _late_order(draft, gold=True)
    _wants_to_return(draft, order_id, item["name"])
    draft.look_up(order_id)
    draft.look("get_product", product_id=item["product_id"])
    draft.act("hand_over_to_human", reason="late_return_of_gold_customer")


def return_final_sale(draft: Draft) -> None:
    """A return of an item that was sold for good."""
    order_id = draft.orders("delivered")[0]
    item = choose(draft.rng, draft.order(order_id)["items"])
    item["is_final_sale"] = True
    _wants_to_return(draft, order_id, item["name"])
    draft.look_up(order_id)
    draft.decline(order_id, "final_sale", f"the {item['name']} is of a final sale")


def exchange_out_of_stock(draft: Draft) -> None:
    """An exchange for an option that is not there."""
    order_id = draft.orders("delivered")[0]
    item = choose(draft.rng, draft.returnable(order_id))
    variants = draft.database["products"][item["product_id"]]["variants"]
    wanted = variants[choose(draft.rng, [name for name in variants if name != item["item_id"]])]
    wanted["in_stock"] = 0
    wish = f"the one with {options_text(wanted['options'])}"
    draft.desires.append(
        Desire(
            request=f"I want to exchange the {item['name']} of my {draft.name(order_id)} for {wish}, and no other.",
            brief="exchange something",
            facts=(
                draft.order_fact(order_id),
                Fact(asked_by=r"\b(item|product)\b", answer=f"The {item['name']}."),
                Fact(asked_by=r"\b(option|colour|color|size|which|what|else)", answer=f"For {wish}, and no other."),
            ),
            ends=_ENDS,
        )
    )
    draft.look_up(order_id)
    draft.look("get_product", product_id=item["product_id"])
    draft.decline(order_id, "out_of_stock", f"{wish} is not in stock")


def order_of_another(draft: Draft) -> None:
    """An order that belongs to somebody else."""
    order_id = choose(
        draft.rng,
        [
            name
            for name, order in draft.database["orders"].items()
            if order["customer_id"] != draft.customer_id and order["status"] == "pending"
        ],
    )
    _wants_to_cancel(draft, order_id)
    draft.look_up(order_id)
    draft.decline(order_id, "order_of_another_customer", "it is not an order of your account")


def unknown_customer(draft: Draft) -> None:
    """Somebody whom nothing that they say of themselves finds."""
    draft.knows_numbers = True
    order_id = draft.orders("pending")[0]
    stranger = f"{draft.customer['first_name']}.{draft.customer['last_name']}@example.org".lower()
    zip_code = f"{(int(draft.customer['address']['zip']) - 9_999) % 90_000 + 10_000}"
    first, last = draft.customer["first_name"], draft.customer["last_name"]
    draft.identity = (
        Fact(asked_by=r"\bname\b|who (are|am)|identi|verif", answer=f"My name is {first} {last}."),
        Fact(asked_by=r"\b(zip|postal|post ?code|postcode)\b", answer=f"My ZIP code is {zip_code}."),
        Fact(asked_by=r"e-?mail", answer=f"My e-mail address is {stranger}."),
    )
    _wants_to_cancel(draft, order_id)
    draft.turns.clear()
    draft.say("Hello! What is the e-mail address of your account, please?")
    draft.look("find_customer_by_email", email=stranger)
    draft.turns += ["What is your name, please?", "And what is your ZIP code?"]
    draft.look("find_customer_by_name_and_zip", first_name=first, last_name=last, zip=zip_code)
    draft.turns += ["And which order is it about? What can I do for you?", "Which order number is it?"]
    draft.decline(order_id, "identity_not_confirmed", "I cannot find you")


def package_in_transit(draft: Draft) -> None:
    """A package that is not late yet."""
    order_id = draft.orders("shipped")[0]
    set_days(draft.order(order_id), draft.today, int(draft.rng.integers(3, LOST_DAYS + 1)))
    draft.desires.append(
        Desire(
            request=f"My {draft.name(order_id)} has not arrived. I think it is lost, and I want a credit for it.",
            brief="my package is not here, i want a credit",
            facts=(draft.order_fact(order_id),),
            ends=((f"{REFUSES}|transit|on its way", ""),),
        )
    )
    draft.look_up(order_id)
    draft.decline(order_id, "still_in_transit", "it is still on its way")


def got_hurt(draft: Draft) -> None:
    """A product was dangerous; the customer only wants to return it."""
    order_id = draft.orders("delivered")[0]
    name = choose(draft.rng, draft.order(order_id)["items"])["name"]
    what = choose(draft.rng, ["It burned my hand.", "It cut my finger.", "It caught fire."])
    draft.desires.append(
        Desire(
            request=f"I want to return the {name} of my {draft.name(order_id)}. {what}",
            brief=f"return the {name}",
            facts=(
                draft.order_fact(order_id),
                Fact(asked_by=r"\b(why|reason|wrong|happened|problem|help)\b", answer=what),
            ),
            ends=_ENDS,
        )
    )
    draft.say(ASKS_WHAT_IS_WRONG)
    draft.look_up(order_id)
    draft.act("hand_over_to_human", reason="safety")


def total_of_two_orders(draft: Draft) -> None:
    """A question: what two orders cost together."""
    one, two = draft.orders("delivered")
    total = money(sum(total_of(draft.order(order_id)["items"]) for order_id in (one, two)))
    draft.desires.append(
        Desire(
            request=f"How much did I pay for my orders {one} and {two} together? I need one amount.",
            brief="how much did i pay for two orders together",
            facts=(Fact(asked_by=r"\border", answer=f"They are the orders {one} and {two}."),),
            ends=((AMOUNT, ""), (r"\b(both|together|altogether|total|combined|sum|two)\b", "And together?")),
        )
    )
    draft.facts.append(total)
    draft.look("get_order", order_id=one)
    draft.look("get_order", order_id=two)
    draft.say(f"You paid {total} for both orders.")


def span_of_prices(draft: Draft) -> None:
    """A question: how far the prices of a product's items in stock are apart."""
    product_id = choose(draft.rng, list(draft.database["products"]))
    product = draft.database["products"][product_id]
    for variant in list(product["variants"].values())[:3]:
        variant["in_stock"] = max(1, variant["in_stock"])
    prices = [each["cents"] for each in product["variants"].values() if each["in_stock"]]
    span = money(max(prices) - min(prices))
    draft.desires.append(
        Desire(
            request=(
                f"Of the {product['name']} that you have in stock, how much more is the dearest than the cheapest?"
            ),
            brief=f"{product['name']} in stock: dearest minus cheapest?",
            ends=((AMOUNT, ""),),
        )
    )
    draft.facts.append(span)
    draft.look("get_product", product_id=product_id)
    draft.say(f"The dearest costs {span} more than the cheapest.")


def _wants_to_cancel(draft: Draft, order_id: str) -> None:
    draft.desires.append(
        Desire(
            request=f"I want to cancel my {draft.name(order_id)}. I do not need it any more.",
            brief="cancel an order",
            facts=(draft.order_fact(order_id), Fact(asked_by=r"\b(why|reason)\b", answer="I do not need it any more.")),
            ends=_ENDS,
        )
    )


def _wants_to_return(draft: Draft, order_id: str, name: str) -> None:
    draft.desires.append(
        Desire(
            request=f"I want to return the {name} of my {draft.name(order_id)}. Store credit is fine.",
            brief="return something",
            facts=(
                draft.order_fact(order_id),
                Fact(asked_by=r"\b(item|product)", answer=f"It is the {name}."),
                Fact(asked_by=r"\b(refund|money|payment|method|credit)", answer="Store credit is fine."),
                FINE,
            ),
            ends=_ENDS,
        )
    )
    draft.say(ASKS_WHAT_IS_WRONG)


def _late_order(draft: Draft, *, gold: bool) -> tuple[str, dict[str, Any], dt.date]:
    """An order of which an item is past its period, and the last day of that."""
    order_id = draft.orders("delivered")[0]
    order = draft.order(order_id)
    item = choose(draft.rng, draft.returnable(order_id))
    period = RETURN_DAYS[draft.database["products"][item["product_id"]]["category"]]
    is_gold = gold or draft.rng.random() < 0.5
    draft.customer["level"] = "gold" if is_gold else "regular"
    earliest, latest = (period + 1, GOLD_DAYS) if gold or not is_gold else (GOLD_DAYS + 1, GOLD_DAYS + 20)
    set_days(order, draft.today, int(draft.rng.integers(earliest, latest + 1)))
    return order_id, item, dt.date.fromisoformat(order["delivered_on"]) + dt.timedelta(days=period)
