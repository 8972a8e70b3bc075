"""The tools of the airline: its flights, reservations and users."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypedDict

from llmgym.tools import ToolError

from .database import Record
from .desk import TRANSFER, Desk

Cabin = Literal["basic_economy", "economy", "business"]
_NOW = "2024-05-15T15:00:00"
"""The time that the policy names."""
_NEW_RESERVATIONS = ("HATHAT", "HATHAU", "HATHAV")
_NEW_CERTIFICATES = ("certificate_3221322", "certificate_3221323", "certificate_3221324")
_BAG_PRICE, _INSURANCE_PRICE = 50, 30
_MAX_NUMBER = 10**9
_CITIES: Mapping[str, str] = {
    "SFO": "San Francisco",
    "JFK": "New York",
    "LAX": "Los Angeles",
    "ORD": "Chicago",
    "DFW": "Dallas",
    "DEN": "Denver",
    "SEA": "Seattle",
    "ATL": "Atlanta",
    "MIA": "Miami",
    "BOS": "Boston",
    "PHX": "Phoenix",
    "IAH": "Houston",
    "LAS": "Las Vegas",
    "MCO": "Orlando",
    "EWR": "Newark",
    "CLT": "Charlotte",
    "MSP": "Minneapolis",
    "DTW": "Detroit",
    "PHL": "Philadelphia",
    "LGA": "LaGuardia",
}


class FlightChoice(TypedDict):
    """A flight on a day."""

    flight_number: str
    date: str


class Passenger(TypedDict):
    """Somebody who flies."""

    first_name: str
    last_name: str
    dob: str


class Payment(TypedDict):
    """An amount of dollars, paid with a method of the user's profile."""

    payment_id: str
    amount: int | float


