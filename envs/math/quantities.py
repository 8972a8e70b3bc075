"""Values with a unit: taken apart, recognised in letters, and turned into plain numbers."""

from __future__ import annotations

from . import units
from .tree import Expression, Number, Operation, Quantity, Reading, Symbol, integer, nodes, variables


def measured(reading: Reading) -> Quantity | None:
    """5 m, 5 m^2 or 5 m/s^2 as a quantity. Letters are units only beside a constant or a unit, never variables."""
    match reading:
        case Operation(name="*", args=(value, letter)) if not variables(value) and (unit := _letter_unit(letter)):
            return Quantity(value, unit)
        case Operation(name="/", args=(top, letter)) if (above := measured(top)) and (unit := _letter_unit(letter)):
            return Quantity(above.value, f"{above.unit}/{unit}")
    return None


def _letter_unit(reading: Expression) -> str:
    match reading:
        case Symbol(name="m" | "s" | "g" | "h" | "L" as name):
            return units.unit_of([name.lower()], in_text=True) or ""
        case Operation(name="^", args=(Symbol() as base, Number(value=power))) if power in (2, 3):
            return f"{unit}{power}" if (unit := _letter_unit(base)) else ""
    return ""


def split(reading: Reading) -> tuple[Expression | None, str]:
    """The value and the unit, which is "" where there is none; no value where it is no expression."""
    if isinstance(reading, Quantity):
        return reading.value, reading.unit
    return (reading if isinstance(reading, Number | Symbol | Operation) else None), ""


def hundredth(value: Expression) -> Expression:
    """What a percentage is as a number; a decimal stays one."""
    if isinstance(value, Number):
        return Number(value.value / 100, None if value.places is None else value.places + 2, value.digits)
    return Operation("/", (value, integer(100)))


def in_radians(degrees: Expression) -> Expression:
    """An angle in degrees, in radians."""
    return Operation("/", (Operation("*", (degrees, Symbol("π"))), integer(180)))


def has_pi(value: Expression) -> bool:
    """Whether a value is written with π, as an angle in radians is."""
    return Symbol("π") in nodes(value)
