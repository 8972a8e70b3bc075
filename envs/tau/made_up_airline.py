"""A made-up airline: four flights on three days, three users, four reservations."""

from collections.abc import Mapping, Sequence
from typing import Any

from .database import Record, Tables

POLICY = """\
# Rules of the airline desk

The current time is 2024-05-15 15:00:00 EST. You help users of a small airline with their own reservations: book, \
change or cancel them.

- First ask for the user id, and for the reservation where there is one.
- Before you change anything, say what you will do and wait for a yes.
- Basic economy flights cannot be changed, but their cabin can. All flights of a reservation have the same cabin.
- A reservation can be cancelled if it is in business or was booked within the last 24 hours, or with insurance.
- Regular members have no free bag in basic economy, one in economy and two in business for each passenger. Silver and \
gold members have one more. Each other bag is 50 dollars. Insurance is 30 dollars for each passenger.
- All payment methods must be in the user's profile. Changes are paid with a card or a gift card.
- Make one tool call at a time, or talk to the user. Do not make anything up.
- Hand over to a human agent only what the tools cannot do.
- When everything is done, say so."""

_DATES = ("2024-05-20", "2024-05-21", "2024-05-22")
_FLIGHTS = (
    ("HAT901", "BOS", "SEA", "08:00:00", "13:30:00", {"basic_economy": 90, "economy": 150, "business": 420}),
    ("HAT902", "SEA", "BOS", "15:00:00", "20:30:00", {"basic_economy": 95, "economy": 160, "business": 410}),
    ("HAT903", "BOS", "DEN", "07:00:00", "11:00:00", {"basic_economy": 60, "economy": 85, "business": 300}),
    ("HAT904", "DEN", "SEA", "12:30:00", "15:00:00", {"basic_economy": 50, "economy": 70, "business": 280}),
)
_METHODS = {
    "ada_lark_1001": {"credit_card_1001": None, "gift_card_1001": 400},
    "ben_finch_1002": {"credit_card_1002": None, "certificate_1002": 100},
    "cleo_wren_1003": {"gift_card_1003": 250, "credit_card_1003": None},
}
_BIRTHDAYS = {"ada_lark_1001": "1980-01-01", "ben_finch_1002": "1975-02-02", "cleo_wren_1003": "1990-03-03"}
_MEMBERSHIPS = {"ada_lark_1001": "regular", "ben_finch_1002": "gold", "cleo_wren_1003": "silver"}
_RESERVATIONS = (
    ("AAA111", "ada_lark_1001", "business", (("HAT901", "2024-05-20"),), "credit_card_1001"),
    ("BBB222", "ben_finch_1002", "economy", (("HAT903", "2024-05-21"), ("HAT904", "2024-05-21")), "credit_card_1002"),
    ("CCC333", "cleo_wren_1003", "economy", (("HAT902", "2024-05-22"),), "gift_card_1003"),
    ("DDD444", "cleo_wren_1003", "basic_economy", (("HAT901", "2024-05-21"),), "credit_card_1003"),
)


def tables() -> Tables:
    """The records, new ones each time."""
    return {
        "flights": {flight[0]: _flight(*flight) for flight in _FLIGHTS},
        "reservations": {reservation[0]: _reservation(*reservation) for reservation in _RESERVATIONS},
        "users": {user_id: _user(user_id) for user_id in _METHODS},
    }


def _flight(
    number: str, origin: str, destination: str, departs: str, arrives: str, prices: Mapping[str, int]
) -> Record:
    seats = {"basic_economy": 4, "economy": 6, "business": 2}
    return {
        "flight_number": number,
        "origin": origin,
        "destination": destination,
        "scheduled_departure_time_est": departs,
        "scheduled_arrival_time_est": arrives,
        "dates": {
            date: {"status": "available", "available_seats": dict(seats), "prices": dict(prices)} for date in _DATES
        },
    }


def _user(user_id: str) -> Record:
    methods = {}
    for name, amount in _METHODS[user_id].items():
        source = name.rpartition("_")[0]
        methods[name] = {"source": source, "id": name} | ({} if amount is None else {"amount": amount})
    return {
        "name": _name(user_id),
        "email": f"{user_id.rpartition('_')[0].replace('_', '.')}@example.com",
        "dob": _BIRTHDAYS[user_id],
        "payment_methods": methods,
        "saved_passengers": [],
        "membership": _MEMBERSHIPS[user_id],
        "reservations": [reservation[0] for reservation in _RESERVATIONS if reservation[1] == user_id],
    }


def _name(user_id: str) -> dict[str, str]:
    first, last, _ = user_id.title().split("_")
    return {"first_name": first, "last_name": last}


def passenger(user_id: str) -> dict[str, str]:
    """A user who flies."""
    return {**_name(user_id), "dob": _BIRTHDAYS[user_id]}


def _reservation(
    reservation_id: str, user_id: str, cabin: str, flights: Sequence[tuple[str, str]], method: str
) -> Record:
    known = {flight[0]: flight for flight in _FLIGHTS}
    booked: list[Record] = []
    for number, date in flights:
        _, origin, destination, _, _, prices = known[number]
        place = {"origin": origin, "destination": destination, "flight_number": number}
        booked.append({**place, "date": date, "price": prices[cabin]})
    return {
        "reservation_id": reservation_id,
        "user_id": user_id,
        "origin": booked[0]["origin"],
        "destination": booked[-1]["destination"],
        "flight_type": "one_way",
        "cabin": cabin,
        "flights": booked,
        "passengers": [passenger(user_id)],
        "payment_history": [{"payment_id": method, "amount": sum(flight["price"] for flight in booked)}],
        "created_at": "2024-05-02T10:00:00",
        "total_baggages": 1,
        "nonfree_baggages": 0,
        "insurance": "no",
    }