class AirlineDesk(Desk):
    """Books, changes and cancels reservations."""

    tool_names: ClassVar[Mapping[int, Sequence[str]]] = {
        version: (
            "book_reservation",
            "calculate",
            "cancel_reservation",
            "get_reservation_details",
            "get_user_details",
            "list_all_airports",
            "search_direct_flight",
            "search_onestop_flight",
            "send_certificate",
            "think" if version == 1 else "get_flight_status",
            TRANSFER,
            "update_reservation_baggages",
            "update_reservation_flights",
            "update_reservation_passengers",
        )
        for version in (1, 2)
    }

    def get_user_details(self, user_id: str) -> Record:
        """The profile of a user: name, address, payment methods, membership and reservations.

        Args:
            user_id: such as "ada_lark_1234".
        """
        return self._found("users", user_id, "user")

    def get_reservation_details(self, reservation_id: str) -> Record:
        """Flights, passengers, baggage and payments of a reservation.

        Args:
            reservation_id: such as "8JX2WO".
        """
        return self._found("reservations", reservation_id, "reservation")

    def get_flight_status(self, flight_number: str, date: str) -> str:
        """Whether a flight is available, on time, delayed, flying, landed or cancelled.

        Args:
            flight_number: such as "HAT001".
            date: such as "2024-05-01".
        """
        status: str = self._day(flight_number, date)["status"]
        return status

    def list_all_airports(self) -> dict[str, str]:
        """All airports, with their cities."""
        return dict(_CITIES)

    def search_direct_flight(self, origin: str, destination: str, date: str) -> list[Record]:
        """Flights without a stop that can be booked for a day.

        Args:
            origin: airport, such as "JFK".
            destination: airport, such as "LAX".
            date: such as "2024-05-01".
        """
        return [offer for offer in self._offers(date, origin=origin) if offer["destination"] == destination]

    def search_onestop_flight(self, origin: str, destination: str, date: str) -> list[list[Record]]:
        """Pairs of flights with one stop between them that can be booked for a day.

        Args:
            origin: airport, such as "JFK".
            destination: airport, such as "LAX".
            date: such as "2024-05-01".
        """
        pairs = []
        for first in self._offers(date, origin=origin):
            arrival = first["scheduled_arrival_time_est"]  # ends in "+1" where it is on the next day
            next_date = f"{date[:-2]}{int(date[-2:]) + 1:02d}" if "+1" in arrival else date
            pairs += [
                [{**first, "date": date}, {**second, "date": next_date}]
                for second in self._offers(next_date, origin=first["destination"])
                if second["destination"] == destination and second["scheduled_departure_time_est"] >= arrival
            ]
        return pairs

    def book_reservation(
        self,
        user_id: str,
        origin: str,
        destination: str,
        flight_type: Literal["one_way", "round_trip"],
        cabin: Cabin,
        flights: list[FlightChoice],
        passengers: list[Passenger],
        payment_methods: list[Payment],
        total_baggages: int,
        nonfree_baggages: int,
        insurance: Literal["yes", "no"],
    ) -> Record:
        """Books flights. Ask the user to confirm first.

        Args:
            user_id: such as "ada_lark_1234".
            origin: airport, such as "SFO".
            destination: airport, such as "JFK".
            flight_type: there, or there and back.
            cabin: the same for all flights.
            flights: all of them, in order.
            passengers: all of them; dob is the date of birth, such as "1990-01-01".
            payment_methods: what is paid with which method; together the whole price.
            total_baggages: number of checked bags.
            nonfree_baggages: number of bags that are paid for.
            insurance: whether it is bought.
        """
        _require_usual(total_baggages, nonfree_baggages, *(payment["amount"] for payment in payment_methods))
        self._found("users", user_id, "user")
        reservation_id = self._new_reservation_id()
        booked = [self._seat(flight, cabin, len(passengers)) for flight in flights]
        price = _total(booked) * len(passengers) + _BAG_PRICE * nonfree_baggages
        price += _INSURANCE_PRICE * len(passengers) if insurance == "yes" else 0
        self._require_payable(user_id, payment_methods, price)

        user = self.database.edit("users", user_id)
        for payment in payment_methods:
            method = user["payment_methods"][payment["payment_id"]]
            if method["source"] == "gift_card":
                method["amount"] -= payment["amount"]
            elif method["source"] == "certificate":
                del user["payment_methods"][payment["payment_id"]]
        if self.version == 2:
            for flight in booked:
                day = self.database.edit("flights", flight["flight_number"])["dates"][flight["date"]]
                day["available_seats"][cabin] -= len(passengers)
        user["reservations"].append(reservation_id)
        reservation = {
            "reservation_id": reservation_id,
            "user_id": user_id,
            "origin": origin,
            "destination": destination,
            "flight_type": flight_type,
            "cabin": cabin,
            "flights": booked,
            "passengers": [dict(passenger) for passenger in passengers],
            "payment_history": [dict(payment) for payment in payment_methods],
            "created_at": _NOW,
            "total_baggages": total_baggages,
            "nonfree_baggages": nonfree_baggages,
            "insurance": insurance,
        }
        self.database.put("reservations", reservation_id, reservation)
        return reservation

    def cancel_reservation(self, reservation_id: str) -> Record:
        """Cancels a whole reservation and pays it back. Ask the user to confirm first.

        Args:
            reservation_id: such as "8JX2WO".
        """
        self._found("reservations", reservation_id, "reservation")
        reservation = self.database.edit("reservations", reservation_id)
        payments = reservation["payment_history"]
        payments += [{"payment_id": payment["payment_id"], "amount": -payment["amount"]} for payment in payments]
        reservation["status"] = "cancelled"
        return reservation

    def send_certificate(self, user_id: str, amount: int | float) -> str:
        """Gives a user a travel certificate.

        Args:
            user_id: such as "ada_lark_1234".
            amount: in dollars.
        """
        _require_usual(amount)
        methods = self._found("users", user_id, "user")["payment_methods"]
        free = next((name for name in _NEW_CERTIFICATES if name not in methods), None)
        if free is None:
            raise ToolError("this user got as many certificates as there can be")
        methods = self.database.edit("users", user_id)["payment_methods"]
        methods[free] = {"source": "certificate", "amount": amount, "id": free}
        return f"Certificate {free} added to user {user_id} with amount {amount}."

    def update_reservation_baggages(
        self, reservation_id: str, total_baggages: int, nonfree_baggages: int, payment_id: str
    ) -> Record:
        """Changes the checked bags of a reservation. Ask the user to confirm first.

        Args:
            reservation_id: such as "8JX2WO".
            total_baggages: number of checked bags from now on.
            nonfree_baggages: number of them that are paid for.
            payment_id: pays, such as "credit_card_0000000".
        """
        _require_usual(total_baggages, nonfree_baggages)
        reservation = self._found("reservations", reservation_id, "reservation")
        price = _BAG_PRICE * max(0, nonfree_baggages - reservation["nonfree_baggages"])
        reservation = self._pay_for_update(reservation, payment_id, price)
        reservation["total_baggages"], reservation["nonfree_baggages"] = total_baggages, nonfree_baggages
        return reservation

    def update_reservation_flights(
        self, reservation_id: str, cabin: Cabin, flights: list[FlightChoice], payment_id: str
    ) -> Record:
        """Changes flights or cabin of a reservation. Ask the user to confirm first.

        Args:
            reservation_id: such as "8JX2WO".
            cabin: the same for all flights.
            flights: all flights from now on, also those that stay.
            payment_id: pays or receives the difference in price, such as "credit_card_0000000".
        """
        reservation = self._found("reservations", reservation_id, "reservation")
        kept = {(each["flight_number"], each["date"]): each for each in reversed(reservation["flights"])}
        num_passengers, new_flights = len(reservation["passengers"]), []
        for flight in flights:
            old = kept.get((flight["flight_number"], flight["date"])) if cabin == reservation["cabin"] else None
            new_flights.append({**flight, **old} if old else self._seat(flight, cabin, num_passengers))
        price = (_total(new_flights) - _total(reservation["flights"])) * num_passengers
        reservation = self._pay_for_update(reservation, payment_id, price)
        reservation["flights"] = new_flights
        if self.version == 2:  # version 1 leaves the cabin as it was
            reservation["cabin"] = cabin
        return reservation

    def update_reservation_passengers(self, reservation_id: str, passengers: list[Passenger]) -> Record:
        """Changes who flies; their number stays. Ask the user to confirm first.

        Args:
            reservation_id: such as "8JX2WO".
            passengers: all of them; dob is the date of birth, such as "1990-01-01".
        """
        reservation = self._found("reservations", reservation_id, "reservation")
        if len(passengers) != len(reservation["passengers"]):
            raise ToolError("number of passengers does not match")
        reservation = self.database.edit("reservations", reservation_id)
        reservation["passengers"] = [dict(passenger) for passenger in passengers]
        return reservation

    def _day(self, flight_number: str, date: str) -> Record:
        flight = self._found("flights", flight_number, f"flight {flight_number}")
        if date not in flight["dates"]:
            raise ToolError(f"flight {flight_number} not found on date {date}")
        day: Record = flight["dates"][date]
        return day

    def _seat(self, flight: FlightChoice, cabin: Cabin, num_passengers: int) -> Record:
        """The flight with its price, where there are seats for all."""
        number, date = flight["flight_number"], flight["date"]
        day = self._day(number, date)
        if day["status"] != "available":
            raise ToolError(f"flight {number} not available on date {date}")
        if day["available_seats"][cabin] < num_passengers:
            raise ToolError(f"not enough seats on flight {number}")
        known = self._found("flights", number, "flight")
        return {
            **flight,
            "price": day["prices"][cabin],
            "origin": known["origin"],
            "destination": known["destination"],
        }

    def _offers(self, date: str, *, origin: str) -> list[Record]:
        """What can be booked for a day from an airport, with seats and prices."""
        return [
            {**{name: value for name, value in flight.items() if name != "dates"}, **flight["dates"][date]}
            for _, flight in self.database.records("flights")
            if flight["origin"] == origin and flight["dates"].get(date, {}).get("status") == "available"
        ]

    def _new_reservation_id(self) -> str:
        for reservation_id in _NEW_RESERVATIONS:
            if self.database.get("reservations", reservation_id) is None:
                return reservation_id
        raise ToolError("no more than three reservations can be booked")

    def _require_payable(self, user_id: str, payments: Sequence[Payment], price: Any) -> None:
        methods = self._found("users", user_id, "user")["payment_methods"]
        used = [payment["payment_id"] for payment in payments]
        for payment in payments:
            payment_id = payment["payment_id"]
            if payment_id not in methods:
                raise ToolError(f"payment method {payment_id} not found")
            method = methods[payment_id]
            if method["source"] == "certificate" and used.count(payment_id) > 1:
                raise ToolError(f"certificate {payment_id} can be used once only")
            if method["source"] in ("gift_card", "certificate") and method["amount"] < payment["amount"]:
                raise ToolError(f"not enough balance in payment method {payment_id}")
        paid = sum(payment["amount"] for payment in payments)
        if paid != price:
            raise ToolError(f"payment amount does not add up, total price is {price}, but paid {paid}")

    def _pay_for_update(self, reservation: Record, payment_id: str, price: Any) -> Record:
        """The reservation to change, once the price is paid, or paid back where it is negative."""
        user_id, reservation_id = reservation["user_id"], reservation["reservation_id"]
        methods = self._found("users", user_id, "user")["payment_methods"]
        if payment_id not in methods:
            raise ToolError("payment method not found")
        method = methods[payment_id]
        if method["source"] == "certificate":
            raise ToolError("certificate cannot be used to update reservation")
        if method["source"] == "gift_card":
            if method["amount"] < price:
                raise ToolError("gift card balance is not enough")
            if price != 0:
                self.database.edit("users", user_id)["payment_methods"][payment_id]["amount"] -= price
        edited = self.database.edit("reservations", reservation_id)
        if price != 0:
            edited["payment_history"].append({"payment_id": payment_id, "amount": price})
        return edited


def _require_usual(*numbers: int | float) -> None:
    # Beyond these, prices could be neither written nor compared, and a policy must not be able to make that fail.
    if not all(abs(number) <= _MAX_NUMBER for number in numbers):
        raise ToolError("a number is too large")


def _total(flights: Sequence[Record]) -> Any:
    return sum(flight["price"] for flight in flights)
