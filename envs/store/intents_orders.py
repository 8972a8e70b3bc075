"""Tasks in which the agent does what the customer wants."""

from __future__ import annotations

from typing import Any

from ..users import Fact
from ..users.phrases import DONE
from .database import choose, money, random_address, set_days, total_of
from .desk import STORE_CREDIT
from .rules import CREDIT_CENTS, LOST_DAYS
from .scenario import Desire, Draft, asks_amount, listing, noun, options_text, token

FINE = Fact(
    asked_by=r"\b(why|reason|wrong|problem|matter)\b", answer="Nothing is wrong with it, I just do not like it."
)
"""For whoever asks what is wrong with what a customer returns."""
ASKS_WHAT_IS_WRONG = "What is wrong with what you want to return?"


def cancel(draft: Draft) -> None:
    """A pending order that may be cancelled."""
    order_id = draft.orders("pending")[0]
    reason = choose(draft.rng, ["no_longer_needed", "ordered_by_mistake"])
    because = "I do not need it any more." if reason == "no_longer_needed" else "I ordered it by mistake."
    refund, kind = money(total_of(draft.order(order_id)["items"])), draft.kind(draft.methods(order_id)[0])
    asked = asks_amount(f"I want to cancel my {draft.name(order_id)}. {because}", "How much money do I get back?")
    draft.desires.append(
        Desire(
            **asked,
            brief="cancel an order. and how much do i get back?",
            facts=(draft.order_fact(order_id), Fact(asked_by=r"\b(why|reason)\b", answer=because)),
            proposal=(token(order_id), r"cancel"),
        )
    )
    draft.facts.append(refund)
    draft.look_up(order_id)
    draft.propose(f"I am going to cancel order {order_id}; {refund} goes back to your {kind}.")
    draft.act("cancel_order", order_id=order_id, reason=reason)
    draft.say(f"Order {order_id} has been cancelled, and you get {refund} back to your {kind}.")


def return_part(draft: Draft) -> None:
    """Some items of a delivered order, back to where the money came from or as store credit."""
    order_id = draft.orders("delivered")[0]
    items = draft.returnable(order_id)
    chosen = items[: int(draft.rng.integers(1, len(items)))]
    own = draft.methods(order_id)[0]
    method, other = (own, STORE_CREDIT) if draft.rng.random() < 0.5 else (STORE_CREDIT, own)
    what, kind, refund = listing([item["name"] for item in chosen]), draft.kind(method), money(total_of(chosen))
    wish = f"I want to return {what} of my {draft.name(order_id)}. The money should go to my {kind}."
    at_first = f"I want to return {what} of my {draft.name(order_id)}. The money should go to my {draft.kind(other)}."
    _add_return(draft, order_id, wish, [item["name"] for item in chosen], method, first_mind=at_first)
    draft.facts.append(refund)
    draft.say(ASKS_WHAT_IS_WRONG)
    draft.look_up(order_id)
    draft.propose(f"I am going to take back {what} of order {order_id}, with {refund} to your {kind}.")
    item_ids = [item["item_id"] for item in chosen]
    draft.act("return_items", order_id=order_id, item_ids=item_ids, payment_method_id=method)
    draft.say(f"The return of {what} has been recorded, and {refund} goes to your {kind}.")


def return_to_other_method(draft: Draft) -> None:
    """A return whose money the customer wants at a place where it must not go, and then accepts the right one."""
    order_id = draft.orders("delivered")[0]
    item = draft.returnable(order_id)[0]
    own, other = draft.methods(order_id)
    kind, refund = draft.kind(own), money(item["cents"])
    request = (
        f"I want to return the {item['name']} of my {draft.name(order_id)}. Send the money to my {draft.kind(other)}."
    )
    fallback = f"If that cannot be, send it to my {kind}. I do not want store credit."
    asked = asks_amount(request, "How much do I get back?")
    draft.desires.append(
        Desire(
            request=asked["request"],
            brief="return something. and how much do i get back?",
            facts=(
                draft.order_fact(order_id),
                Fact(asked_by=r"\b(item|product|return)", answer=f"It is the {item['name']}."),
                Fact(asked_by=r"\b(refund|money|payment|method|credit)", answer=f"{request} {fallback}"),
                FINE,
            ),
            proposal=(token(order_id), noun(item["name"]), draft.kind_pattern(own)),
            ends=((DONE, fallback), *asked["ends"][1:]),
        )
    )
    draft.facts.append(refund)
    draft.say(ASKS_WHAT_IS_WRONG)
    draft.look_up(order_id)
    draft.propose(
        f"For the {item['name']} of order {order_id}, money can only go to your {kind}, with which you paid, or become "
        f"store credit. I would take it back with {refund} to your {kind}."
    )
    draft.act("return_items", order_id=order_id, item_ids=[item["item_id"]], payment_method_id=own)
    draft.say(f"The return has been recorded, and {refund} goes to your {kind}.")


