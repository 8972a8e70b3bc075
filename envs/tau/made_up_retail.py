"""A made-up shop: three products, four users, seven orders."""

from collections.abc import Mapping, Sequence
from typing import Any

from .database import Record, Tables

POLICY = """\
# Rules of the shop desk

You help users of a small shop with their own orders: cancel or change pending ones, return or exchange \
delivered ones, change an address, or tell what they ask about orders and products.

- First find out who the user is, by email, or by name and zip code.
- Before you change anything, say what you will do and wait for a yes.
- Only a pending order can be cancelled or changed, and only a delivered one returned or exchanged.
- Items are changed or exchanged for other items of the same product, all of an order in one call.
- A refund goes to the method that paid, or to a gift card of the user.
- Make one tool call at a time, or talk to the user. Do not make anything up.
- Hand over to a human agent only what the tools cannot do.
- When everything is done, say so."""

_PRODUCTS: Mapping[str, tuple[str, Mapping[str, tuple[Mapping[str, str], float, bool]]]] = {
    "5000000001": (
        "Mug",
        {
            "7000000001": ({"color": "blue", "size": "small"}, 8.5, True),
            "7000000002": ({"color": "red", "size": "small"}, 9.25, True),
            "7000000003": ({"color": "red", "size": "large"}, 12.75, True),
            "7000000004": ({"color": "green", "size": "large"}, 11.4, False),
        },
    ),
    "5000000002": (
        "Lamp",
        {
            "7000000005": ({"color": "white", "power": "battery"}, 34.9, True),
            "7000000006": ({"color": "white", "power": "cable"}, 29.99, True),
            "7000000007": ({"color": "black", "power": "cable"}, 31.5, True),
        },
    ),
    "5000000003": (
        "Scarf",
        {
            "7000000008": ({"material": "wool", "color": "grey"}, 41.2, True),
            "7000000009": ({"material": "silk", "color": "grey"}, 55.65, True),
        },
    ),
}
_USERS = (
    ("Ada", "Lark", "12001", "ada_lark_1001", {"credit_card_1001": None, "gift_card_1001": 60}),
    ("Ben", "Finch", "12002", "ben_finch_1002", {"paypal_1002": None}),
    ("Cleo", "Wren", "12003", "cleo_wren_1003", {"credit_card_1003": None, "gift_card_1003": 5}),
    ("Dov", "Heron", "12004", "dov_heron_1004", {"gift_card_1004": 25, "paypal_1004": None}),
)
_ORDERS = (
    ("#W1000001", "ada_lark_1001", "pending", ("7000000001", "7000000006"), "credit_card_1001"),
    ("#W1000002", "ada_lark_1001", "delivered", ("7000000002", "7000000008"), "credit_card_1001"),
    ("#W1000003", "ben_finch_1002", "delivered", ("7000000001", "7000000001", "7000000005"), "paypal_1002"),
    ("#W1000004", "ben_finch_1002", "pending", ("7000000007",), "paypal_1002"),
    ("#W1000005", "cleo_wren_1003", "pending", ("7000000008", "7000000003"), "credit_card_1003"),
    ("#W1000006", "dov_heron_1004", "delivered", ("7000000006",), "gift_card_1004"),
    ("#W1000007", "dov_heron_1004", "pending", ("7000000002",), "gift_card_1004"),
)


def tables() -> Tables:
    """The records, new ones each time."""
    users = {user_id: _user(first, last, code, user_id, methods) for first, last, code, user_id, methods in _USERS}
    return {
        "orders": {order[0]: _order(*order, address=users[order[1]]["address"]) for order in _ORDERS},
        "products": {
            product_id: {"name": name, "product_id": product_id, "variants": _variants(variants)}
            for product_id, (name, variants) in _PRODUCTS.items()
        },
        "users": users,
    }


def _variants(variants: Mapping[str, tuple[Mapping[str, str], float, bool]]) -> Record:
    return {
        item_id: {"item_id": item_id, "options": dict(options), "available": available, "price": price}
        for item_id, (options, price, available) in variants.items()
    }


def _user(first: str, last: str, code: str, user_id: str, methods: Mapping[str, int | None]) -> Record:
    payment_methods = {}
    for name, balance in methods.items():
        source = name.rpartition("_")[0]
        payment_methods[name] = {"source": source, "id": name} | ({} if balance is None else {"balance": balance})
    return {
        "name": {"first_name": first, "last_name": last},
        "address": address(f"{code[-1]} Pond Road", "Tidewell", code),
        "email": f"{first}.{last}@example.com".lower(),
        "payment_methods": payment_methods,
        "orders": [order[0] for order in _ORDERS if order[1] == user_id],
    }


def address(street: str, city: str, code: str) -> dict[str, str]:
    """A made-up address."""
    places = {"address1": street, "address2": "", "city": city}
    return {**places, "state": "ME", "country": "USA", "zip": code}


def _order(
    order_id: str, user_id: str, status: str, item_ids: Sequence[str], method: str, *, address: Mapping[str, str]
) -> Record:
    items: list[Record] = []
    for item_id in item_ids:
        product_id, (name, variants) = next(each for each in _PRODUCTS.items() if item_id in each[1][1])
        options, price, _ = variants[item_id]
        item = {"name": name, "product_id": product_id, "item_id": item_id}
        items.append({**item, "price": price, "options": dict(options)})
    amount = round(sum(item["price"] for item in items), 2)
    payment = {"transaction_type": "payment", "amount": amount, "payment_method_id": method}
    head = {"order_id": order_id, "user_id": user_id, "address": dict(address), "items": items}
    return {**head, "fulfillments": [], "status": status, "payment_history": [payment]}


