"""The agent's desk: the tools, what they do to the database, and what was done in breach of the rules."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from llmgym.tools import Calculator, FunctionTool, Tool, ToolError

from .database import Database, item_of, money, total_of
from .rules import CREDIT_CENTS, CancelReason, Complaint, DeclineReason, HandoverReason

STORE_CREDIT = "store_credit"
"""What a payment method is called that every customer has."""


class Desk:
    """The database of an episode and the tools that work on it.

    Tools refuse what cannot be, such as an item that the order does not hold, but allow what the policy forbids:
    `breaches` lists what was done against its rules.
    """

    def __init__(self) -> None:
        self.database: Database = {}
        self.breaches: list[str] = []
        self.agreed_to = ""
        """The agent's proposal that the customer said yes to; "" where there is none, or they took it back."""
        self._customer_id: str | None = None
        self._num_not_found = 0
        self._looked_up: set[str] = set()

    def open(self, database: Database) -> None:
        """Begin an episode on a copy of `database`."""
        self.database = json.loads(json.dumps(database))  # several times as fast as deepcopy
        self.breaches, self.agreed_to = [], ""
        self._customer_id, self._num_not_found, self._looked_up = None, 0, set()

    def tools(self) -> tuple[Tool, ...]:
        """All of them; they share the desk."""
        methods: tuple[Callable[..., Any], ...] = (
            self.find_customer_by_email,
            self.find_customer_by_name_and_zip,
            self.get_customer,
            self.get_order,
            self.get_product,
            self.search_products,
            self.cancel_order,
            self.change_items,
            self.change_address,
            self.change_payment,
            self.return_items,
            self.exchange_items,
            self.redeem_gift_card,
            self.file_complaint,
            self.give_credit,
            self.decline_request,
        )
        handover = FunctionTool(self.hand_over_to_human)
        handover.is_final = True
        return (*map(FunctionTool, methods), handover, Calculator())

    def breaches_of(self, *, needs_customer: bool) -> tuple[str, ...]:
        """All that was done against the rules, and whether nobody found the customer."""
        return (*self.breaches, *(["nobody found the customer"] if needs_customer and not self._customer_id else []))

    # -- reading -----------------------------------------------------------------------------------------------

    def find_customer_by_email(self, email: str) -> dict[str, str]:
        """Finds the id of the customer with this e-mail address."""
        return self._found(lambda customer: customer["email"] == email.strip().lower())

    def find_customer_by_name_and_zip(self, first_name: str, last_name: str, zip: str) -> dict[str, str]:
        """Finds the id of the customer with this name and ZIP code."""
        wanted = (first_name.strip().lower(), last_name.strip().lower(), zip.strip())
        return self._found(
            lambda each: (each["first_name"].lower(), each["last_name"].lower(), each["address"]["zip"]) == wanted
        )

    def get_customer(self, customer_id: str) -> dict[str, Any]:
        """Shows a customer's profile: address, level, payment methods, store credit and orders."""
        customer = self._entry("customers", customer_id, "customer")
        credit = {"id": STORE_CREDIT, "kind": "store credit", "balance": money(customer["store_credit_cents"])}
        methods = [{"id": name, **method} for name, method in customer["payment_methods"].items()]
        shown = {name: customer[name] for name in ("first_name", "last_name", "email", "address", "level", "order_ids")}
        return {"customer_id": customer_id, **shown, "payment_methods": [*methods, credit]}

    def get_order(self, order_id: str) -> dict[str, Any]:
        """Shows an order: customer, status, dates, address, items with prices, and what each payment method paid."""
        order = self._entry("orders", order_id, "order")
        self._looked_up.add(order_id)
        return {"order_id": order_id, **_with_money(order)}

    def get_product(self, product_id: str) -> dict[str, Any]:
        """Shows a product with all its items: their ids, options, prices and stock."""
        product = self._entry("products", product_id, "product")
        items = [{"item_id": name, **_with_money(variant)} for name, variant in product["variants"].items()]
        return {"product_id": product_id, "name": product["name"], "category": product["category"], "items": items}

    def search_products(self, text: str) -> list[dict[str, str]]:
        """Finds products whose name holds one of the words; "" finds all."""
        words = text.casefold().split()
        return [
            {"product_id": name, "name": product["name"], "category": product["category"]}
            for name, product in self.database["products"].items()
            if not words or any(word in product["name"] for word in words)
        ]

    # -- changing ----------------------------------------------------------------------------------------------

    def cancel_order(self, order_id: str, reason: CancelReason) -> dict[str, Any]:
        """Cancels a pending order and pays it back."""
        order = self._order(order_id, "pending")
        self._require_yes("cancel_order", order_id)
        order["status"], order["cancel_reason"] = "cancelled", reason
        refund = total_of(order["items"])
        self._book(order, -refund, order["payment_method_id"])
        return {"order_id": order_id, "status": "cancelled", "paid_back": money(refund)}

    def change_items(
        self, order_id: str, item_ids: list[str], new_item_ids: list[str], payment_method_id: str
    ) -> dict[str, Any]:
        """Replaces items of a pending order by other options of the same products.

        Args:
            item_ids: Items of the order.
            new_item_ids: What replaces each of them, in the same order.
            payment_method_id: Pays or receives the difference in price.
        """
        order = self._order(order_id, "pending")
        pairs, difference = self._exchange(order, item_ids, new_item_ids)
        self._require_method(order, payment_method_id, difference)
        self._require_yes("change_items", order_id)
        order["items"] = [pairs.get(item["item_id"], item) for item in order["items"]]
        self._book(order, difference, payment_method_id)
        return {"order_id": order_id, "items": _with_money(order)["items"], "difference": money(difference)}

    def change_address(self, order_id: str, street: str, city: str, zip: str) -> dict[str, Any]:
        """Changes the address that a pending order goes to."""
        order = self._order(order_id, "pending")
        self._require_yes("change_address", order_id)
        order["address"] = {"street": street, "city": city, "zip": zip}
        return {"order_id": order_id, "address": order["address"]}

    def change_payment(self, order_id: str, payment_method_id: str) -> dict[str, Any]:
        """Moves the payment of a pending order to another payment method of the customer."""
        order, total = self._order(order_id, "pending"), total_of(self._entry("orders", order_id, "order")["items"])
        if order["payment_method_id"] == payment_method_id:
            raise ToolError(f"order {order_id} is paid by {payment_method_id} already")
        self._require_method(order, payment_method_id, total)
        self._require_yes("change_payment", order_id)
        self._book(order, -total, order["payment_method_id"])
        self._book(order, total, payment_method_id)
        order["payment_method_id"] = payment_method_id
        return {"order_id": order_id, "payment_method_id": payment_method_id}

    def return_items(self, order_id: str, item_ids: list[str], payment_method_id: str) -> dict[str, Any]:
        """Takes items of a delivered order back.

        Args:
            item_ids: Items of the order.
            payment_method_id: Receives the money: a payment method of the customer, or store_credit.
        """
        order = self._order(order_id, "delivered")
        items = self._items(order, item_ids)
        self._require_method(order, payment_method_id, 0)
        self._require_yes("return_items", order_id)
        refund = total_of(items)
        self._request(order, [{"kind": "return", "item_id": name, "to": payment_method_id} for name in item_ids])
        self._book(order, -refund, payment_method_id)
        return {"order_id": order_id, "returned": item_ids, "paid_back": money(refund)}

    def exchange_items(
        self, order_id: str, item_ids: list[str], new_item_ids: list[str], payment_method_id: str
    ) -> dict[str, Any]:
        """Exchanges items of a delivered order for other options of the same products.

        Args:
            item_ids: Items of the order.
            new_item_ids: What replaces each of them, in the same order.
            payment_method_id: Pays or receives the difference in price.
        """
        order = self._order(order_id, "delivered")
        pairs, difference = self._exchange(order, item_ids, new_item_ids)
        self._require_method(order, payment_method_id, difference)
        self._require_yes("exchange_items", order_id)
        exchanged = {old: new["item_id"] for old, new in pairs.items()}
        how = {"kind": "exchange", "by": payment_method_id}
        self._request(order, [{"item_id": old, "new_item_id": new, **how} for old, new in exchanged.items()])
        self._book(order, difference, payment_method_id)
        return {"order_id": order_id, "exchanged": exchanged, "difference": money(difference)}

    def redeem_gift_card(self, customer_id: str, code: str) -> dict[str, Any]:
        """Adds what is on a gift card to the customer's store credit."""
        customer, card = (
            self._entry("customers", customer_id, "customer"),
            self._entry("gift_cards", code, "gift card"),
        )
        if card["redeemed_by"]:
            raise ToolError(f"the gift card {code} was redeemed already")
        self._require_own(customer_id, "redeem_gift_card")
        self._require_agreed("redeem_gift_card", code)
        card["redeemed_by"] = customer_id
        customer["store_credit_cents"] += card["cents"]
        return {"redeemed": money(card["cents"]), "store_credit": money(customer["store_credit_cents"])}

    def file_complaint(self, order_id: str, category: Complaint) -> dict[str, Any]:
        """Files a complaint about an order."""
        self._require_looked_up("file_complaint", order_id)
        self.database["complaints"].append({"order_id": order_id, "category": category})
        return {"order_id": order_id, "complaint": category}

    def give_credit(self, order_id: str, reason: Complaint) -> dict[str, Any]:
        """Gives the customer of an order the store credit that goes with a complaint."""
        order = self._entry("orders", order_id, "order")
        self._require_looked_up("give_credit", order_id)
        self._book(order, -CREDIT_CENTS[reason], STORE_CREDIT)
        return {"order_id": order_id, "credit": money(CREDIT_CENTS[reason])}

    def decline_request(self, order_id: str, reason: DeclineReason) -> dict[str, Any]:
        """Records that what the customer wants for an order is not allowed, and why."""
        if reason == "identity_not_confirmed":
            if self._customer_id or not self._num_not_found:
                self.breaches.append("decline_request: nobody tried to find the customer, or somebody was found")
        else:
            self._entry("orders", order_id, "order")
            self._require_looked_up("decline_request", order_id, is_own=reason != "order_of_another_customer")
        self.database["declined"].append({"order_id": order_id, "reason": reason})
        return {"order_id": order_id, "declined": reason}

    def hand_over_to_human(self, reason: HandoverReason) -> str:
        """Hands the customer over to a human. This ends your part of the conversation."""
        self.database["handovers"].append(reason)
        return "the customer was handed over"

    # -- inside ------------------------------------------------------------------------------------------------

    def _found(self, fits: Callable[[Mapping[str, Any]], bool]) -> dict[str, str]:
        for customer_id, customer in self.database["customers"].items():
            if fits(customer):
                if self._customer_id not in (None, customer_id):
                    self.breaches.append("looked for a second customer")
                self._customer_id = customer_id
                return {"customer_id": customer_id}
        self._num_not_found += 1
        raise ToolError("there is no such customer")

    def _entry(self, table: str, name: str, what: str) -> dict[str, Any]:
        if name not in self.database[table]:
            raise ToolError(f"there is no {what} {name}")
        entry: dict[str, Any] = self.database[table][name]
        return entry

    def _order(self, order_id: str, status: str) -> dict[str, Any]:
        order = self._entry("orders", order_id, "order")
        if order["status"] != status:
            raise ToolError(f"order {order_id} is {order['status']}, not {status}")
        return order

    def _items(self, order: Mapping[str, Any], item_ids: list[str]) -> list[dict[str, Any]]:
        there = {item["item_id"]: item for item in order["items"]}
        gone = {request["item_id"] for request in order["requests"]}
        if not item_ids or len(set(item_ids)) < len(item_ids):
            raise ToolError("item_ids must name one item or more, each once")
        for item_id in item_ids:
            if item_id not in there:
                raise ToolError(f"the order does not hold the item {item_id}; it holds {', '.join(there)}")
            if item_id in gone:
                raise ToolError(f"the item {item_id} was returned or exchanged already")
        return [there[item_id] for item_id in item_ids]

    def _exchange(
        self, order: Mapping[str, Any], item_ids: list[str], new_item_ids: list[str]
    ) -> tuple[dict[str, dict[str, Any]], int]:
        """The new line for each item, and how many cents more they cost."""
        items = self._items(order, item_ids)
        if len(new_item_ids) != len(items):
            raise ToolError(f"new_item_ids has {len(new_item_ids)} items, but item_ids has {len(items)}")
        pairs = {}
        for item, new_id in zip(items, new_item_ids, strict=True):
            variants = self.database["products"][item["product_id"]]["variants"]
            if new_id not in variants:
                raise ToolError(f"{new_id} is no item of the product {item['product_id']}")
            if new_id == item["item_id"] or not variants[new_id]["in_stock"]:
                raise ToolError(f"{new_id} is the same item, or not in stock")
            pairs[item["item_id"]] = item_of(self.database, item["product_id"], new_id)
        return pairs, total_of(list(pairs.values())) - total_of(items)

    def _require_method(self, order: Mapping[str, Any], method_id: str, cents: int) -> None:
        customer = self.database["customers"][order["customer_id"]]
        if method_id != STORE_CREDIT and method_id not in customer["payment_methods"]:
            known = ", ".join([*customer["payment_methods"], STORE_CREDIT])
            raise ToolError(f"the customer has no payment method {method_id}; there are {known}")
        if method_id == STORE_CREDIT and customer["store_credit_cents"] < cents:
            raise ToolError(f"{money(cents)} is more than the customer's store credit")

    # One entry for each item and for each payment method, so that two calls leave what one for both would leave.

    def _request(self, order: dict[str, Any], requests: list[dict[str, Any]]) -> None:
        order["requests"] = sorted([*order["requests"], *requests], key=lambda request: str(request["item_id"]))

    def _book(self, order: dict[str, Any], cents: int, method_id: str) -> None:
        paid = {each["payment_method_id"]: each["cents"] for each in order["payments"]}
        paid[method_id] = paid.get(method_id, 0) + cents
        order["payments"] = [{"payment_method_id": name, "cents": paid[name]} for name in sorted(paid)]
        if method_id == STORE_CREDIT:
            self.database["customers"][order["customer_id"]]["store_credit_cents"] -= cents

    def _require_yes(self, tool: str, order_id: str) -> None:
        self._require_looked_up(tool, order_id)
        self._require_agreed(tool, order_id)

    def _require_looked_up(self, tool: str, order_id: str, *, is_own: bool = True) -> None:
        order = self._entry("orders", order_id, "order")
        if order_id not in self._looked_up:
            self.breaches.append(f"{tool}: order {order_id} was not looked up")
        if is_own:
            self._require_own(order["customer_id"], tool)
        elif self._customer_id in (None, order["customer_id"]):
            self.breaches.append(f"{tool}: order {order_id} is the customer's own, or nobody is found yet")

    def _require_own(self, customer_id: str, tool: str) -> None:
        if self._customer_id != customer_id:
            self.breaches.append(f"{tool}: {customer_id} is not the customer who was found")

    def _require_agreed(self, tool: str, name: str) -> None:
        if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", self.agreed_to):
            self.breaches.append(f"{tool}: the customer did not say yes to a message that names {name}")


def _with_money(value: Any) -> Any:
    """With each number of cents as an amount that people read."""
    if isinstance(value, dict):
        return {
            ("amount" if k == "cents" else k): (money(v) if k == "cents" else _with_money(v)) for k, v in value.items()
        }
    return [_with_money(each) for each in value] if isinstance(value, list) else value