Made = tuple[str, Sequence[tuple[str, Mapping[str, Any]]], Sequence[str]]
"""Instruction, actions and outputs of a task."""


def _flights(*flights: tuple[str, str]) -> list[dict[str, str]]:
    return [{"flight_number": number, "date": date} for number, date in flights]


def _look(reservation_id: str) -> tuple[str, Mapping[str, Any]]:
    return "get_reservation_details", {"reservation_id": reservation_id}


def _book(user_id: str, cabin: str, flights: Sequence[tuple[str, str]], paid: Mapping[str, int]) -> Mapping[str, Any]:
    return {
        "user_id": user_id,
        "origin": "BOS",
        "destination": "SEA",
        "flight_type": "one_way",
        "cabin": cabin,
        "flights": _flights(*flights),
        "passengers": [passenger(user_id)],
        "payment_methods": [{"payment_id": name, "amount": amount} for name, amount in paid.items()],
        "total_baggages": 0,
        "nonfree_baggages": 0,
        "insurance": "no",
    }


def _search(kind: str, date: str) -> tuple[str, Mapping[str, Any]]:
    return f"search_{kind}_flight", {"origin": "BOS", "destination": "SEA", "date": date}


TASKS: Mapping[str, Sequence[Made]] = {
    "train": (
        (
            "Your user id is ada_lark_1001. You want to cancel reservation AAA111, your plans have changed.",
            [_look("AAA111"), ("cancel_reservation", {"reservation_id": "AAA111"})],
            [],
        ),
        (
            "Your user id is ben_finch_1002. You want to fly from Boston to Seattle on May 22, without a stop, in "
            "economy, without bags and insurance. Pay with your certificate first and with your card for the rest.",
            [
                ("get_user_details", {"user_id": "ben_finch_1002"}),
                _search("direct", "2024-05-22"),
                (
                    "book_reservation",
                    _book(
                        "ben_finch_1002",
                        "economy",
                        [("HAT901", "2024-05-22")],
                        {"certificate_1002": 100, "credit_card_1002": 50},
                    ),
                ),
            ],
            [],
        ),
        (
            "Your user id is cleo_wren_1003. You want two more checked bags for reservation CCC333, three in all, and "
            "pay what they cost with your gift card. You are a silver member and know that two are free.",
            [
                _look("CCC333"),
                (
                    "update_reservation_baggages",
                    {
                        "reservation_id": "CCC333",
                        "total_baggages": 3,
                        "nonfree_baggages": 1,
                        "payment_id": "gift_card_1003",
                    },
                ),
            ],
            [],
        ),
        (
            "Your user id is ben_finch_1002. You want to fly a day later with reservation BBB222, with the same "
            "flights in the same cabin. If there is a difference, it goes to your credit card.",
            [
                _look("BBB222"),
                _search("onestop", "2024-05-22"),
                (
                    "update_reservation_flights",
                    {
                        "reservation_id": "BBB222",
                        "cabin": "economy",
                        "flights": _flights(("HAT903", "2024-05-22"), ("HAT904", "2024-05-22")),
                        "payment_id": "credit_card_1002",
                    },
                ),
            ],
            [],
        ),
        (
            "Your user id is cleo_wren_1003. Not you but Edda Wren, born on 1992-04-04, will fly with reservation "
            "CCC333.",
            [
                _look("CCC333"),
                (
                    "update_reservation_passengers",
                    {
                        "reservation_id": "CCC333",
                        "passengers": [{"first_name": "Edda", "last_name": "Wren", "dob": "1992-04-04"}],
                    },
                ),
            ],
            [],
        ),
        (
            "Your user id is ada_lark_1001. You want to know what the cheapest way from Boston to Seattle costs on May "
            "21 in economy, for one person, with a stop or without. You book nothing.",
            [_search("direct", "2024-05-21"), _search("onestop", "2024-05-21")],
            ["150"],
        ),
        (
            "Your user id is cleo_wren_1003. You want to cancel reservation DDD444, your plans have changed. If that "
            "cannot be done, nothing is to be done.",
            [_look("DDD444")],
            [],
        ),
    ),
    "test": (
        (
            "Your user id is ada_lark_1001. You want to fly from Boston to Seattle on May 21 with a stop in Denver, in "
            "basic economy, without bags and insurance, and pay with your gift card.",
            [
                _search("onestop", "2024-05-21"),
                (
                    "book_reservation",
                    _book(
                        "ada_lark_1001",
                        "basic_economy",
                        [("HAT903", "2024-05-21"), ("HAT904", "2024-05-21")],
                        {"gift_card_1001": 110},
                    ),
                ),
            ],
            [],
        ),
        (
            "Your user id is cleo_wren_1003. You want economy instead of basic economy for reservation DDD444, paid "
            "with your credit card, and want to know how much more it costs.",
            [
                _look("DDD444"),
                (
                    "update_reservation_flights",
                    {
                        "reservation_id": "DDD444",
                        "cabin": "economy",
                        "flights": _flights(("HAT901", "2024-05-21")),
                        "payment_id": "credit_card_1003",
                    },
                ),
            ],
            ["60"],
        ),
    ),
}