def exchange(draft: Draft) -> None:
    """An item of a delivered order for another option, at another price."""
    _swap(draft, "delivered", "exchange", "exchange_items")


def change_items(draft: Draft) -> None:
    """An item of a pending order for another option, at another price."""
    _swap(draft, "pending", "change", "change_items")


def change_address(draft: Draft) -> None:
    """Another address for a pending order."""
    order_id = draft.orders("pending")[0]
    address, earlier = random_address(draft.rng), random_address(draft.rng)
    new, old = (f"{each['street']}, {each['zip']} {each['city']}" for each in (address, earlier))
    draft.desires.append(
        Desire(
            request=f"Please send my {draft.name(order_id)} to another address: {new}.",
            brief="send my order somewhere else",
            facts=(
                draft.order_fact(order_id),
                Fact(asked_by=r"\b(address|where|street|city|zip)\b", answer=f"To {new}."),
            ),
            proposal=(token(order_id), token(address["street"]), token(address["zip"]), token(address["city"])),
            first_mind=f"Please send my {draft.name(order_id)} to another address: {old}.",
        )
    )
    draft.look_up(order_id)
    draft.propose(f"I am going to send order {order_id} to {new}.")
    draft.act("change_address", order_id=order_id, **address)
    draft.say(f"The address of order {order_id} has been changed to {new}.")


def change_payment(draft: Draft) -> None:
    """The customer's other payment method for a pending order."""
    order_id = draft.orders("pending")[0]
    own, other = draft.methods(order_id)
    kind, total = draft.kind(other), money(total_of(draft.order(order_id)["items"]))
    asked = asks_amount(
        f"I want to pay my {draft.name(order_id)} by {kind} instead.", "Which amount will be taken from it?"
    )
    draft.desires.append(
        Desire(
            **asked,
            brief="pay an order otherwise. and how much is it?",
            facts=(draft.order_fact(order_id), Fact(asked_by=r"\b(pay|payment|method|how)\b", answer=f"By {kind}.")),
            proposal=(token(order_id), draft.kind_pattern(other)),
        )
    )
    draft.facts.append(total)
    draft.look_up(order_id)
    draft.propose(f"I am going to take the {total} of order {order_id} from your {kind}, not your {draft.kind(own)}.")
    draft.act("change_payment", order_id=order_id, payment_method_id=other)
    draft.say(f"The payment has been moved: {total} by {kind}.")


def cancel_and_return(draft: Draft) -> None:
    """One order is cancelled, and something of another is returned."""
    cancel(draft)
    return_part(draft)


def returns_then_exchanges(draft: Draft) -> None:
    """The customer wants to return an item, and at the question for a yes to exchange it instead."""
    _swap(draft, "delivered", "exchange", "exchange_items", starts_with_return=True)


def redeem_gift_card(draft: Draft) -> None:
    """A gift card, and what the store credit is then."""
    code = choose(draft.rng, list(draft.database["gift_cards"]))
    credit = money(draft.database["gift_cards"][code]["cents"] + draft.customer["store_credit_cents"])
    asked = asks_amount(f"I want to redeem the gift card {code}.", "What is my store credit afterwards?")
    draft.desires.append(
        Desire(
            **asked,
            brief="redeem a gift card. how much store credit do i have then?",
            facts=(Fact(asked_by=r"\b(code|number|gift card|which)\b", answer=f"The code is {code}."),),
            proposal=(token(code),),
        )
    )
    draft.facts.append(credit)
    draft.propose(f"I am going to add the gift card {code} to your store credit.")
    draft.act("redeem_gift_card", customer_id=draft.customer_id, code=code)
    draft.say(f"The gift card has been redeemed; your store credit is {credit}.")


