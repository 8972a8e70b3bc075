"""A small store, drawn anew for each task: customers, products, orders. Plain dictionaries, money in whole cents."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from itertools import product as combinations
from typing import Any, TypeVar

import numpy as np

Database = dict[str, Any]
"""Tables by name: "customers", "products", "orders", "gift_cards" by id, and lists of what was "declined", of
"complaints" and "handovers"."""

T = TypeVar("T")

_FIRST = "Ada Ben Carla David Emma Farid Grace Hugo Iris Jonas Kira Liam Mona Nora Omar Paula Quinn Rosa Sven Tara"
_LAST = "Abel Berg Costa Diaz Engel Fischer Gomez Hansen Ito Jensen Keller Lopez Meyer Novak Olsen Park Reed Sato"
_STREETS = ("Oak Lane", "Mill Road", "High Street", "Park Avenue", "Lake Drive", "Station Road", "Church Hill")
_CITIES = ("Ashford", "Brookfield", "Carlton", "Dunmore", "Eastvale", "Fairview", "Greenford", "Hillcrest")
_CATALOGUE: Sequence[tuple[str, str, Mapping[str, Sequence[str]]]] = (
    ("desk lamp", "home", {"colour": ("black", "white", "brass"), "height": ("40 cm", "55 cm")}),
    ("water bottle", "home", {"colour": ("blue", "green", "red"), "volume": ("500 ml", "750 ml")}),
    ("bath towel", "home", {"colour": ("grey", "navy", "cream"), "size": ("small", "large")}),
    ("frying pan", "home", {"diameter": ("20 cm", "24 cm", "28 cm"), "coating": ("steel", "ceramic")}),
    ("rain jacket", "clothing", {"colour": ("yellow", "olive", "black"), "size": ("S", "M", "L")}),
    ("wool sweater", "clothing", {"colour": ("grey", "rust", "navy"), "size": ("S", "M", "L")}),
    ("running shoes", "clothing", {"colour": ("white", "orange"), "size": ("39", "41", "43")}),
    ("headphones", "electronics", {"colour": ("black", "silver", "blue"), "kind": ("wired", "wireless")}),
    ("keyboard", "electronics", {"layout": ("compact", "full"), "switches": ("linear", "tactile", "clicky")}),
    ("alarm clock", "electronics", {"colour": ("white", "wooden", "red"), "power": ("battery", "mains")}),
)


def choose(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of them, by `rng` alone."""
    return choices[int(rng.integers(len(choices)))]


