"""Numbers, and tuples and lists of them, read exactly; and when two of them are equal.

Everything is a `Fraction`; there are no floats. Numbers of more than 1,000 digits are left unread, so that nothing a
policy writes takes long.
"""

import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

from .normal_form import fold

_MAX_DIGITS = 1000

_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?:[ ]\d{3})+|\d+)"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d*)?|\.\d+)"
_SIGNED = rf"[+-]?\s?{_DECIMAL}"
_POWER_OF_TEN = r"(?:[eE](?P<e>[+-]?\d+)|\s?(?:\\times|\\cdot|\*|x)\s?10\s?\^\s?\{?\s?(?P<ten>[+-]?\d+)\s?\}?)"
_FORMS = re.compile(
    rf"""(?P<decimal>{_SIGNED}){_POWER_OF_TEN}?
        |(?P<sign>[+-]?)\s?(?:(?P<whole>\d+)\s?)?\\frac\s?\{{\s?(?P<top>{_SIGNED})\s?\}}\s?\{{\s?(?P<bottom>{_SIGNED})\s?\}}
        |(?P<slash_sign>[+-]?)\s?(?:(?P<slash_whole>\d+)\s)?(?P<slash_top>{_DECIMAL})\s?/\s?(?P<slash_bottom>{_DECIMAL})
        |(?P<base>[+-]?\d+)\s?\^\s?\{{?\s?(?P<exponent>\d+)\s?\}}?""",
    re.VERBOSE,
)

_CURRENCIES = "$€£"
_UNITS = {
    word: words.split()[0]
    for words in (
        "% percent percents", "° degree degrees", "dollar dollars usd", "cent cents", "euro euros",
        "pound pounds lb lbs", "mm millimeter millimeters", "cm centimeter centimeters", "m meter meters metre metres",
        "km kilometer kilometers", "inch inches in", "foot feet ft", "yard yards yd", "mile miles mi",
        "mg milligram milligrams", "g gram grams", "kg kilogram kilograms", "oz ounce ounces",
        "ml milliliter milliliters", "l liter liters", "second seconds sec s", "minute minutes min",
        "hour hours hr hrs h", "day days", "week weeks", "month months", "year years", "unit units", "mph", "kph",
    )
    for word in words.split()
}  # fmt: skip
_POWERS = {"square": "2", "sq": "2", "cubic": "3"}
_FURTHER = r"(?:(?:\s?/\s?|\s)[A-Za-z]+){0,2}"
_UNIT = re.compile(
    rf"""\s?(?:(?P<sign>%|°)
        |\\(?:text|mathrm|mbox|textrm)\s?\{{\s?(?P<set>[A-Za-z]+{_FURTHER})\.?\s?\}}
        |(?<=[\s\d])(?P<word>[A-Za-z]{{2,}}{_FURTHER}))
        (?:\s?\^\s?\{{?\s?(?P<power>[23])\s?\}}?)?$""",
    re.VERBOSE,
)
_CHANGES_THE_NUMBER = re.compile(
    r"less|plus|minus|times|ones|tens|zeros|zeroes|dozens|pairs|couples|scores|hundreds|thousands|\w*illions|lakhs|crores"
    r"|halves|thirds|quarters|\w*ths|pis|radians|logs|roots|squares|cubes|primes"
)
"""Words in the plural that are not what is counted: 3 quarters are not 3."""


@dataclass(frozen=True)
class Number:
    """An exact number as it was written."""

    value: Fraction
    unit: str = ""
    """Canonical unit; "%" is left out of `value`."""
    places: int | None = None
    """Places after the decimal point of a number written as a decimal; None for integers and fractions."""


@dataclass(frozen=True)
class Values:
    """Several numbers: a tuple, which has order and brackets, or a list or set, which has neither."""

    numbers: tuple[Number, ...]
    brackets: str = ""


def read(text: str) -> Number | Values | None:
    """What a final answer says, or None where it is not made of numbers alone."""
    if len(text) > 2 * _MAX_DIGITS:
        return None
    folded = re.sub(r"\s+", " ", fold(text))
    number = _number(folded)
    return number if number is not None else _values(folded)


def equal(answer: Number | Values, reference: Number | Values) -> bool:
    """Whether two readings say the same."""
    match answer, reference:
        case Number(), Number():
            return _equal_numbers(answer, reference)
        case Values(), Values() if answer.brackets == reference.brackets:
            return len(answer.numbers) == len(reference.numbers) and (
                all(map(_equal_numbers, answer.numbers, reference.numbers))
                if answer.brackets
                else Counter(n.value for n in answer.numbers) == Counter(n.value for n in reference.numbers)
            )
    return False


