"""Every family's answer against an independent computation from the text of the problem alone."""

import itertools
import math
import re
import statistics
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
import sympy
from llmgym.envs.math import FAMILIES

from llmgym.tools.calculator import evaluate


def numbers(text):
    return [Fraction(number) for number in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?:/\d+)?", text)]


def integers(text):
    return [int(number) for number in numbers(text)]


def value(formula, **letters):
    """The exact value of a formula such as "3x^2 - 2y + 1"."""
    formula = re.sub(r"(?<=[\d)])\s*(?=[a-z(])", "*", formula)
    for letter, number in letters.items():
        formula = formula.replace(letter, f"(0 + {number.numerator})/{number.denominator}".join("()"))
    formula = re.sub(r"^-", "0-", formula.replace("(-", "(0-").replace("(0 + -", "(0-"))
    return evaluate(formula)


def arithmetic(text, _answer):
    return evaluate(re.sub(r"^(What is|Evaluate|Compute) |( as a fraction in lowest terms)?[?.]$", "", text))


def division(text, _answer):
    a, b = integers(text)
    if "fit into" in text:
        return b // a
    return a % b if "remainder" in text else Fraction(a, b)


def percentages(text, _answer):
    if text.startswith("What is"):
        percent, base = numbers(text)
        return base * percent / 100
    if "of a number" in text:
        percent, part = numbers(text)
        return part * 100 / percent
    result, *_ = numbers(text)
    for direction, percent in re.findall(r"(in|de)creased by (\d+)%", text):
        result *= 1 + Fraction(int(percent), 100) * (1 if direction == "in" else -1)
    return result


SIZES = {
    "kilometers": 100_000, "meters": 100, "centimeters": 1, "yards": 36, "feet": 12, "inches": 1,
    "weeks": 604_800, "days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1,
    "kilograms": 1000, "grams": 1, "liters": 1000, "milliliters": 1,
}  # fmt: skip
UNIT = "|".join(sorted(SIZES, key=len, reverse=True))


def unit_conversion(text, _answer):
    if text.startswith("A machine"):
        rate, length, time, other_length, other_time = re.search(
            r"moves (\d+) (\w+) per (\w+). How many (\w+) per (\w+)", text
        ).groups()
        per_second = Fraction(int(rate) * SIZES[length], SIZES[time + "s"])
        return per_second / SIZES[other_length] * SIZES[other_time + "s"]
    if "left over" in text:
        total, small, large = re.search(r"(\d+) (\w+) are how many full (\w+)", text).groups()
        return int(total) * SIZES[small] % SIZES[large] / Fraction(SIZES[small])
    target = re.search(r"How many (\w+)", text)[1]
    return sum(Fraction(int(n) * SIZES[unit], SIZES[target]) for n, unit in re.findall(rf"(\d+) ({UNIT})", text))


def remainder_puzzle(text, _answer):
    pairs = [(int(r), int(m)) for r, m in re.findall(r"remainder (\d+) when divided by (\d+)", text)]
    return next(n for n in itertools.count() if all(n % m == r for r, m in pairs))


def base_conversion(text, answer):
    n, base = integers(text)
    if text.startswith("Write"):
        return Fraction(answer) if int(answer, base) == n else None
    return int(str(n), base)


def divisor_count(text, _answer):
    (n,) = integers(text)
    return sum(n % divisor == 0 for divisor in range(1, n + 1))


def arithmetic_sequence(text, _answer):
    *terms, n = integers(text)
    if "term number" in text:
        n, *terms = integers(text)
    every = [terms[0] + i * (terms[1] - terms[0]) for i in range(n)]
    assert every[:4] == terms
    return every[-1] if "term number" in text else sum(every)


def geometric_sequence(text, answer):
    if "infinite" in text:
        first, ratio = numbers(text)
        partial = sum(float(first) * float(ratio) ** i for i in range(3000))
        return Fraction(answer) if math.isclose(partial, Fraction(answer), rel_tol=1e-9) else None
    n, a, b, _ = numbers(text)
    return a * (b / a) ** int(n - 1)