Made = tuple[str, Sequence[tuple[str, Mapping[str, Any]]], Sequence[str]]
"""Instruction, actions and outputs of a task."""


def _email(name: str) -> tuple[str, Mapping[str, Any]]:
    return "find_user_id_by_email", {"email": f"{name}@example.com"}


def _look(order_id: str) -> tuple[str, Mapping[str, Any]]:
    return "get_order_details", {"order_id": order_id}


TASKS: Mapping[str, Sequence[Made]] = {
    "train": (
        (
            "You are Ada Lark, ada.lark@example.com. You do not need the mug and the lamp any more that you ordered "
            "and that were not sent yet. You want the whole order cancelled.",
            [
                _email("ada.lark"),
                _look("#W1000001"),
                ("cancel_pending_order", {"order_id": "#W1000001", "reason": "no longer needed"}),
            ],
            [],
        ),
        (
            "You are Ben Finch, zip code 12002. Of order #W1000003 you want to return one of the two mugs, and get the "
            "money back the way you paid.",
            [
                ("find_user_id_by_name_zip", {"first_name": "Ben", "last_name": "Finch", "zip": "12002"}),
                _look("#W1000003"),
                (
                    "return_delivered_order_items",
                    {"order_id": "#W1000003", "item_ids": ["7000000001"], "payment_method_id": "paypal_1002"},
                ),
            ],
            [],
        ),
        (
            "You are Ada Lark, ada.lark@example.com. The red mug of order #W1000002 is too small. You want the large "
            "red one instead and pay the rest with your gift card.",
            [
                _email("ada.lark"),
                _look("#W1000002"),
                ("get_product_details", {"product_id": "5000000001"}),
                (
                    "exchange_delivered_order_items",
                    {
                        "order_id": "#W1000002",
                        "item_ids": ["7000000002"],
                        "new_item_ids": ["7000000003"],
                        "payment_method_id": "gift_card_1001",
                    },
                ),
            ],
            [],
        ),
        (
            "You are Cleo Wren, cleo.wren@example.com. You have moved to 8 Mill Lane, Tidewell, ME 12009, USA. Order "
            "#W1000005 should be sent there, and your profile should say so too.",
            [
                _email("cleo.wren"),
                (
                    "modify_pending_order_address",
                    {"order_id": "#W1000005", **address("8 Mill Lane", "Tidewell", "12009")},
                ),
                ("modify_user_address", {"user_id": "cleo_wren_1003", **address("8 Mill Lane", "Tidewell", "12009")}),
            ],
            [],
        ),
        (
            "You are Cleo Wren, cleo.wren@example.com. In order #W1000005 you want the scarf of silk, not of wool. The "
            "difference goes to the card that you paid with. You also want to know how much that is.",
            [
                _email("cleo.wren"),
                _look("#W1000005"),
                ("get_product_details", {"product_id": "5000000003"}),
                (
                    "modify_pending_order_items",
                    {
                        "order_id": "#W1000005",
                        "item_ids": ["7000000008"],
                        "new_item_ids": ["7000000009"],
                        "payment_method_id": "credit_card_1003",
                    },
                ),
            ],
            ["14.45"],
        ),
        (
            "You are Dov Heron, dov.heron@example.com. You want to pay order #W1000007 with PayPal, not with your gift "
            "card.",
            [
                _email("dov.heron"),
                ("modify_pending_order_payment", {"order_id": "#W1000007", "payment_method_id": "paypal_1004"}),
            ],
            [],
        ),
        (
            "You are Ben Finch, ben.finch@example.com. You want to know what you paid for order #W1000003 in all.",
            [_email("ben.finch"), _look("#W1000003")],
            ["51.9"],
        ),
        (
            "You are Dov Heron, dov.heron@example.com. You want order #W1000006 cancelled, which you have already "
            "received. If that cannot be done, nothing is to be done.",
            [_email("dov.heron"), _look("#W1000006")],
            [],
        ),
    ),
    "test": (
        (
            "You are Ben Finch, zip code 12002. You ordered a lamp by mistake, it was not sent yet. Cancel it.",
            [
                ("find_user_id_by_name_zip", {"first_name": "Ben", "last_name": "Finch", "zip": "12002"}),
                ("get_user_details", {"user_id": "ben_finch_1002"}),
                _look("#W1000004"),
                ("cancel_pending_order", {"order_id": "#W1000004", "reason": "ordered by mistake"}),
            ],
            [],
        ),
        (
            "You are Dov Heron, dov.heron@example.com. You want to return the lamp of order #W1000006 for your gift "
            "card.",
            [
                _email("dov.heron"),
                _look("#W1000006"),
                (
                    "return_delivered_order_items",
                    {"order_id": "#W1000006", "item_ids": ["7000000006"], "payment_method_id": "gift_card_1004"},
                ),
            ],
            [],
        ),
        (
            "You are Ada Lark, ada.lark@example.com. In order #W1000001 you want the lamp in black, with the card that "
            "you paid with, and you want to know how many kinds of mugs can be had now.",
            [
                _email("ada.lark"),
                ("get_product_details", {"product_id": "5000000002"}),
                ("get_product_details", {"product_id": "5000000001"}),
                (
                    "modify_pending_order_items",
                    {
                        "order_id": "#W1000001",
                        "item_ids": ["7000000006"],
                        "new_item_ids": ["7000000007"],
                        "payment_method_id": "credit_card_1001",
                    },
                ),
            ],
            ["3"],
        ),
    ),
}
