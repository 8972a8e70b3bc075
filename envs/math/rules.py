"""When two readings say the same: the type of the reference answer decides the rule."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from . import probes, quantities, real_sets, units, values
from .canonical import key
from .reading import number_word
from .tree import (
    Brackets,
    Chain,
    Clock,
    Expression,
    Items,
    Matrix,
    Number,
    Numeral,
    Operation,
    Quantity,
    Ratio,
    Reading,
    Symbol,
    Text,
    integer,
    is_expression,
    negated,
    variables,
)
from .values import Undecided

MAX_ITEMS = 200
_REVERSED = {"<": ">", ">": "<", "≤": "≥", "≥": "≤", "=": "=", "≠": "≠"}


def equal(answer: Reading, reference: Reading) -> bool:
    """Whether an answer says what the reference says.

    Raises:
        TooLarge: the resource gate refuses to evaluate one of them.
        Undecided: neither arithmetic nor probes can tell.
    """
    if answer == reference:
        return True
    if real_sets.is_set(reference) or (real_sets.is_set(answer) and isinstance(reference, Brackets)):
        found = _equal_sets(answer, reference)
        if found is not None:
            return found
    if len(_elements(reference)) > 1 or isinstance(reference, Items):
        return _equal_lists(answer, reference)
    given_name, given = _named(answer)
    expected_name, expected = _named(reference)
    if given_name is None and expected_name is None and given == answer and expected == reference:
        return _equal_unnamed(answer, reference)
    have_names = given_name is not None and expected_name is not None
    if have_names and key(given_name) != key(expected_name):  # type: ignore[arg-type]
        return _equal_relations(answer, reference)
    if equal(given, expected):
        return True
    # An equation may be rearranged, but the value of a variable must be stated: 2x + 4 = 16 does not say x = 6.
    return not _is_constant(expected) and _equal_relations(answer, reference)


def _equal_unnamed(answer: Reading, reference: Reading) -> bool:
    match answer, reference:
        case _, Text():
            return _equal_words(answer, reference)
        case Text(), _:
            return _names_number(answer, reference)
        case (Quantity(), _) | (_, Quantity()):
            return _equal_quantities(quantities.measured(answer) or answer, quantities.measured(reference) or reference)
        case Brackets(), Brackets():
            return _equal_brackets(answer, reference)
        case Brackets(opening="{", items=(only,)), _:
            return is_expression(reference) and equal(only, reference)
        case _, Brackets(opening="{", items=(only,)):
            return is_expression(answer) and equal(answer, only)
        case Matrix(rows=given), Matrix(rows=expected):
            return [len(row) for row in given] == [len(row) for row in expected] and all(
                equal(a, r) for row, other in zip(given, expected, strict=True) for a, r in zip(row, other, strict=True)
            )
        case Chain(), Chain():
            return _equal_relations(answer, reference)
        case Ratio(parts=given), Ratio(parts=expected):
            return _equal_ratios(given, expected)
        case Clock(fields=given, half=a), Clock(fields=expected, half=r):
            return given == expected and a == r
        case (Clock(fields=fields, half=half), Ratio(parts=parts)) | (
            Ratio(parts=parts),
            Clock(fields=fields, half=half),
        ):
            shown = [integer(field) for field in fields], [integer(field) for field in _of_24_hours(fields, half)]
            return bool(half) and any(time[: len(parts)] == list(parts) for time in shown)
        case Numeral(), Numeral():
            return answer == reference
    if is_expression(answer) and is_expression(reference):
        if _is_constant(reference) and (measured := quantities.measured(answer)) is not None:
            return _equal_quantities(measured, reference)
        if any(len(values.expanded(side)) > 1 for side in (answer, reference)):  # type: ignore[arg-type]
            return False
        return values.equal(answer, reference)  # type: ignore[arg-type]
    return False


def _of_24_hours(fields: tuple[int, ...], half: str) -> tuple[int, ...]:
    return (fields[0] % 12 + 12 * (half == "pm"), *fields[1:])


# --- names


def _named(reading: Reading) -> tuple[Expression | None, Reading]:
    """The name and the value of `x = 3` or `x \\in S`; a chain of equal constants is its last member."""
    match reading:
        case Chain(members=(name, value), relations=("∈",)) if _is_name(name):
            return _name_of(name), value
        case Chain(members=members, relations=relations) if set(relations) <= {"=", "≈"}:
            return _named_value(members, relations)
    return None, reading


def _named_value(members: tuple[Reading, ...], relations: tuple[str, ...]) -> tuple[Expression | None, Reading]:
    chain = Chain(members, relations)
    if "≈" in relations:  # what stands behind the sign is the same value once more, rounded
        cut = relations.index("≈")
        if not all(_is_about(member, members[cut]) for member in members[cut + 1 :]):
            return None, chain
        members, relations = members[: cut + 1], relations[:cut]
        if not relations:
            return None, members[0]
    first, *rest = members
    if _is_name(first):
        if all(_is_same_constant(rest[0], other) for other in rest[1:]):
            return _name_of(first), rest[-1]
    elif len(members) == 2 and _is_name(rest[0]) and _is_constant(first):
        return _name_of(rest[0]), first
    elif all(map(is_expression, members)) and all(equal(first, other) for other in rest):
        return None, rest[-1]  # constants, or writings of one formula
    elif all(map(_is_constant, members)) and all(equal(first, other) for other in rest):
        return None, rest[-1]
    return None, chain


def _is_about(rounded: Reading, value: Reading) -> bool:
    """Whether one constant is within two percent of another."""
    (left, _), (right, _) = quantities.split(rounded), quantities.split(value)
    if left is None or right is None or variables(left) or variables(right):
        return False
    near, exactly = probes.approximate(left), probes.approximate(right)
    return near is not None and exactly is not None and abs(near - exactly) <= abs(exactly) / 50


def _is_name(reading: Reading) -> bool:
    """A symbol, a line segment such as AB, or a tuple or ratio of symbols."""
    match reading:
        case Symbol():
            return not _is_constant(reading)
        case Operation(name="*", args=args):
            return all((isinstance(arg, Symbol) and arg.name[:1].isupper()) or _is_segment(arg) for arg in args)
        case Operation(name="abs", args=(inner,)):
            return _is_segment(inner)
        case Brackets(opening="(", items=items):
            return all(_is_name(item) for item in items)
        case Ratio(parts=parts):
            return all(_is_name(part) for part in parts)
    return False


def _is_segment(reading: Reading) -> bool:
    return isinstance(reading, Operation) and reading.name == "*" and _is_name(reading)


def _name_of(reading: Reading) -> Expression:
    match reading:
        case Symbol() | Operation():
            return reading
    return Symbol(repr(reading))


def _is_constant(reading: Reading) -> bool:
    if isinstance(reading, Quantity):
        return _is_constant(reading.value)
    return is_expression(reading) and not variables(reading)  # type: ignore[arg-type]


def _is_same_constant(first: Reading, other: Reading) -> bool:
    return _is_constant(first) and _is_constant(other) and equal(first, other)


# --- lists and brackets


def _elements(reading: Reading) -> list[Reading]:
    """The answers that a list, a set or a plus-minus sign holds."""
    match reading:
        case Items(items=items) | Brackets(opening="{", items=items):
            if len(items) > MAX_ITEMS:
                raise Undecided
            return [
                element for item in items for element in (_elements(item) if not isinstance(item, Brackets) else [item])
            ]
        case Chain(members=(name, value), relations=("=" | "∈",)) if _is_name(name) and len(_elements(value)) > 1:
            relation = "="
            return [Chain((name, element), (relation,)) for element in _elements(value)]
        case Number() | Symbol() | Operation():
            return list(values.expanded(reading))
        case Quantity(value=value, unit=unit):
            return [Quantity(each, unit) for each in values.expanded(value)]
    return [reading]


def _equal_lists(answer: Reading, reference: Reading) -> bool:
    if isinstance(answer, Brackets) and not answer.is_set:
        return False
    given, expected = _with_same_names(_elements(answer), _elements(reference))
    if _is_braced(answer) or _is_braced(reference):
        if not all(any(_is_same_element(other, element) for element in expected) for other in given):
            return False  # first, as a long answer is not compared with itself then
        given = _distinct(given)
    if _is_braced(reference):
        expected = _distinct(expected)
    if len(given) != len(expected):
        return False
    for element in expected:
        match = next((index for index, other in enumerate(given) if _is_same_element(other, element)), None)
        if match is None:
            return False
        del given[match]
    return True


def _is_same_element(answer: Reading, reference: Reading) -> bool:
    """A set of one number is that number, but not as an element."""
    return _is_braced(answer) == _is_braced(reference) and equal(answer, reference)


def _is_braced(reading: Reading) -> bool:
    return isinstance(reading, Brackets) and reading.is_set


def _distinct(elements: list[Reading]) -> list[Reading]:
    distinct: list[Reading] = []
    for element in elements:
        if not any(_is_same_element(element, other) for other in distinct):
            distinct.append(element)
    return distinct


def _with_same_names(given: list[Reading], expected: list[Reading]) -> tuple[list[Reading], list[Reading]]:
    """`n = 1, 2, 3` names all three; and names are dropped where the other side has none."""
    sides = [[_named(element) for element in elements] for elements in (given, expected)]
    for side in sides:
        if all(name is None for name, _ in side[1:]):
            side[:] = [(side[0][0], value) for _, value in side]
    if any(all(name is None for name, _ in side) for side in sides):
        return [value for _, value in sides[0]], [value for _, value in sides[1]]
    return [_as_named(*pair) for pair in sides[0]], [_as_named(*pair) for pair in sides[1]]


def _as_named(name: Expression | None, value: Reading) -> Reading:
    return value if name is None else Chain((name, value), ("=",))


def _equal_brackets(answer: Brackets, reference: Brackets) -> bool:
    if answer.is_set or reference.is_set:
        return answer.is_set and reference.is_set and _equal_lists(answer, reference)
    return (
        (answer.opening, answer.closing) == (reference.opening, reference.closing)
        and len(answer.items) == len(reference.items)
        and all(equal(a, r) for a, r in zip(answer.items, reference.items, strict=True))
    )


def _equal_sets(answer: Reading, reference: Reading) -> bool | None:
    """None where one of them is no set of known ends."""
    given, expected = real_sets.real_set(answer), real_sets.real_set(reference)
    if given is None or expected is None:
        return None
    (given_name, given_set), (expected_name, expected_set) = given, expected
    if given_name and expected_name and given_name != expected_name:
        return False
    return real_sets.equal(given_set, expected_set, values.equal)


# --- quantities, ratios, words


def _equal_quantities(answer: Reading, reference: Reading) -> bool:
    given, given_unit = quantities.split(answer)
    expected, expected_unit = quantities.split(reference)
    if given is None or expected is None:
        return False
    if given_unit == units.DEGREE and not expected_unit and quantities.has_pi(expected):
        return equal(given, expected) or equal(quantities.in_radians(given), expected)
    if expected_unit == units.DEGREE and not given_unit and quantities.has_pi(given):
        return equal(given, expected) or equal(given, quantities.in_radians(expected))
    if given_unit == units.PERCENT != expected_unit and not expected_unit:
        # The sign is a factor of 1/100, or is left away as a unit may be.
        return equal(given, expected) or equal(quantities.hundredth(given), expected)
    if expected_unit == units.PERCENT != given_unit and not given_unit:
        return equal(given, expected) or equal(given, quantities.hundredth(expected))
    return units.agree(given_unit, expected_unit) and equal(given, expected)


def _equal_ratios(given: Sequence[Expression], expected: Sequence[Expression]) -> bool:
    """Proportional ones are equal, unless they may be times of day: 2:30 is not 1:15."""
    if len(given) != len(expected):
        return False
    if all(values.equal(a, r) for a, r in zip(given, expected, strict=True)):
        return True
    if any(_may_be_time(side) for side in (given, expected)):
        return False
    products = [
        (Operation("*", (a, expected[0])), Operation("*", (r, given[0])))
        for a, r in zip(given[1:], expected[1:], strict=True)
    ]
    return all(values.equal(a, r) for a, r in products)


def _may_be_time(parts: Sequence[Expression]) -> bool:
    fields = [part.value if isinstance(part, Number) else Fraction(-1) for part in parts]
    return 0 <= fields[0] <= 24 and all(10 <= field < 60 or field == 0 for field in fields[1:])


def _equal_words(answer: Reading, reference: Text) -> bool:
    if isinstance(answer, Text):
        return "".join(answer.words.split()) == "".join(reference.words.split())
    return _names_number(reference, answer)


def _names_number(words: Text, other: Reading) -> bool:
    value = number_word(words)
    return value is not None and is_expression(other) and values.equal(other, value)  # type: ignore[arg-type]


# --- equations and inequalities


def _equal_relations(answer: Reading, reference: Reading) -> bool:
    if not (isinstance(answer, Chain) and isinstance(reference, Chain)):
        return False
    if _equal_members(answer, reference) or _equal_members(_turned(answer), reference):
        return True
    if len(answer.relations) != 1 or len(reference.relations) != 1:
        return False
    given, expected = _difference(answer), _difference(reference)
    if given is None or expected is None or given[0] != expected[0]:
        return False
    found = probes.ratio_is_constant(given[1], expected[1], positive=given[0] not in "=≠")
    if found is None:
        raise Undecided
    return found


def _equal_members(answer: Chain, reference: Chain) -> bool:
    return answer.relations == reference.relations and all(
        equal(a, r) for a, r in zip(answer.members, reference.members, strict=True)
    )


def _turned(chain: Chain) -> Chain:
    if not all(relation in _REVERSED for relation in chain.relations):
        return chain
    return Chain(chain.members[::-1], tuple(_REVERSED[relation] for relation in chain.relations[::-1]))


def _difference(chain: Chain) -> tuple[str, Expression] | None:
    """The relation of "left - right" to 0, one of = ≠ > ≥."""
    left, right = chain.members
    (relation,) = chain.relations
    if not (isinstance(left, Number | Symbol | Operation) and isinstance(right, Number | Symbol | Operation)):
        return None
    if relation in "<≤":
        left, right, relation = right, left, _REVERSED[relation]
    if relation not in "=≠>≥":
        return None
    return relation, Operation("+", (left, negated(right)))