def recurrence(text, _answer):
    found = re.search(
        r"a\(1\) = (\d+), a\(2\) = (\d+) and a\(n\) = (\d+) \* a\(n-1\) \+ \((-?\d+)\) \* a\(n-2\) \+ (\d+) "
        r".*a\((\d+)\)",
        text,
    )
    first, second, a, b, constant, n = map(int, found.groups())
    for _ in range(n - 1):
        first, second = second, a * second + b * first + constant
    return first


def linear_equation(text, answer):
    left, right, letter = re.fullmatch(r"Solve (.*) = (.*) for (\w)\.", text).groups()
    at = {letter: Fraction(answer)}
    return Fraction(answer) if value(left, **at) == value(right, **at) else None


def symbolic(text):
    return sympy.sympify(re.sub(r"(?<=\d)(?=[a-z])", "*", text.replace("^", "**")))


def linear_system(text, _answer):
    first, e, second, f, asked = re.fullmatch(
        r"Solve the system (.*) = (.*) and (.*) = (.*)\. What is (.*)\?", text
    ).groups()
    (solution,) = sympy.solve([symbolic(first) - int(e), symbolic(second) - int(f)], sympy.symbols("x y"), dict=True)
    return Fraction(str(symbolic(asked).subs(solution)))


def quadratic_root(text, _answer):
    which, polynomial = re.match(r"What is the (larger|smaller) root of (.*) = 0\?", text).groups()
    roots = [Fraction(str(root)) for root in sympy.roots(symbolic(polynomial), sympy.Symbol("x"))]
    return max(roots) if which == "larger" else min(roots)


def polynomial_value(text, _answer):
    polynomials = dict(re.findall(r"(\w)\(x\) = (.*?)(?=\.| and)", text))
    x = Fraction(re.search(r"\((-?\d+(?:/\d+)?)\)+\?", text)[1])
    inner = value(polynomials["q"], x=x) if "q" in polynomials else x
    return value(polynomials["p"], x=inner)


def integers_in_range(text, _answer):
    low, sign, formula, high = re.search(r"satisfy (-?\d+) (<=?) (.*) <= (-?\d+)\?", text).groups()
    low, high = int(low), int(high)
    at_zero, at_one = (value(formula, x=Fraction(x)) for x in (0, 1))
    values = [at_zero + x * (at_one - at_zero) for x in range(-600, 700)]
    return sum((low < v if sign == "<" else low <= v) and v <= high for v in values)


def exponent_equation(text, answer):
    base, exponent, outer, right = re.fullmatch(r"Solve (\d+)\^\((.*)\) = (\d+)\^(\d+) for x\.", text).groups()
    power = value(exponent, x=Fraction(answer))
    return Fraction(answer) if power.denominator == 1 and int(base) ** int(power) == int(outer) ** int(right) else None


def rectangle(text, _answer):
    a, b = integers(text)
    if "sides of length" in text:
        return a * b if "area" in text else 2 * (a + b)
    if "one side" in text:
        return 2 * (b + Fraction(a, b))
    return next(side for side in range(1, a + 1) if side * (Fraction(b, 2) - side) == a)


def right_triangle(text, _answer):
    a, c = integers(text)
    if "legs" in text:
        return math.isqrt(a * a + c * c)
    b = math.isqrt(c * c - a * a)
    return Fraction(a * b, 2) if "area" in text else Fraction(a * b, c)


def polygon_area(text, _answer):
    return Fraction(str(abs(sympy.Polygon(*re.findall(r"\((-?\d+), (-?\d+)\)", text)).area)))


def angle(text, _answer):
    given = integers(text)
    if "Two angles" in text:
        return 180 - sum(given)
    if "ratio" in text:
        parts = [int(part) for part in re.search(r"\d+(:\d+)+", text)[0].split(":")]
        return Fraction(180 * max(parts), sum(parts))
    sides, turn = given
    return 180 - Fraction(360, sides) + turn


