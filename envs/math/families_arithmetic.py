"""Arithmetic: whole numbers, expressions, decimals, fractions, percentages and units."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from .problem import Problem, decimal, distinct, number, pick, randint


def addition(rng: np.random.Generator, difficulty: int) -> Problem:
    """Sums, from two one-digit numbers to four of five digits."""
    count = 2 + (difficulty >= 3) + (difficulty >= 5)
    terms = [randint(rng, 0, 10**difficulty - 1) for _ in range(count)]
    steps, total = [], terms[0]
    for term in terms[1:]:
        steps.append(f"{total} + {term} = {total + term}")
        total += term
    return Problem(f"What is {' + '.join(map(str, terms))}?", str(total), tuple(steps))


def subtraction(rng: np.random.Generator, difficulty: int) -> Problem:
    """Differences; from difficulty 2 on they may be negative."""
    a, b = (randint(rng, 0, 10**difficulty - 1) for _ in range(2))
    if difficulty == 1:
        a, b = max(a, b), min(a, b)
    return Problem(f"What is {a} - {b}?", str(a - b), (f"{a} - {b} = {a - b}",))


def multiplication(rng: np.random.Generator, difficulty: int) -> Problem:
    """Products, worked digit by digit of the second factor."""
    a = randint(rng, 2, 10 ** ((difficulty + 2) // 2) - 1)
    b = randint(rng, 2, 10 ** ((difficulty + 1) // 2) - 1)
    parts = [int(digit) * 10**place for place, digit in enumerate(reversed(str(b))) if digit != "0"]
    steps = [f"{a} * {part} = {a * part}" for part in parts]
    if len(parts) > 1:
        steps.append(" + ".join(str(a * part) for part in parts) + f" = {a * b}")
    return Problem(f"What is {a} * {b}?", str(a * b), tuple(steps))


def division(rng: np.random.Generator, difficulty: int) -> Problem:
    """Exact quotients, then quotients and remainders of division with rest."""
    divisor = randint(rng, 2, (9, 9, 20, 99, 999)[difficulty - 1])
    quotient = randint(rng, 2, (9, 99, 99, 999, 9999)[difficulty - 1])
    if difficulty <= 2:
        a = divisor * quotient
        return Problem(f"What is {a} / {divisor}?", str(quotient), (f"{divisor} * {quotient} = {a}",))
    rest = randint(rng, 0, divisor - 1)
    a = divisor * quotient + rest
    steps = (f"{divisor} * {quotient} = {a - rest}", f"{a} - {a - rest} = {rest}")
    if pick(rng, (True, False)):
        return Problem(f"What is the remainder when {a} is divided by {divisor}?", str(rest), steps)
    text = f"How many whole times does {divisor} fit into {a}?"
    return Problem(text, str(quotient), (*steps, f"{rest} is less than {divisor}, so it fits {quotient} times"))


@dataclass(frozen=True)
class _Operation:
    operator: str
    left: "_Operation | int"
    right: "_Operation | int"


def expression(rng: np.random.Generator, difficulty: int) -> Problem:
    """Nested expressions of +, - and *, written with as few parentheses as precedence allows."""
    tree = _random_tree(rng, difficulty + 1, 9 if difficulty < 4 else 20)
    steps: list[str] = []
    value = _evaluate(tree, steps)
    return Problem(f"Evaluate {_written(tree)}.", str(value), tuple(steps))


def _random_tree(rng: np.random.Generator, num_operators: int, size: int) -> _Operation | int:
    if num_operators == 0:
        return randint(rng, 1, size)
    num_left = randint(rng, 0, num_operators - 1)
    left = _random_tree(rng, num_left, size)
    right = _random_tree(rng, num_operators - 1 - num_left, size)
    return _Operation(pick(rng, "+-*"), left, right)


def _evaluate(tree: _Operation | int, steps: list[str]) -> int:
    if isinstance(tree, int):
        return tree
    a, b = _evaluate(tree.left, steps), _evaluate(tree.right, steps)
    value = {"+": a + b, "-": a - b, "*": a * b}[tree.operator]
    steps.append(f"{a} {tree.operator} {b if b >= 0 else f'({b})'} = {value}")
    return value


def _written(tree: _Operation | int) -> str:
    if isinstance(tree, int):
        return str(tree)
    left, right = _written(tree.left), _written(tree.right)
    if tree.operator == "*" and isinstance(tree.left, _Operation) and tree.left.operator != "*":
        left = f"({left})"
    if (
        isinstance(tree.right, _Operation)
        and tree.operator != "+"
        and ((tree.operator == "-" and tree.right.operator != "*") or tree.operator == "*")
    ):
        right = f"({right})"
    return f"{left} {tree.operator} {right}"


def decimals(rng: np.random.Generator, difficulty: int) -> Problem:
    """Sums, differences and products of decimals."""
    places = (difficulty + 1) // 2
    a, b = (Fraction(randint(rng, 1, 10 ** (difficulty + 1)), 10**places) for _ in range(2))
    operator = pick(rng, "+-" if difficulty == 1 else "+-*")
    value = {"+": a + b, "-": a - b, "*": a * b}[operator]
    scaled_a, scaled_b = int(a * 10**places), int(b * 10**places)
    scale = 10 ** (2 * places if operator == "*" else places)
    steps = (
        f"Without the points: {scaled_a} {operator} {scaled_b} = {int(value * scale)}",
        f"Divided by {scale} that is {decimal(value)}",
    )
    return Problem(f"Compute {decimal(a)} {operator} {decimal(b)}.", decimal(value), steps)


def fractions(rng: np.random.Generator, difficulty: int) -> Problem:
    """The four operations on fractions, in lowest terms."""
    size = (6, 9, 12, 20, 40)[difficulty - 1]
    terms = [_proper_fraction(rng, size) for _ in range(2 if difficulty < 4 else 3)]
    operators = [pick(rng, "+-" if difficulty == 1 else "+-*" if difficulty == 2 else "+-*/") for _ in terms[1:]]
    if len(terms) == 3 and operators[0] in "+-":
        operators[1] = pick(rng, "+-")  # from left to right, so that precedence does not matter
    text, value, steps = f"({terms[0]})", terms[0], []
    for operator, term in zip(operators, terms[1:], strict=True):
        result = {"+": value + term, "-": value - term, "*": value * term, "/": value / term}[operator]
        steps.append(_fraction_step(value, operator, term, result))
        text, value = f"{text} {operator} ({term})", result
    return Problem(f"Compute {text} as a fraction in lowest terms.", number(value), tuple(steps))


def _proper_fraction(rng: np.random.Generator, size: int) -> Fraction:
    while True:
        top, bottom = sorted(distinct(rng, 1, size, 2))
        if (value := Fraction(top, bottom)).denominator > 1:
            return value


def _fraction_step(a: Fraction, operator: str, b: Fraction, result: Fraction) -> str:
    if operator in "+-":
        common = a.denominator * b.denominator
        tops = f"{a.numerator * b.denominator} {operator} {b.numerator * a.denominator}"
        return f"({a}) {operator} ({b}) = ({tops})/{common} = {result}"
    other = b if operator == "*" else 1 / b
    top, bottom = f"{a.numerator} * {other.numerator}", f"{a.denominator} * {other.denominator}"
    return f"({a}) {operator} ({b}) = ({top})/({bottom}) = {result}"


def percentages(rng: np.random.Generator, difficulty: int) -> Problem:
    """A percentage of a number, a number from its percentage, and changes one after another."""
    percent = randint(rng, 1, 19) * 5 if difficulty < 3 else randint(rng, 2, 98)
    base = randint(rng, 1, 20 * difficulty) * (20 if difficulty < 3 else 5)
    part = Fraction(base * percent, 100)
    if difficulty <= 2:
        steps = (f"{base} * {percent} = {base * percent}", f"{base * percent} / 100 = {decimal(part)}")
        return Problem(f"What is {percent}% of {base}?", decimal(part), steps)
    if difficulty == 3:
        steps = (f"1% is {decimal(part)} / {percent} = {decimal(part / percent)}", f"100% is {base}")
        return Problem(f"{percent}% of a number is {decimal(part)}. What is the number?", str(base), steps)
    value, steps_of_change, told = Fraction(base), [], []
    for _ in range(difficulty - 2):
        change = randint(rng, 1, 9) * 10 * pick(rng, (1, -1))
        after = value * (100 + change) / 100
        told.append(f"{'increased' if change > 0 else 'decreased'} by {abs(change)}%")
        steps_of_change.append(f"{decimal(value)} * {100 + change} / 100 = {decimal(after)}")
        value = after
    text = f"The number {base} is {', and the result is '.join(told)}. What is the final number?"
    return Problem(text, decimal(value), tuple(steps_of_change))


_SCALES = (
    (("kilometers", 100_000), ("meters", 100), ("centimeters", 1)),
    (("kilograms", 1000), ("grams", 1)),
    (("days", 86_400), ("hours", 3600), ("minutes", 60), ("seconds", 1)),
    (("weeks", 168), ("days", 24), ("hours", 1)),
    (("liters", 1000), ("milliliters", 1)),
    (("yards", 36), ("feet", 12), ("inches", 1)),
)


def unit_conversion(rng: np.random.Generator, difficulty: int) -> Problem:
    """One unit into a smaller one, a mixed quantity into one unit, and a rate into other units."""
    if difficulty >= 4:
        return _rate_conversion(rng, difficulty)
    scale = pick(rng, _SCALES)
    large, small = sorted(distinct(rng, 0, len(scale) - 1, 2))
    (large_name, large_size), (small_name, small_size) = scale[large], scale[small]
    factor = large_size // small_size
    count = randint(rng, 2, 12 * difficulty**2)
    step = f"{count} {large_name} = {count} * {factor} {small_name} = {count * factor} {small_name}"
    if difficulty == 1:
        return Problem(f"How many {small_name} are in {count} {large_name}?", str(count * factor), (step,))
    rest = randint(rng, 1, factor - 1)
    total = count * factor + rest
    if difficulty == 2:
        text = f"How many {small_name} are in {count} {large_name} and {rest} {small_name}?"
        return Problem(text, str(total), (step, f"{count * factor} + {rest} = {total}"))
    text = (
        f"{total} {small_name} are how many full {large_name}, and how many {small_name} are left over? Give the rest."
    )
    return Problem(text, str(rest), (step, f"{total} - {count * factor} = {rest}"))


def _rate_conversion(rng: np.random.Generator, difficulty: int) -> Problem:
    lengths, times = _SCALES[0], _SCALES[2]
    (length, centimeters), (other_length, other_centimeters) = (lengths[i] for i in distinct(rng, 0, 2, 2))
    (time, seconds), (other_time, other_seconds) = (times[i] for i in distinct(rng, 0, 3, 2))
    rate = randint(rng, 1, 60 * (difficulty - 3)) * 6
    value = Fraction(rate * centimeters, other_centimeters) * Fraction(other_seconds, seconds)
    text = (
        f"A machine moves {rate} {length} per {time[:-1]}. How many {other_length} per {other_time[:-1]} is that? "
        "Give an integer or a fraction in lowest terms."
    )
    steps = (
        f"{rate} {length} = {number(Fraction(rate * centimeters, other_centimeters))} {other_length}",
        f"One {other_time[:-1]} is {number(Fraction(other_seconds, seconds))} {time}",
        f"The product of both is {number(value)}",
    )
    return Problem(text, number(value), steps)
