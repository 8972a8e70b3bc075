"""Families of requests: each draws an order and knows the one call that carries it out.

A family's functions are similar to those of its domain, so that choosing among them needs their descriptions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .drawing import CITIES, PEOPLE, ROOMS, Draw, Parameter, Wish, function, listed, optional

P = Parameter
Family = Callable[[Draw], Wish]

_UNIT = ("celsius", "fahrenheit")
_FORECAST = function(
    "weather.forecast",
    "Weather of the coming days in a city.",
    P("city", "string", "Name of the city."),
    P("days", "integer", "Number of days, 1 to 14."),
    optional("unit", "string", "Of temperatures.", "celsius", enum=list(_UNIT)),
)
_WEATHER_NOW = function(
    "weather.current",
    "Weather in a city at this moment.",
    P("city", "string", "Name of the city."),
    optional("unit", "string", "Of temperatures.", "celsius", enum=list(_UNIT)),
)
_AIR = function("weather.air_quality", "Quality of the air in a city at this moment.", P("city", "string", "The city."))


def forecast(draw: Draw) -> Wish:
    city, unit, days = draw.one(CITIES), draw.one(_UNIT), draw.whole(2, 14)
    said = draw.chance()
    text = f"tell me how the weather in {city} will be over the next {days} days{f', in {unit}' if said else ''}"
    return Wish(_FORECAST, text, {"city": [city], "days": [days], "unit": draw.maybe(said, unit, "celsius")})


def current_weather(draw: Draw) -> Wish:
    city, unit, said = draw.one(CITIES), draw.one(_UNIT), draw.chance()
    text = f"tell me what the weather is like in {city} right now{f', in {unit}' if said else ''}"
    return Wish(_WEATHER_NOW, text, {"city": [city], "unit": draw.maybe(said, unit, "celsius")})


def air_quality(draw: Draw) -> Wish:
    city = draw.one(CITIES)
    return Wish(_AIR, f"check how clean the air in {city} is now", {"city": [city]})


_TITLES = ("budget review", "team lunch", "dentist", "design workshop", "book club", "piano lesson", "board meeting")
_DATE = P("date", "string", "Day, as YYYY-MM-DD.")
_EVENT = function(
    "create_event",
    "Put an event into the calendar.",
    P("title", "string", "What the event is called."),
    _DATE,
    P("start", "string", "When it starts, as HH:MM in 24 hours."),
    optional("duration_minutes", "integer", "How long it takes, in minutes.", 60),
    optional("attendees", "array", "First names of those invited.", [], items={"type": "string"}),
)
_MOVE = function(
    "move_event",
    "Move an event of the calendar to another day.",
    P("title", "string", "What the event is called."),
    P("new_date", "string", "New day, as YYYY-MM-DD."),
)
_CANCEL = function(
    "cancel_event", "Remove an event from the calendar.", P("title", "string", "What the event is called."), _DATE
)


def create_event(draw: Draw) -> Wish:
    title, (day, day_words), (start, start_words) = draw.one(_TITLES), draw.date(), draw.time()
    hours, guests = draw.one((0.5, 1.5, 2, 3)), draw.some(PEOPLE, draw.whole(0, 3))
    long = draw.chance()
    text = f'put "{title}" into my calendar for {day_words} at {start_words}'
    text += f", {hours:g} hours long" if long else ""
    text += f", and invite {listed(guests)}" if guests else ""
    allowed: dict[str, list[Any]] = {
        "title": [title],
        "date": [day],
        "start": [start],
        "duration_minutes": draw.maybe(long, int(hours * 60), 60),
        "attendees": draw.maybe(bool(guests), guests, []),
    }
    return Wish(_EVENT, text, allowed)


def move_event(draw: Draw) -> Wish:
    title, (day, words) = draw.one(_TITLES), draw.later_date()
    return Wish(_MOVE, f'move "{title}" in my calendar to {words}', {"title": [title], "new_date": [day]})


def cancel_event(draw: Draw) -> Wish:
    title, (day, words) = draw.one(_TITLES), draw.date()
    return Wish(_CANCEL, f'take "{title}" on {words} out of my calendar', {"title": [title], "date": [day]})


_ACCOUNTS = ("checking", "savings", "travel", "household")
_CURRENCIES = {"euros": "EUR", "US dollars": "USD", "pounds sterling": "GBP", "Swiss francs": "CHF"}
_TRANSFER = function(
    "bank.transfer",
    "Move money between two accounts of the user.",
    P("source", "string", "Account that pays.", more={"enum": list(_ACCOUNTS)}),
    P("target", "string", "Account that receives.", more={"enum": list(_ACCOUNTS)}),
    P("amount", "float", "How much."),
    optional("currency", "string", "ISO 4217 code.", "EUR"),
)
_PAY = function(
    "bank.pay_person",
    "Send money to another person.",
    P("recipient", "string", "First name of the person."),
    P("amount", "float", "How much."),
    optional("currency", "string", "ISO 4217 code.", "EUR"),
    optional("note", "string", "What the person reads with it.", ""),
)
_BALANCE = function(
    "bank.balance",
    "How much is on an account.",
    P("account", "string", "Which account.", more={"enum": list(_ACCOUNTS)}),
)


def transfer(draw: Draw) -> Wish:
    (source, target), amount, currency = draw.some(_ACCOUNTS, 2), draw.amount(5, 900), draw.one(list(_CURRENCIES))
    text = f"move {amount:.2f} {currency} from my {source} account to my {target} account"
    code = draw.maybe(True, _CURRENCIES[currency], "EUR")
    return Wish(_TRANSFER, text, {"source": [source], "target": [target], "amount": [amount], "currency": code})


def pay_person(draw: Draw) -> Wish:
    person, amount, currency = draw.one(PEOPLE), draw.amount(3, 300), draw.one(list(_CURRENCIES))
    note, noted = draw.one(("rent", "concert tickets", "thank you", "groceries")), draw.chance()
    text = f"send {person} {amount:.2f} {currency}" + (f' with the note "{note}"' if noted else "")
    allowed: dict[str, list[Any]] = {
        "recipient": [person],
        "amount": [amount],
        "currency": draw.maybe(True, _CURRENCIES[currency], "EUR"),
        "note": [note] if noted else ["", ""],
    }
    return Wish(_PAY, text, allowed)


def balance(draw: Draw) -> Wish:
    account = draw.one(_ACCOUNTS)
    return Wish(_BALANCE, f"tell me how much money is on my {account} account", {"account": [account]})


_CABINS = ("economy", "business", "first")
_PASSENGERS = {"adults": {"type": "integer"}, "children": {"type": "integer"}}
_FLIGHTS = function(
    "search_flights",
    "Flights between two cities on a day.",
    P("origin", "string", "City of departure."),
    P("destination", "string", "City of arrival."),
    _DATE,
    P("passengers", "dict", "How many travel.", more={"properties": _PASSENGERS}),
    optional("cabin", "string", "Class of travel.", "economy", enum=list(_CABINS)),
)
_TRAINS = function(
    "search_trains",
    "Trains between two cities on a day.",
    P("origin", "string", "City of departure."),
    P("destination", "string", "City of arrival."),
    _DATE,
    optional("direct", "boolean", "Only those without change.", False),
)
_HOTEL = function(
    "book_hotel",
    "Book rooms of a hotel in a city.",
    P("city", "string", "Where."),
    P("check_in", "string", "First day, as YYYY-MM-DD."),
    P("nights", "integer", "Number of nights."),
    P("guests", "integer", "Number of guests."),
)


def flights(draw: Draw) -> Wish:
    (origin, goal), (day, words) = draw.some(CITIES, 2), draw.date()
    adults, children, cabin, said = draw.whole(1, 5), draw.whole(0, 3), draw.one(_CABINS), draw.chance()
    party = f"{adults} adult{'s' * (adults > 1)} and {children or 'no'} {'child' if children == 1 else 'children'}"
    text = f"find flights from {origin} to {goal} on {words} for {party}{f' in {cabin} class' if said else ''}"
    allowed: dict[str, list[Any]] = {
        "origin": [origin],
        "destination": [goal],
        "date": [day],
        "passengers": [{"adults": [adults], "children": [children] if children else [0, ""]}],
        "cabin": draw.maybe(said, cabin, "economy"),
    }
    return Wish(_FLIGHTS, text, allowed)


def trains(draw: Draw) -> Wish:
    (origin, goal), (day, words), direct = draw.some(CITIES, 2), draw.later_date(), draw.chance()
    text = f"find {'direct ' if direct else ''}trains from {origin} to {goal}, {words}"
    allowed = {"origin": [origin], "destination": [goal], "date": [day], "direct": draw.maybe(direct, direct, False)}
    return Wish(_TRAINS, text, allowed)


def hotel(draw: Draw) -> Wish:
    city, (day, words), nights, guests = draw.one(CITIES), draw.date(), draw.whole(2, 14), draw.whole(2, 6)
    text = f"book a hotel in {city} for {guests} people, arriving on {words} and staying {nights} nights"
    return Wish(_HOTEL, text, {"city": [city], "check_in": [day], "nights": [nights], "guests": [guests]})


_LIGHT = function(
    "set_light",
    "Switch the light of a room, and dim it.",
    P("room", "string", "Which room."),
    P("on", "boolean", "True: on."),
    optional("brightness", "integer", "In percent.", 100),
)
_HEATING = function(
    "set_heating",
    "Set the temperature that a room is heated to.",
    P("room", "string", "Which room."),
    P("celsius", "float", "Temperature in degrees Celsius."),
)
_BLINDS = function(
    "set_blinds",
    "Close the blinds of some rooms to some degree.",
    P("rooms", "array", "Which rooms.", more={"items": {"type": "string"}}),
    P("percent_closed", "integer", "0: open, 100: closed."),
)


def light(draw: Draw) -> Wish:
    room, on, percent = draw.one(ROOMS), draw.chance(0.7), 5 * draw.whole(1, 19)
    dim = on and draw.chance()
    text = f"switch the light in the {room} {'on' if on else 'off'}{f' at {percent} percent' if dim else ''}"
    brightness = draw.maybe(dim, percent, 100) if on else [100, 0, ""]
    return Wish(_LIGHT, text, {"room": [room], "on": [on], "brightness": brightness})


def heating(draw: Draw) -> Wish:
    room, celsius = draw.one(ROOMS), draw.whole(15, 25) + draw.one((0.0, 0.5))
    said = f"{celsius:g} degrees Celsius" if draw.chance() else f"{celsius * 9 / 5 + 32:g} degrees Fahrenheit"
    return Wish(_HEATING, f"heat the {room} to {said}", {"room": [room], "celsius": [celsius]})


def blinds(draw: Draw) -> Wish:
    rooms, (words, percent) = draw.some(ROOMS, draw.whole(2, 4)), draw.one((("halfway", 50), ("fully", 100)))
    text = f"close the blinds {words} in these rooms, in this order: {listed(rooms)}"
    return Wish(_BLINDS, text, {"rooms": [rooms], "percent_closed": [percent]})


_PARCEL = function(
    "ship_parcel",
    "Order the transport of a parcel.",
    P("destination", "string", "City."),
    P("weight_kg", "float", "Weight in kilograms."),
    P("length_cm", "float", "Longest side in centimetres."),
    optional("insured", "boolean", "Whether it is insured.", False),
)
_ORDER = function(
    "place_order",
    "Order goods from the shop.",
    P(
        "items",
        "array",
        "What to buy, in the order of the request.",
        more={"items": {"type": "dict", "properties": {"name": {"type": "string"}, "quantity": {"type": "integer"}}}},
    ),
    optional("express", "boolean", "Whether it comes the next day.", False),
)
_RETURN = function(
    "return_item",
    "Send something that was bought back to the shop.",
    P("order_number", "string", "Number of the order."),
    P("reason", "string", "Why.", more={"enum": ["broken", "wrong_size", "not_needed"]}),
)
_GOODS = ("lamps", "notebooks", "teapots", "candles", "cushions", "umbrellas", "baskets")
_REASONS = {"it arrived broken": "broken", "the size is wrong": "wrong_size", "I do not need it": "not_needed"}


def parcel(draw: Draw) -> Wish:
    city, insured = draw.one(CITIES), draw.chance()
    grams, millimetres = 50 * draw.whole(11, 190), 5 * draw.whole(21, 190)
    size = f"{grams} grams heavy and {millimetres} millimetres long"
    text = f"ship {'an insured' if insured else 'a'} parcel to {city}, {size}"
    allowed: dict[str, list[Any]] = {
        "destination": [city],
        "weight_kg": [grams / 1000],
        "length_cm": [millimetres / 10],
        "insured": draw.maybe(insured, insured, False),
    }
    return Wish(_PARCEL, text, allowed)


def order(draw: Draw) -> Wish:
    goods, express = draw.some(_GOODS, draw.whole(1, 3)), draw.chance(0.3)
    counts = [draw.whole(2, 12) for _ in goods]
    bought = listed([f"{count} {name}" for count, name in zip(counts, goods, strict=True)])
    items = [
        {"name": [name, name.removesuffix("s")], "quantity": [count]} for count, name in zip(counts, goods, strict=True)
    ]
    text = f"order {bought} from the shop{', to be here tomorrow' if express else ''}"
    return Wish(_ORDER, text, {"items": [items], "express": draw.maybe(express, express, False)})


def send_back(draw: Draw) -> Wish:
    number, (why, reason) = f"A{draw.whole(10000, 99999)}", draw.one(list(_REASONS.items()))
    text = f"send what I bought with order {number} back, because {why}"
    return Wish(_RETURN, text, {"order_number": [number], "reason": [reason]})


_NUMBERS = P("numbers", "array", "The numbers.", more={"items": {"type": "integer"}})
_STATISTICS: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "mean": (function("stats.mean", "Arithmetic mean of numbers.", _NUMBERS), "the average"),
    "median": (function("stats.median", "Median of numbers.", _NUMBERS), "the middle value when sorted"),
    "range": (function("stats.range", "Largest minus smallest of numbers.", _NUMBERS), "the spread from least to most"),
}


def statistic(kind: str) -> Family:
    """The family of one statistic."""

    def draw_wish(draw: Draw) -> Wish:
        numbers = [draw.whole(-50, 200) for _ in range(draw.whole(3, 7))]
        described, words = _STATISTICS[kind]
        return Wish(described, f"compute {words} of {listed([str(each) for each in numbers])}", {"numbers": [numbers]})

    return draw_wish


_EMAIL = function(
    "send_email",
    "Send an e-mail.",
    P("to", "array", "Addresses.", more={"items": {"type": "string"}}),
    P("subject", "string", "Subject."),
    optional("priority", "string", "How urgent.", "normal", enum=["low", "normal", "high"]),
)
_SMS = function(
    "send_sms", "Send a text message to a phone.", P("to", "string", "First name."), P("text", "string", "Text.")
)
_CALL = function(
    "schedule_call",
    "Plan a telephone call.",
    P("person", "string", "First name of whom to call."),
    P("time", "string", "When, as HH:MM in 24 hours."),
)
_SUBJECTS = ("Minutes of Monday", "Holiday plans", "Invoice 4711", "New office keys", "Questions on the draft")
_TEXTS = ("I am on my way", "the train is late", "happy birthday", "see you at the station", "dinner is ready")


def email(draw: Draw) -> Wish:
    people, subject, priority = draw.some(PEOPLE, draw.whole(1, 3)), draw.one(_SUBJECTS), draw.one(("low", "high"))
    said = draw.chance()
    addresses = [f"{person.lower()}@example.org" for person in people]
    urgency = f" with {priority} priority" if said else ""
    text = f'send an e-mail with the subject "{subject}" to {listed(addresses)}{urgency}'
    allowed: dict[str, list[Any]] = {
        "to": [addresses],
        "subject": [subject],
        "priority": draw.maybe(said, priority, "normal"),
    }
    return Wish(_EMAIL, text, allowed)


def sms(draw: Draw) -> Wish:
    person, text = draw.one(PEOPLE), draw.one(_TEXTS)
    return Wish(_SMS, f'text {person}: "{text}"', {"to": [person], "text": [text]})


def call(draw: Draw) -> Wish:
    person, (time, words) = draw.one(PEOPLE), draw.time()
    return Wish(_CALL, f"plan a call with {person} at {words}", {"person": [person], "time": [time]})


DOMAINS: Mapping[str, Sequence[Family]] = {
    "weather": (forecast, current_weather, air_quality),
    "calendar": (create_event, move_event, cancel_event),
    "bank": (transfer, pay_person, balance),
    "travel": (flights, trains, hotel),
    "home": (light, heating, blinds),
    "shop": (parcel, order, send_back),
    "statistics": tuple(statistic(kind) for kind in _STATISTICS),
    "messages": (email, sms, call),
}
"""Families by domain. Those of one domain have similar functions."""