def lost_package(draft: Draft) -> None:
    """A package that should have come long ago."""
    order_id = draft.orders("shipped")[0]
    set_days(draft.order(order_id), draft.today, LOST_DAYS + int(draft.rng.integers(1, 15)))
    credit = money(CREDIT_CENTS["lost_package"])
    draft.desires.append(
        Desire(
            request=f"My {draft.name(order_id)} has not arrived. What can you do about it?",
            brief="my package is not here",
            facts=(draft.order_fact(order_id),),
            ends=((r"\bcredit|\bcomplaint", ""),),
        )
    )
    draft.look_up(order_id)
    draft.act("file_complaint", order_id=order_id, category="lost_package")
    draft.act("give_credit", order_id=order_id, reason="lost_package")
    draft.facts.append(credit)
    draft.say(f"I am sorry: order {order_id} is lost. A complaint has been filed, and you have a credit of {credit}.")


def _add_return(draft: Draft, order_id: str, wish: str, names: list[str], method: str, *, first_mind: str = "") -> None:
    asked, place = asks_amount(wish, "How much do I get back?"), f"The money should go to my {draft.kind(method)}."
    draft.desires.append(
        Desire(
            **asked,
            brief="return something. and how much do i get back?",
            facts=(
                draft.order_fact(order_id),
                Fact(asked_by=r"\b(item|items|product)", answer=f"It is {listing(names)}."),
                Fact(asked_by=r"\b(refund|money|payment|method|credit)", answer=place),
                FINE,
            ),
            proposal=(token(order_id), *map(noun, names), draft.kind_pattern(method)),
            first_mind=first_mind,
        )
    )


def _swap(draft: Draft, status: str, verb: str, tool: str, *, starts_with_return: bool = False) -> None:
    """An item of an order for another option of the same product."""
    order_id = draft.orders(status)[0]
    item = choose(draft.rng, draft.returnable(order_id))
    variants = draft.database["products"][item["product_id"]]["variants"]
    others = [name for name in variants if name != item["item_id"]]
    new_id, earlier_id = (others[int(place)] for place in draft.rng.permutation(len(others))[:2])
    variants[new_id]["in_stock"] = max(1, variants[new_id]["in_stock"])
    difference = variants[new_id]["cents"] - item["cents"]
    wanted, at_first = (options_text(variants[name]["options"]) for name in (new_id, earlier_id))
    method = choose(draft.rng, list(draft.customer["payment_methods"]))
    kind, amount = draft.kind(method), money(abs(difference))
    start, end = f"I want to {verb} the {item['name']} of my {draft.name(order_id)}", f"The difference goes by {kind}."
    asked = asks_amount(f"{start}: it should be the one with {wanted}. {end}", "How much is the difference?")
    facts: tuple[Any, ...] = (
        draft.order_fact(order_id),
        Fact(asked_by=r"\b(item|product)\b", answer=f"The {item['name']}."),
        Fact(asked_by=r"\b(option|colour|color|size|kind|which|what)", answer=f"The one with {wanted}."),
        Fact(asked_by=r"\b(pay|payment|method|difference)\b", answer=end),
    )
    draft.desires.append(
        Desire(
            **asked,
            brief=f"{verb} something. and what is the difference?",
            facts=facts,
            proposal=(
                token(order_id),
                noun(item["name"]),
                *map(token, variants[new_id]["options"].values()),
                draft.kind_pattern(method),
            ),
            first_mind=(
                f"I want to return the {item['name']} of my {draft.name(order_id)}. The money should go to my {kind}."
                if starts_with_return
                else f"{start}: it should be the one with {at_first}. {end}"
            ),
            always_changes=starts_with_return,
        )
    )
    draft.facts.append(amount)
    draft.look_up(order_id)
    draft.look("get_product", product_id=item["product_id"])
    how = f"you {'pay' if difference > 0 else 'get'} {amount} by {kind}"
    draft.propose(f"I am going to {verb} the {item['name']} of order {order_id} for the one with {wanted}; {how}.")
    draft.act(tool, order_id=order_id, item_ids=[item["item_id"]], new_item_ids=[new_id], payment_method_id=method)
    draft.say(f"That has been done: the {item['name']} with {wanted}, and {how}.")