def make_database(rng: np.random.Generator, today: dt.date) -> Database:
    """A store with six customers, each with orders of every status."""
    ids = _Ids(rng)
    database: Database = {
        "customers": {},
        "products": {},
        "orders": {},
        "gift_cards": {},
        "declined": [],
        "complaints": [],
        "handovers": [],
    }
    for name, category, options in _CATALOGUE:
        database["products"][ids.new("P")] = _product(rng, ids, name, category, options)
    first_names, last_names = _FIRST.split(), _LAST.split()
    for place in rng.permutation(len(first_names) * len(last_names))[:6]:
        first, last = first_names[int(place) % len(first_names)], last_names[int(place) // len(first_names)]
        customer_id = ids.new(f"{first}_{last}_".lower())
        database["customers"][customer_id] = _customer(rng, ids, first, last)
        for status in ("pending", "pending", "shipped", "delivered", "delivered"):
            order_id = ids.new("S")
            database["orders"][order_id] = _order(rng, database, customer_id, status, today)
            database["customers"][customer_id]["order_ids"].append(order_id)
    for _ in range(4):
        database["gift_cards"][ids.new("GIFT")] = {"cents": 500 * int(rng.integers(2, 21)), "redeemed_by": None}
    return database


class _Ids:
    """Makes ids with five digits that occur once only."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._numbers = iter(dict.fromkeys(rng.integers(10_000, 100_000, size=400).tolist()))

    def new(self, prefix: str) -> str:
        return f"{prefix}{next(self._numbers)}"


def _product(
    rng: np.random.Generator, ids: _Ids, name: str, category: str, options: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    base = int(rng.integers(1500, 15000))
    variants = {}
    for values in combinations(*options.values()):
        variants[ids.new("I")] = {
            "options": dict(zip(options, values, strict=True)),
            "cents": base + int(rng.integers(0, 3000)),
            "in_stock": int(rng.integers(1, 20)) if rng.random() < 0.8 else 0,
        }
    return {"name": name, "category": category, "variants": variants}


def _customer(rng: np.random.Generator, ids: _Ids, first: str, last: str) -> dict[str, Any]:
    # Payment methods of different kinds, so that a customer can name either in a word.
    return {
        "first_name": first,
        "last_name": last,
        "email": f"{first}.{last}{int(rng.integers(10, 100))}@example.com".lower(),
        "address": random_address(rng),
        "level": "gold" if rng.random() < 0.3 else "regular",
        "payment_methods": {
            ids.new("card_"): {"kind": "credit card"},
            ids.new("paypal_"): {"kind": "PayPal"},
        },
        "store_credit_cents": int(rng.integers(0, 40)) * 50,
        "order_ids": [],
    }


def random_address(rng: np.random.Generator) -> dict[str, str]:
    """An address that is made up."""
    return {
        "street": f"{int(rng.integers(1, 200))} {choose(rng, _STREETS)}",
        "city": choose(rng, _CITIES),
        "zip": str(int(rng.integers(10_000, 100_000))),
    }


def _order(
    rng: np.random.Generator, database: Database, customer_id: str, status: str, today: dt.date
) -> dict[str, Any]:
    """An order that is early enough for anything; tasks make it otherwise."""
    customer, products = database["customers"][customer_id], database["products"]
    items = []
    for place in rng.permutation(len(products))[: int(rng.integers(2, 5))]:
        product_id = list(products)[int(place)]
        item_id = choose(rng, list(products[product_id]["variants"]))
        items.append({**item_of(database, product_id, item_id), "is_final_sale": bool(rng.random() < 0.15)})
    method_id = choose(rng, list(customer["payment_methods"]))
    order = {
        "customer_id": customer_id,
        "status": status,
        "ordered_on": "",
        "shipped_on": None,
        "delivered_on": None,
        "address": dict(customer["address"]),
        "items": items,
        "payment_method_id": method_id,
        "payments": [{"cents": total_of(items), "payment_method_id": method_id}],
        "requests": [],
    }
    age = int(rng.integers(1, 3)) if status == "pending" else int(rng.integers(3, 8))
    set_days(order, today, age)
    return order


def item_of(database: Database, product_id: str, item_id: str) -> dict[str, Any]:
    """A variant as a line of an order."""
    product = database["products"][product_id]
    variant = product["variants"][item_id]
    return {
        "item_id": item_id,
        "product_id": product_id,
        "name": product["name"],
        "options": dict(variant["options"]),
        "cents": variant["cents"],
        "is_final_sale": False,
    }


def set_days(order: dict[str, Any], today: dt.date, days: int) -> None:
    """Let what the order waits for have happened so many days ago: its delivery, its shipping, or its placing."""
    day = today - dt.timedelta(days=days)
    if order["status"] == "delivered":
        order["delivered_on"], day = day.isoformat(), day - dt.timedelta(days=3)
    if order["status"] != "pending":
        order["shipped_on"], day = day.isoformat(), day - dt.timedelta(days=1)
    order["ordered_on"] = day.isoformat()


def total_of(items: Sequence[Mapping[str, Any]]) -> int:
    """Cents."""
    return sum(item["cents"] for item in items)


def money(cents: int) -> str:
    """As customers read it: 1230 is "12.30"."""
    return f"{'-' if cents < 0 else ''}{abs(cents) // 100}.{abs(cents) % 100:02d}"


def same_state(one: Any, other: Any) -> bool:
    """True where two states hold the same values: 1 is 1.0 but not True, and the case of texts means nothing."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_state(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_state, one, other))
    if isinstance(one, str) and isinstance(other, str):
        return _plain(one) == _plain(other)
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    return bool(one == other)


def _plain(text: str) -> str:
    return re.sub(r"[\s.,]+", " ", text).strip().casefold()