def _equal_numbers(answer: Number, reference: Number) -> bool:
    if answer.unit and reference.unit and answer.unit != reference.unit:
        return False
    values = [answer.value]
    references = [reference.value]
    if answer.unit == "%" != reference.unit:
        values.append(answer.value / 100)
    if reference.unit == "%" != answer.unit:
        references.append(reference.value / 100)
    return any(
        value == target or _is_rounded(value, answer.places, target) or _is_rounded(target, reference.places, value)
        for value in values
        for target in references
    )


def _is_rounded(decimal: Fraction, places: int | None, exact: Fraction) -> bool:
    """Whether a decimal of at least six significant digits is `exact`, which no decimal can write, rounded or cut."""
    if places is None or _has_finite_decimals(exact) or abs(decimal) * 10**places < 10**5:
        return False
    return abs(decimal - exact) < Fraction(1, 10**places)


def _has_finite_decimals(value: Fraction) -> bool:
    rest = value.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    return rest == 1


def _number(text: str) -> Number | None:
    text, unit = _without_unit(text.strip())
    found = _FORMS.fullmatch(text)
    if found is None:
        return None
    if found["decimal"] is not None:
        power = int(found["e"] or found["ten"] or 0) if len(found["e"] or found["ten"] or "") < 6 else _MAX_DIGITS
        digits = _clean(found["decimal"])
        if abs(power) >= _MAX_DIGITS or len(digits) > _MAX_DIGITS:
            return None
        places = len(digits.partition(".")[2]) - power if "." in digits else None
        return Number(Fraction(digits) * Fraction(10) ** power, unit, max(places, 0) if places is not None else None)
    if found["base"] is not None:
        if len(found["exponent"]) > 4 or len(found["base"]) * int(found["exponent"]) > _MAX_DIGITS:
            return None
        sign = -1 if found["base"].startswith("-") else 1  # -2^2 is -(2^2)
        return Number(Fraction(sign * abs(int(found["base"])) ** int(found["exponent"])), unit)
    return _fraction(found, unit)


def _fraction(found: re.Match[str], unit: str) -> Number | None:
    form = "" if found["top"] is not None else "slash_"
    top, bottom, whole = (_clean(found[form + part] or "0") for part in ("top", "bottom", "whole"))
    if max(len(top), len(bottom), len(whole)) > _MAX_DIGITS or Fraction(bottom) == 0:
        return None
    value = Fraction(top) / Fraction(bottom)
    if found[form + "whole"] is not None:
        if not 0 < value < 1:
            return None
        value += int(whole)
    return Number(-value if found[form + "sign"] == "-" else value, unit)


def _without_unit(text: str) -> tuple[str, str]:
    """The number without the currency, percent sign or known unit around it, and which that was."""
    sign = text[:1] if text[:1] in ("-", "+") else ""
    if text[len(sign) : len(sign) + 1] in tuple(_CURRENCIES):
        return sign + text[len(sign) + 1 :].strip(), "dollar" if "$" in text else "currency"
    found = _UNIT.search(text)
    word = (found["sign"] or found["set"] or found["word"]) if found is not None else None
    unit = _unit_named(word.lower()) if word is not None else None
    if found is None or unit is None:
        return text, ""
    return text[: found.start()].strip(), unit + (found["power"] or "")


def _unit_named(phrase: str) -> str | None:
    """The canonical name of a known unit ("square meters", "km per hour") or of things that are counted ("apples")."""
    words = [word for word in re.split(r"\s?/\s?|\s", phrase) if word != "per"]
    power = _POWERS.get(words[0], "") if words else ""
    units = [_UNITS.get(word) for word in (words[1:] if power else words)]
    if units and all(units):
        return "/".join(unit for unit in units if unit) + power
    if re.fullmatch(r"[a-z]{2,}[^iusy]s", phrase) and not _CHANGES_THE_NUMBER.fullmatch(phrase):
        return phrase
    return None


def _values(text: str) -> Values | None:
    brackets = ""
    if text.startswith(r"\{") and text.endswith(r"\}"):
        text = text[2:-2]
    elif text[:1] in ("(", "[") and text[-1:] in (")", "]"):
        brackets, text = text[0] + text[-1], text[1:-1]
    items = re.split(r",|;|\band\b|\\text\s?\{\s?,?\s?and\s?\}", text)
    numbers = [number for item in items if item.strip() and (number := _number(item)) is not None]
    num_items = sum(1 for item in items if item.strip())
    if len(numbers) != num_items or (num_items < 2 and not brackets) or num_items == 0:
        return None
    return Values(tuple(numbers), brackets) if num_items > 1 else None


def _clean(digits: str) -> str:
    return re.sub(r"[,\s+]", "", digits)
