"""Number theory and sequences."""

import math
from fractions import Fraction

import numpy as np

from .problem import Problem, distinct, number, pick, randint


def greatest_common_divisor(rng: np.random.Generator, difficulty: int) -> Problem:
    """Euclid's algorithm, on numbers with a planted common factor."""
    size = 10**difficulty
    factor = randint(rng, 1, 12 * difficulty)
    a, b = (factor * randint(rng, 2, 9 + size // 10) for _ in range(2))
    steps, larger, smaller = [], max(a, b), min(a, b)
    while smaller:
        steps.append(f"{larger} = {larger // smaller} * {smaller} + {larger % smaller}")
        larger, smaller = smaller, larger % smaller
    steps.append(f"The last divisor is {larger}")
    return Problem(f"What is the greatest common divisor of {a} and {b}?", str(larger), tuple(steps))


def least_common_multiple(rng: np.random.Generator, difficulty: int) -> Problem:
    """The least common multiple of two or three numbers."""
    numbers = distinct(rng, 2, 6 + 6 * difficulty**2, 2 if difficulty < 3 else 3)
    steps, multiple = [], numbers[0]
    for other in numbers[1:]:
        divisor = math.gcd(multiple, other)
        steps.append(f"lcm({multiple}, {other}) = {multiple} * {other} / {divisor} = {multiple * other // divisor}")
        multiple = multiple * other // divisor
    names = f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"
    return Problem(f"What is the least common multiple of {names}?", str(multiple), tuple(steps))


def modular_power(rng: np.random.Generator, difficulty: int) -> Problem:
    """The remainder of a power, by repeated squaring."""
    modulus = randint(rng, 3, (9, 15, 30, 100, 1000)[difficulty - 1])
    base, exponent = randint(rng, 2, 9 + 3 * difficulty), randint(rng, 2, (4, 9, 30, 200, 5000)[difficulty - 1])
    steps, result, square, rest = [], 1, base % modulus, exponent
    power = 1
    while rest:
        steps.append(f"{base}^{power} leaves {square}")
        if rest % 2:
            result = result * square % modulus
            steps.append(f"The product so far leaves {result}")
        square, power, rest = square * square % modulus, 2 * power, rest // 2
    text = f"What is the remainder when {base}^{exponent} is divided by {modulus}?"
    return Problem(text, str(result), tuple(steps))


def _factorization(n: int) -> dict[int, int]:
    exponents: dict[int, int] = {}
    divisor = 2
    while divisor * divisor <= n:
        while n % divisor == 0:
            exponents[divisor] = exponents.get(divisor, 0) + 1
            n //= divisor
        divisor += 1
    if n > 1:
        exponents[n] = exponents.get(n, 0) + 1
    return exponents


def _factor_step(n: int, exponents: dict[int, int]) -> str:
    return f"{n} = " + " * ".join(f"{prime}^{exponent}" for prime, exponent in exponents.items())


def divisor_count(rng: np.random.Generator, difficulty: int) -> Problem:
    """How many divisors a number has."""
    n = randint(rng, 2, (30, 100, 1000, 10_000, 100_000)[difficulty - 1])
    exponents = _factorization(n)
    count = math.prod(exponent + 1 for exponent in exponents.values())
    product = " * ".join(f"({exponent} + 1)" for exponent in exponents.values())
    steps = (_factor_step(n, exponents), f"{product} = {count}")
    return Problem(f"How many positive divisors does {n} have?", str(count), steps)


def largest_prime_factor(rng: np.random.Generator, difficulty: int) -> Problem:
    """The largest prime factor of a number."""
    n = randint(rng, 4, (50, 200, 2000, 20_000, 200_000)[difficulty - 1])
    exponents = _factorization(n)
    steps = (_factor_step(n, exponents), f"The largest prime is {max(exponents)}")
    return Problem(f"What is the largest prime factor of {n}?", str(max(exponents)), steps)


def remainder_puzzle(rng: np.random.Generator, difficulty: int) -> Problem:
    """The smallest number with given remainders, by the Chinese remainder theorem."""
    pool = (2, 3, 5, 7, 11, 13, 17, 19)[: 4 + difficulty - (difficulty > 4)]
    moduli = sorted(pool[i] for i in distinct(rng, 0, len(pool) - 1, 2 if difficulty < 4 else 3))
    remainders = [randint(rng, 0, modulus - 1) for modulus in moduli]
    value, step, steps = remainders[0], moduli[0], []
    for modulus, remainder in zip(moduli[1:], remainders[1:], strict=True):
        while value % modulus != remainder:
            value += step
        step *= modulus
        steps.append(f"{value} also leaves {remainder} when divided by {modulus}; the next such number is {step} later")
    conditions = [
        f"remainder {remainder} when divided by {modulus}"
        for modulus, remainder in zip(moduli, remainders, strict=True)
    ]
    text = f"What is the smallest non-negative integer that leaves {', '.join(conditions[:-1])} and {conditions[-1]}?"
    return Problem(text, str(value), tuple(steps))


def base_conversion(rng: np.random.Generator, difficulty: int) -> Problem:
    """Numerals of another base read and written."""
    base = pick(rng, (2, 3, 5) if difficulty < 3 else (2, 3, 4, 5, 6, 7, 8, 9))
    n = randint(rng, base, (30, 100, 300, 2000, 20_000)[difficulty - 1])
    digits, rest = "", n
    steps = []
    while rest:
        steps.append(f"{rest} = {rest // base} * {base} + {rest % base}")
        digits, rest = str(rest % base) + digits, rest // base
    if pick(rng, (True, False)):
        steps.append(f"The remainders from last to first are {digits}")
        return Problem(f"Write the decimal number {n} in base {base}.", digits, tuple(steps))
    terms = " + ".join(f"{digit} * {base}^{len(digits) - 1 - place}" for place, digit in enumerate(digits))
    text = f"The numeral {digits} is written in base {base}. What is its value in decimal?"
    return Problem(text, str(n), (f"{terms} = {n}",))


def digit_sum(rng: np.random.Generator, difficulty: int) -> Problem:
    """The sum of digits of a number, of a product, or of a power, worked one digit at a time."""
    if difficulty <= 2:
        n, steps = randint(rng, 10, 10 ** (difficulty + 3)), []
        name = str(n)
    elif difficulty <= 4:
        a, b = randint(rng, 11, 10 ** (difficulty - 1)), randint(rng, 11, 10 ** (difficulty - 1))
        n, name = a * b, f"{a} * {b}"
        steps = [f"{name} = {n}"]
    else:
        a, b = randint(rng, 2, 99), randint(rng, 3, 9)
        n, name = a**b, f"{a}^{b}"
        steps = [f"{name} = {n}"]
    total, *digits = map(int, str(n))
    for digit in digits:
        steps.append(f"{total} + {digit} = {total + digit}")
        total += digit
    return Problem(f"What is the sum of the digits of {name}?", str(total), tuple(steps))


def arithmetic_sequence(rng: np.random.Generator, difficulty: int) -> Problem:
    """A later term, or the sum of the first terms, of an arithmetic sequence."""
    first, difference = randint(rng, -9 if difficulty > 2 else 1, 10 * difficulty), randint(rng, 2, 5 + 3 * difficulty)
    if difficulty > 2:
        difference *= pick(rng, (1, -1))
    n = randint(rng, 5, 10 * difficulty)
    shown = ", ".join(str(first + i * difference) for i in range(4))
    last = first + (n - 1) * difference
    steps = [f"The difference is {difference}", f"Term {n} is {first} + {n - 1} * ({difference}) = {last}"]
    if difficulty < 3:
        return Problem(f"What is term number {n} of the sequence {shown}, ...?", str(last), tuple(steps))
    total = n * (first + last) // 2
    steps.append(f"The sum is {n} * ({first} + ({last})) / 2 = {total}")
    text = f"An arithmetic sequence begins {shown}. What is the sum of its first {n} terms?"
    return Problem(text, str(total), tuple(steps))


def geometric_sequence(rng: np.random.Generator, difficulty: int) -> Problem:
    """A later term of a geometric sequence, or the sum of all terms of an infinite one."""
    first = randint(rng, 1, 10 * difficulty)
    if difficulty < 4:
        ratio, n = randint(rng, 2, 2 + difficulty), randint(rng, 4, 5 + difficulty)
        shown = ", ".join(str(first * ratio**i) for i in range(3))
        value = first * ratio ** (n - 1)
        text = f"What is term number {n} of the geometric sequence {shown}, ...?"
        return Problem(text, str(value), (f"The ratio is {ratio}", f"{first} * {ratio}^{n - 1} = {value}"))
    top, bottom = sorted(distinct(rng, 1, 4 * difficulty, 2))
    ratio_of_terms = Fraction(top, bottom) * pick(rng, (1, -1))
    total = first / (1 - ratio_of_terms)
    text = (
        f"An infinite geometric series has first term {first} and common ratio {number(ratio_of_terms)}. "
        "What is its sum, as an integer or a fraction in lowest terms?"
    )
    steps = (
        f"The sum is {first} / (1 - ({ratio_of_terms}))",
        f"1 - ({ratio_of_terms}) = {1 - ratio_of_terms}",
        f"{first} / ({1 - ratio_of_terms}) = {number(total)}",
    )
    return Problem(text, number(total), steps)


def recurrence(rng: np.random.Generator, difficulty: int) -> Problem:
    """A term of a sequence that is defined by the terms before it."""
    a, b = randint(rng, 1, 1 + difficulty), randint(rng, -difficulty if difficulty > 2 else 0, difficulty)
    constant = randint(rng, 0, 9)
    terms = [randint(rng, 0, 9), randint(rng, 0, 9)]
    n = randint(rng, 3, 4 + difficulty)
    steps = []
    while len(terms) < n:
        terms.append(a * terms[-1] + b * terms[-2] + constant)
        steps.append(f"a({len(terms)}) = {a} * ({terms[-2]}) + ({b}) * ({terms[-3]}) + {constant} = {terms[-1]}")
    text = (
        f"A sequence has a(1) = {terms[0]}, a(2) = {terms[1]} and "
        f"a(n) = {a} * a(n-1) + ({b}) * a(n-2) + {constant} for n > 2. What is a({n})?"
    )
    return Problem(text, str(terms[-1]), tuple(steps))
