"""What families of requests are made of: descriptions of functions, and values drawn with the words for them."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..draw import Draw as PlainDraw


@dataclass(frozen=True)
class Wish:
    """One thing to do, with the function for it."""

    function: Mapping[str, Any]
    text: str
    """An order, without capital letter and full stop."""
    allowed: Mapping[str, Sequence[Any]]
    """For each parameter its allowed values; "" among them: it may be left out."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a function."""

    name: str
    kind: str
    """"string", "integer", "float", "boolean", "array" or "dict"."""
    description: str
    is_required: bool = True
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further entries of its schema: "enum", "default", "items", "properties"."""


def function(name: str, description: str, *parameters: Parameter) -> dict[str, Any]:
    """A function in the leaderboard's form."""
    properties = {each.name: {"type": each.kind, "description": each.description, **each.more} for each in parameters}
    required = [each.name for each in parameters if each.is_required]
    return {
        "name": name,
        "description": description,
        "parameters": {"type": "dict", "properties": properties, "required": required},
    }


def optional(name: str, kind: str, description: str, default: Any, **more: Any) -> Parameter:
    """A parameter with a default."""
    return Parameter(name, kind, f"{description} Default: {default!r}.", False, {"default": default, **more})


class Draw(PlainDraw):
    """Values for arguments, with the words for them."""

    def amount(self, low: int, high: int) -> float:
        """A number with two decimals that is no whole number."""
        return round(self.whole(low, high) + self.whole(1, 99) / 100, 2)

    def date(self) -> tuple[str, str]:
        """A day as "2027-03-05", and in words: "5 March 2027"."""
        day = datetime.date(2027, 1, 1) + datetime.timedelta(days=self.whole(0, 700))
        return day.isoformat(), f"{day.day} {day:%B %Y}"

    def later_date(self) -> tuple[str, str]:
        """A day as "2027-03-05", and as some days after another: "10 days after 23 February 2027"."""
        day = datetime.date(2027, 1, 1) + datetime.timedelta(days=self.whole(0, 700))
        later = self.whole(2, 20)
        return (day + datetime.timedelta(days=later)).isoformat(), f"{later} days after {day.day} {day:%B %Y}"

    def time(self) -> tuple[str, str]:
        """A time of the day as "14:30", and in words: "half past two in the afternoon" or "2:30 pm"."""
        hour, minute = self.whole(7, 21), self.one((0, 15, 30, 45))
        words = f"{(hour - 1) % 12 + 1}:{minute:02d} {'am' if hour < 12 else 'pm'}"
        return f"{hour:02d}:{minute:02d}", words

    def maybe(self, is_said: bool, value: Any, default: Any) -> list[Any]:
        """What is allowed for an optional parameter: its value where the request says one, else the default."""
        return [value] if is_said and value != default else [default, ""]


CITIES = (
    "Lisbon", "Oslo", "Nairobi", "Lima", "Kyoto", "Toronto", "Cairo", "Hanoi", "Porto", "Krakow", "Bogota", "Perth",
    "Denver", "Ghent", "Riga", "Dakar", "Quito", "Turin", "Bergen", "Seville",
)  # fmt: skip
PEOPLE = (
    "Amara", "Bruno", "Chiara", "Dmitri", "Elif", "Farid", "Greta", "Hiro", "Ines", "Jonas", "Kofi", "Leila", "Mateo",
    "Nadia", "Oskar", "Priya",
)  # fmt: skip
ROOMS = ("kitchen", "bedroom", "garage", "hallway", "office", "attic", "library", "veranda")


def listed(words: Sequence[str]) -> str:
    """ "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
