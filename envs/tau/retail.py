"""The tools of the shop: its orders, products and users."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from llmgym.tools import ToolError

from .database import Record
from .desk import TRANSFER, Desk

_ORDER_TOOLS = (
    "cancel_pending_order",
    "exchange_delivered_order_items",
    "find_user_id_by_email",
    "find_user_id_by_name_zip",
    "get_order_details",
    "get_product_details",
    "get_user_details",
    "list_all_product_types",
    "modify_pending_order_address",
    "modify_pending_order_items",
    "modify_pending_order_payment",
    "modify_user_address",
    "return_delivered_order_items",
)


class RetailDesk(Desk):
    """Cancels, changes, exchanges and takes back orders."""

    tool_names: ClassVar[Mapping[int, Sequence[str]]] = {
        1: ("calculate", *_ORDER_TOOLS, "think", TRANSFER),
        2: ("calculate", *_ORDER_TOOLS, "get_item_details", TRANSFER),
    }

    def find_user_id_by_email(self, email: str) -> str:
        """Finds the id of a user by email.

        Args:
            email: such as "ada@example.com".
        """
        for user_id, user in self.database.records("users"):
            if user["email"].lower() == email.lower():
                return user_id
        raise ToolError("user not found")

    def find_user_id_by_name_zip(self, first_name: str, last_name: str, zip: str) -> str:
        """Finds the id of a user by name and zip code, for users who cannot be found by email.

        Args:
            first_name: such as "Ada".
            last_name: such as "Lark".
            zip: such as "12345".
        """
        wanted = (first_name.lower(), last_name.lower(), zip)
        for user_id, user in self.database.records("users"):
            name = user["name"]
            if (name["first_name"].lower(), name["last_name"].lower(), user["address"]["zip"]) == wanted:
                return user_id
        raise ToolError("user not found")

    def get_user_details(self, user_id: str) -> Record:
        """The profile of a user: name, address, email, payment methods and orders.

        Args:
            user_id: such as "ada_lark_1234".
        """
        return self._found("users", user_id, "user")

    def get_order_details(self, order_id: str) -> Record:
        """Status, items, address and payments of an order.

        Args:
            order_id: such as "#W0000000", with the # in front.
        """
        return self._found("orders", order_id, "order")

    def get_product_details(self, product_id: str) -> Record:
        """The items of a product: their options, prices and whether they are available.

        Args:
            product_id: such as "6086499569"; it is not the id of an item.
        """
        return self._found("products", product_id, "product")

    def get_item_details(self, item_id: str) -> Record:
        """Options, price and availability of one item.

        Args:
            item_id: such as "1008292230"; it is not the id of a product.
        """
        for _, product in self.database.records("products"):
            if item_id in product["variants"]:
                variant: Record = product["variants"][item_id]
                return variant
        raise ToolError("item not found")

    def list_all_product_types(self) -> dict[str, str]:
        """The names of all products, with their product ids."""
        return dict(sorted((product["name"], key) for key, product in self.database.records("products")))

    def cancel_pending_order(self, order_id: str, reason: Literal["no longer needed", "ordered by mistake"]) -> Record:
        """Cancels an order that is pending and refunds it, to a gift card at once. Ask the user to confirm first.

        Args:
            order_id: such as "#W0000000", with the # in front.
            reason: why.
        """
        self._order(order_id, "pending", "cancelled")
        order = self.database.edit("orders", order_id)
        refunds = []
        for payment in order["payment_history"]:
            refunds.append({**payment, "transaction_type": "refund"})
            self._add_to_gift_card(order["user_id"], payment["payment_method_id"], payment["amount"])
        order["payment_history"] += refunds
        order["status"], order["cancel_reason"] = "cancelled", reason
        return order

    def modify_pending_order_address(
        self, order_id: str, address1: str, address2: str, city: str, state: str, country: str, zip: str
    ) -> Record:
        """Changes where a pending order is sent. Ask the user to confirm first.

        Args:
            order_id: such as "#W0000000", with the # in front.
            address1: such as "123 Main Street".
            address2: such as "Suite 4", or "".
            city: such as "Denver".
            state: such as "CO".
            country: such as "USA".
            zip: such as "12345".
        """
        self._order(order_id, "pending", "modified", exactly=self.version == 1)
        order = self.database.edit("orders", order_id)
        order["address"] = _address(address1, address2, city, state, country, zip)
        return order

    def modify_user_address(
        self, user_id: str, address1: str, address2: str, city: str, state: str, country: str, zip: str
    ) -> Record:
        """Changes the address in a user's profile. Ask the user to confirm first.

        Args:
            user_id: such as "ada_lark_1234".
            address1: such as "123 Main Street".
            address2: such as "Suite 4", or "".
            city: such as "Denver".
            state: such as "CO".
            country: such as "USA".
            zip: such as "12345".
        """
        self._found("users", user_id, "user")
        user = self.database.edit("users", user_id)
        user["address"] = _address(address1, address2, city, state, country, zip)
        return user

    def modify_pending_order_payment(self, order_id: str, payment_method_id: str) -> Record:
        """Changes how a pending order is paid. Ask the user to confirm first.

        Args:
            order_id: such as "#W0000000", with the # in front.
            payment_method_id: of the user's profile, such as "gift_card_0000000".
        """
        order = self._order(order_id, "pending", "modified", exactly=self.version == 1)
        method = self._payment_method(order, payment_method_id)
        payments = order["payment_history"]
        if len(payments) != 1 or payments[0]["transaction_type"] != "payment":
            raise ToolError("there should be exactly one payment for a pending order")
        old_method_id, amount = payments[0]["payment_method_id"], payments[0]["amount"]
        if old_method_id == payment_method_id:
            raise ToolError("the new payment method should be different from the current one")
        _require_balance(method, amount, "the order")

        order = self.database.edit("orders", order_id)
        order["payment_history"] += [
            {"transaction_type": "payment", "amount": amount, "payment_method_id": payment_method_id},
            {"transaction_type": "refund", "amount": amount, "payment_method_id": old_method_id},
        ]
        self._add_to_gift_card(order["user_id"], payment_method_id, -amount)
        self._add_to_gift_card(order["user_id"], old_method_id, amount)
        return order

    def modify_pending_order_items(
        self, order_id: str, item_ids: list[str], new_item_ids: list[str], payment_method_id: str
    ) -> Record:
        """Changes items of a pending order to others of the same products. It can be done once for an order.

        Ask the user to confirm first.

        Args:
            order_id: such as "#W0000000", with the # in front.
            item_ids: of the items to change; an item that was bought twice may be there twice.
            new_item_ids: what each of them becomes, in the same order.
            payment_method_id: pays or receives the difference in price, such as "gift_card_0000000".
        """
        order = self._order(order_id, "pending", "modified")
        if self.version == 2 and any(map(str.__eq__, item_ids, new_item_ids)):
            raise ToolError("the new item should be different from the old one")
        variants = self._variants(order, item_ids, new_item_ids)
        difference = _price_difference(order, item_ids, variants)
        method = self._payment_method(order, payment_method_id)
        _require_balance(method, difference, "the new item")

        order = self.database.edit("orders", order_id)
        kind = "payment" if difference > 0 else "refund"
        # Not rounded: the published end states hold what adding floats gives.
        order["payment_history"].append(
            {"transaction_type": kind, "amount": abs(difference), "payment_method_id": payment_method_id}
        )
        self._add_to_gift_card(order["user_id"], payment_method_id, -difference)
        if self.version == 2:  # as published: all changed items get price and options of the last one
            variants = variants[-1:] * len(variants)
        for old, new, variant in zip(item_ids, new_item_ids, variants, strict=True):
            _item(order, old).update(item_id=new, price=variant["price"], options=dict(variant["options"]))
        order["status"] = "pending (item modified)"
        return order

    def exchange_delivered_order_items(
        self, order_id: str, item_ids: list[str], new_item_ids: list[str], payment_method_id: str
    ) -> Record:
        """Exchanges items of a delivered order for others of the same products. It can be done once for an order.

        Ask the user to confirm first.

        Args:
            order_id: such as "#W0000000", with the # in front.
            item_ids: of the items to exchange; an item that was bought twice may be there twice.
            new_item_ids: what each of them is exchanged for, in the same order.
            payment_method_id: pays or receives the difference in price, such as "gift_card_0000000".
        """
        order = self._order(order_id, "delivered", "exchanged")
        variants = self._variants(order, item_ids, new_item_ids)
        difference = round(_price_difference(order, item_ids, variants), 2)
        method = self._payment_method(order, payment_method_id)
        _require_balance(method, difference, "the price difference")

        order = self.database.edit("orders", order_id)
        order.update(
            status="exchange requested",
            exchange_items=sorted(item_ids),
            exchange_new_items=sorted(new_item_ids),
            exchange_payment_method_id=payment_method_id,
            exchange_price_difference=difference,
        )
        return order

    def return_delivered_order_items(self, order_id: str, item_ids: list[str], payment_method_id: str) -> Record:
        """Takes back items of a delivered order. Ask the user to confirm first.

        Args:
            order_id: such as "#W0000000", with the # in front.
            item_ids: of the items to take back; an item that was bought twice may be there twice.
            payment_method_id: receives the refund: the one that paid, or a gift card.
        """
        order = self._order(order_id, "delivered", "returned")
        method = self._payment_method(order, payment_method_id)
        if method["source"] != "gift_card" and payment_method_id != order["payment_history"][0]["payment_method_id"]:
            raise ToolError("the payment method should be either the original one or a gift card")
        _require_items(order, item_ids)

        order = self.database.edit("orders", order_id)
        order.update(
            status="return requested", return_items=sorted(item_ids), return_payment_method_id=payment_method_id
        )
        return order

    def _order(self, order_id: str, status: str, done: str, *, exactly: bool = True) -> Record:
        """The order, where it has the status that something can be done with, or one that mentions it."""
        order = self._found("orders", order_id, "order")
        if order["status"] != status and (exactly or status not in order["status"]):
            raise ToolError(f"non-{status} order cannot be {done}")
        return order

    def _payment_method(self, order: Record, payment_method_id: str) -> Record:
        methods = self._found("users", order["user_id"], "user")["payment_methods"]
        if payment_method_id not in methods:
            raise ToolError("payment method not found")
        method: Record = methods[payment_method_id]
        return method

    def _variants(self, order: Record, item_ids: Sequence[str], new_item_ids: Sequence[str]) -> list[Record]:
        """What the items become, where they are there and the new ones can be had."""
        _require_items(order, item_ids)
        if len(item_ids) != len(new_item_ids):
            raise ToolError("the number of items to be exchanged should match")
        variants = []
        for old, new in zip(item_ids, new_item_ids, strict=True):
            product = self._found("products", _item(order, old)["product_id"], "product")
            variant = product["variants"].get(new)
            if variant is None or not variant["available"]:
                raise ToolError(f"new item {new} not found or available")
            variants.append(variant)
        return variants

    def _add_to_gift_card(self, user_id: str, payment_method_id: str, amount: Any) -> None:
        """Nothing happens with other methods, whose payments take days."""
        method = self._found("users", user_id, "user")["payment_methods"].get(payment_method_id, {})
        if method.get("source") == "gift_card":
            method = self.database.edit("users", user_id)["payment_methods"][payment_method_id]
            method["balance"] = round(method["balance"] + amount, 2)


def _address(address1: str, address2: str, city: str, state: str, country: str, zip: str) -> Record:
    places = {"address1": address1, "address2": address2, "city": city}
    return {**places, "state": state, "country": country, "zip": zip}


def _item(order: Record, item_id: str) -> Record:
    item: Record = next(item for item in order["items"] if item["item_id"] == item_id)
    return item


def _price_difference(order: Record, item_ids: Sequence[str], variants: Sequence[Record]) -> Any:
    """New prices less old ones."""
    difference: Any = 0
    for item_id, variant in zip(item_ids, variants, strict=True):
        difference += variant["price"] - _item(order, item_id)["price"]  # sum() would round otherwise
    return difference


def _require_items(order: Record, item_ids: Sequence[str]) -> None:
    bought = [item["item_id"] for item in order["items"]]
    for item_id in item_ids:
        if item_ids.count(item_id) > bought.count(item_id):
            raise ToolError(f"item {item_id} not found in the order")


def _require_balance(method: Record, amount: Any, what: str) -> None:
    if method["source"] == "gift_card" and method["balance"] < amount:
        raise ToolError(f"insufficient gift card balance to pay for {what}")