def urn(text, _answer):
    balls = [c for count, c in re.findall(r"(\d+) (red|blue|green)", text.split("drawn")[0]) for _ in range(int(count))]
    draws = int(found[1]) if (found := re.search(r"(\d) balls are", text)) else 1
    outcomes = list(itertools.combinations(balls, draws))
    good = [len(set(drawn)) == 1 and ("same color" in text or drawn[0] == "red") for drawn in outcomes]
    return Fraction(sum(good), len(good))


def dice(text, _answer):
    distribution = Counter({0: Fraction(1)})
    for sides in map(int, re.findall(r"one with (\d+) sides", text)):
        rolled = Counter()
        for total, chance in distribution.items():
            for face in range(1, sides + 1):
                rolled[total + face] += chance / sides
        distribution = rolled
    goal = int(re.search(r"(?:least|exactly) (\d+)", text)[1])
    return sum(p for total, p in distribution.items() if total == goal or (total > goal and "at least" in text))


def counting(text, _answer):
    if "letters" in text:
        letters = re.search(r"letters ([A-D]+)", text)[1]
        ways, left = 1, len(letters)
        for count in Counter(letters).values():
            ways, left = ways * math.comb(left, count), left - count
        return ways
    given = integers(text)
    if "committee" in text:
        return sum(1 for _ in itertools.combinations(range(given[1]), given[0]))
    if "line" in text and "grid" not in text:
        return math.prod(given[1] - i for i in range(given[0]))
    if "grid" in text:
        row = [1] * (given[2] + 1)
        for _ in range(given[3]):
            row = list(itertools.accumulate(row))
        return row[-1]
    return math.comb(given[1], given[0]) * math.comb(given[3], given[2])


def statistic(text, _answer):
    given = numbers(text)
    if "one more number" in text:
        return given[-1] * len(given) - sum(given[:-1])
    kind = re.search(r"What is the (\w+) of", text)[1]
    measure = {"mean": statistics.mean, "median": statistics.median, "range": lambda values: max(values) - min(values)}
    return Fraction(measure[kind](given))


def inventory(text, _answer):
    have = integers(text)[0]
    words = {"half": 2, "a third": 3, "a quarter": 4, "a fifth": 5, "twice": 2, "three times": 3, "four times": 4}
    for sentence in text.split(". ")[1:-1]:
        if "finds" in sentence:
            have += integers(sentence)[0]
        elif "loses" in sentence:
            have -= integers(sentence)[0]
        elif "gives away" in sentence:
            have -= Fraction(have, words[re.search(r"away (.*) of", sentence)[1]])
        else:
            have *= words[re.search(r"has (.*) as many", sentence)[1]]
    return have


def shopping(text, _answer):
    due = sum(int(count) * int(price) for count, price in re.findall(r"(\d+) \w+ for \$(\d+)", text))
    if discount := re.search(r"discount of (\d+)%", text):
        due -= due * Fraction(int(discount[1]), 100)
    return int(paid[1]) - due if (paid := re.search(r"pays with \$(\d+)", text)) else due


def travel(text, _answer):
    legs = [(int(v), int(t)) for v, t in re.findall(r"at (\d+) km per hour for (\d+) hours", text)]
    distance, hours = sum(v * t for v, t in legs), sum(t for _, t in legs)
    if legs:
        return Fraction(distance, hours) if "average" in text else distance
    apart, *rest = integers(text)
    head_start = rest[2] if len(rest) > 2 else 0
    return Fraction(apart - rest[0] * head_start, rest[0] + rest[1])


def work_rate(text, _answer):
    rates = [Fraction(1, int(hours)) for hours in re.findall(r"needs (\d+) hours", text)]
    return (1 - (rates[0] / 2 if "half an hour" in text else 0)) / sum(rates)


