"""Words that may stand behind a number without changing it: units, currencies, and what is counted."""

import re
from collections.abc import Sequence

from .normal_form import word_set

PERCENT = "%"
DEGREE = "°"

_UNITS = {
    word: words.split()[0]
    for words in (
        "% percent percents pct percentage", "° degree degrees deg", "$ dollar dollars usd", "cent cents",
        "euro euros eur €", "pound pounds lb lbs £", "yen ¥", "rupee rupees ₹", "yuan",
        "mm millimeter millimeters", "cm centimeter centimeters centimetre centimetres",
        "m meter meters metre metres", "km kilometer kilometers kilometre kilometres", "inch inches in",
        "foot feet ft", "yard yards yd", "mile miles mi", "mg milligram milligrams", "g gram grams gm",
        "kg kilogram kilograms", "oz ounce ounces", "ml milliliter milliliters", "l liter liters litre litres",
        "gallon gallons", "second seconds sec s", "minute minutes min", "hour hours hr hrs h", "day days",
        "week weeks", "month months", "year years", "unit units", "rad radian radians", "hz",
        "volt volts", "joule joules", "newton newtons", "acre acres", "ton tons", "rpm",
        "mile/hour mph", "km/hour kph kmh", "person persons people", "man men", "woman women", "child children",
        "boy boys", "way ways",
    )
    for word in words.split()
}  # fmt: skip
_COUNTED = frozenset(("people", "men", "women", "children", "boys", "ways", "days"))
"""Plurals that do not look like one."""
_POWERS = {"square": "2", "sq": "2", "squared": "2", "cubic": "3", "cu": "3", "cubed": "3"}
_CHANGES_THE_NUMBER = word_set(
    """
    less plus minus times ones ten tens zeros zeroes dozen dozens pair pairs couple couples score scores hundred
    hundreds thousand thousands lakh lakhs crore crores half halves third thirds quarter quarters fourth fifth sixth
    eighth pi pis log logs root roots squares cubes prime primes over under mod modulo base factorial and or nor not
    no none never neither either is isn't are aren't was were be been if but than then more most least fewer few
    about approximately around nearly almost roughly maybe perhaps possibly probably might may could would should
    cannot can't other another otherwise instead except without wrong incorrect false true correct answer
    answers this that these those it its because since so therefore hence thus both all any some only to from
    between up down at with by when where while which who what how why i we you they guess unsure unknown one two
    three four five six seven eight nine eleven twelve
    """
)
_FRACTION_OR_POWER = re.compile(r"(?:\w*ths|\w*illions?)")
MAX_BARE_WORDS = 3


def unit_of(words: Sequence[str], *, in_text: bool) -> str | None:
    """The canonical unit that the words behind a number name, or None where they may say more than that.

    Args:
        words: in lower case, "/" and "per" among them.
        in_text: the words stand in `\\text{}`, where anything that does not speak about the number may be counted;
            elsewhere they must be known units or a plural.
    """
    speaks_about_it = any(word in _CHANGES_THE_NUMBER or _FRACTION_OR_POWER.fullmatch(word) for word in words) or all(
        word in _POWERS for word in words
    )
    if not words or (speaks_about_it and not (in_text and tuple(words) == ("any", "text"))):
        return None
    known = _known(words)
    if known is not None:
        return known
    if in_text or (len(words) <= MAX_BARE_WORDS and _is_plural(words)):
        return " ".join(words)
    return None


def is_unit(word: str) -> bool:
    """Whether a bare run of letters is a unit rather than a product of variables."""
    return len(word) > 1 and word.lower() in _UNITS


def speaks(run: str) -> bool:
    """Whether a bare run of letters is a word that speaks about a number: "not" is no product of three variables."""
    word = run.lower()
    if word in ("is", "no", "or", "per") or _FRACTION_OR_POWER.fullmatch(word):
        return True
    return len(word) > 2 and word in _CHANGES_THE_NUMBER


def agree(answer: str, reference: str) -> bool:
    """Whether two units may be meant alike: equal, one of them missing, or the same things counted."""
    if not answer or not reference or answer == reference:
        return True
    return answer.split()[-1] == reference.split()[-1] and not {answer, reference} & set(_UNITS.values())


def _known(words: Sequence[str]) -> str | None:
    rest = [word for word in words if word not in ("per", "/")]
    power = next((_POWERS[word] for word in rest if word in _POWERS), "")
    names = [_UNITS.get(word) for word in rest if word not in _POWERS]
    if not names or None in names:
        return None
    return "/".join(name for name in names if name) + power


def _is_plural(words: Sequence[str]) -> bool:
    return any(word in _COUNTED or re.fullmatch(r"[a-z]{2,}[^iusy]s", word) for word in words)