FACTORS = {"twice": 2, "three times": 3, "four times": 4, "five times": 5, "six times": 6}


def ages(text, _answer):
    factor = FACTORS[re.search(r"(twice|\w+ times) as old", text)[1]]
    a, b = integers(text)
    if "How old will" in text:
        return a * factor + b
    older = re.match(r"(\w+) is \d+ years older than", text)[1]
    age = next(age for age in range(1, 1000) if age + a + b == factor * (age + b))
    return age + a if f"How old is {older} now" in text else age


def mixture(text, _answer):
    parts = [(int(amount), int(percent)) for amount, percent in re.findall(r"(\d+) liters of a (\d+)%", text)]
    salt = sum(Fraction(amount * percent, 100) for amount, percent in parts)
    return salt if "How many liters" in text else salt * 100 / sum(amount for amount, _ in parts)


def sharing(text, _answer):
    people = re.findall(r"[A-Z][a-z]+", text.split(" share")[0])
    parts = dict(zip(people, map(int, re.search(r"\d+(:\d+)+", text)[0].split(":")), strict=True))
    total = sum(parts.values())
    if "gets" not in text:
        asked = re.search(r"How many does (\w+) get", text)[1]
        return Fraction(integers(text)[0] * parts[asked], total)
    most, difference, least = re.search(r"(\w+) gets (\d+) more than (\w+)", text).groups()
    return Fraction(int(difference) * total, parts[most] - parts[least])


CHECKS = {
    "addition": arithmetic,
    "subtraction": arithmetic,
    "multiplication": arithmetic,
    "division": division,
    "expression": arithmetic,
    "decimals": arithmetic,
    "fractions": arithmetic,
    "percentages": percentages,
    "unit_conversion": unit_conversion,
    "greatest_common_divisor": lambda text, _: math.gcd(*integers(text)),
    "least_common_multiple": lambda text, _: math.lcm(*integers(text)),
    "modular_power": lambda text, _: pow(*map(int, re.findall(r"\d+", text))),
    "divisor_count": divisor_count,
    "largest_prime_factor": lambda text, _: max(sympy.primefactors(integers(text)[0])),
    "remainder_puzzle": remainder_puzzle,
    "base_conversion": base_conversion,
    "digit_sum": lambda text, _: sum(map(int, str(evaluate(re.search(r"of (\d.*)\?", text)[1])))),
    "arithmetic_sequence": arithmetic_sequence,
    "geometric_sequence": geometric_sequence,
    "recurrence": recurrence,
    "linear_equation": linear_equation,
    "linear_system": linear_system,
    "quadratic_root": quadratic_root,
    "polynomial_value": polynomial_value,
    "integers_in_range": integers_in_range,
    "exponent_equation": exponent_equation,
    "rectangle": rectangle,
    "right_triangle": right_triangle,
    "polygon_area": polygon_area,
    "angle": angle,
    "urn": urn,
    "dice": dice,
    "counting": counting,
    "statistics": statistic,
    "inventory": inventory,
    "shopping": shopping,
    "travel": travel,
    "work_rate": work_rate,
    "ages": ages,
    "mixture": mixture,
    "sharing": sharing,
}


def problems(family, difficulty, count):
    return [FAMILIES[family](np.random.default_rng((difficulty, index)), difficulty) for index in range(count)]


def test_every_family_has_an_independent_check():
    assert CHECKS.keys() == FAMILIES.keys()


@pytest.mark.parametrize("difficulty", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_answer_is_what_an_independent_computation_finds(family, difficulty):
    for problem in problems(family, difficulty, 12):
        assert Fraction(problem.answer) == CHECKS[family](problem.text, problem.answer), problem


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_answers_of_many_problems_are_what_an_independent_computation_finds(family):
    for difficulty in range(1, 6):
        for problem in problems(family, difficulty, 60):
            assert Fraction(problem.answer) == CHECKS[family](problem.text, problem.answer), problem
