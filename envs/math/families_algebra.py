"""Equations, systems, polynomials and inequalities."""

from fractions import Fraction

import numpy as np

from .problem import Problem, nonzero, number, pick, randint, sum_text

_LETTERS = "xyznmt"


def linear_equation(rng: np.random.Generator, difficulty: int) -> Problem:
    """One unknown: on one side, on both sides, and with a fractional solution."""
    size, letter = 4 * difficulty + 5, pick(rng, _LETTERS)
    a, solution = nonzero(rng, size) if difficulty > 1 else randint(rng, 2, 9), Fraction(randint(rng, -size, size))
    c = nonzero(rng, size) if difficulty > 2 else 0
    if difficulty == 1:
        solution = abs(solution)
    if a == c:
        a += 1 if c != -1 else 2
    if difficulty >= 4:
        solution = Fraction(randint(rng, -99, 99), abs(a - c))
    b = randint(rng, 1, 3 * size) * (pick(rng, (1, -1)) if difficulty > 1 else 1)
    d = (a - c) * solution + b
    left, right = sum_text([(a, letter), (b, "")]), sum_text([(c, letter), (int(d), "")])
    steps = (
        f"{sum_text([(a - c, letter)])} = {d} - ({b}) = {d - b}",
        f"{letter} = {d - b} / ({a - c}) = {number(solution)}",
    )
    return Problem(f"Solve {left} = {right} for {letter}.", number(solution), steps)


def linear_system(rng: np.random.Generator, difficulty: int) -> Problem:
    """Two equations in two unknowns, by elimination."""
    size = 2 + 2 * difficulty
    while True:
        a, b, c, d = (nonzero(rng, size) for _ in range(4))
        if (determinant := a * d - b * c) != 0:
            break
    scale = 1 if difficulty < 4 else abs(determinant)  # from difficulty 4 on the solution is fractional
    x, y = (Fraction(randint(rng, -size * scale, size * scale), scale) for _ in range(2))
    e, f = a * x + b * y, c * x + d * y
    if e.denominator != 1 or f.denominator != 1:
        e, f = Fraction(randint(rng, -30, 30)), Fraction(randint(rng, -30, 30))
        x, y = (e * d - b * f) / determinant, (a * f - e * c) / determinant
    name, value = pick(rng, (("x", x), ("y", y), ("x + y", x + y)))
    text = (
        f"Solve the system {sum_text([(a, 'x'), (b, 'y')])} = {e} and {sum_text([(c, 'x'), (d, 'y')])} = {f}. "
        f"What is {name}?"
    )
    steps = (
        f"Eliminating y: ({a * d - b * c})x = {d} * ({e}) - ({b}) * ({f}) = {d * e - b * f}, so x = {number(x)}",
        f"Eliminating x: ({a * d - b * c})y = {a} * ({f}) - ({c}) * ({e}) = {a * f - c * e}, so y = {number(y)}",
        f"{name} = {number(value)}",
    )
    return Problem(text, number(value), steps)


def quadratic_root(rng: np.random.Generator, difficulty: int) -> Problem:
    """The larger or smaller root of a quadratic equation with rational roots."""
    size = 3 + 2 * difficulty
    first, second = (Fraction(randint(rng, -size, size)) for _ in range(2))
    if difficulty == 1:
        first, second = abs(first), abs(second)
    bottom = 1 if difficulty < 3 else randint(rng, 2, difficulty)
    first /= bottom
    a = first.denominator * (1 if difficulty < 4 else nonzero(rng, 3))
    b, c = int(-a * (first + second)), int(a * first * second)
    root, which = pick(rng, ((max(first, second), "larger"), (min(first, second), "smaller")))
    discriminant = b * b - 4 * a * c
    text = f"What is the {which} root of {sum_text([(a, 'x^2'), (b, 'x'), (c, '')])} = 0? A double root counts as both."
    steps = (
        f"The discriminant is ({b})^2 - 4 * ({a}) * ({c}) = {discriminant}",
        f"The roots are {number(min(first, second))} and {number(max(first, second))}",
        f"The {which} one is {number(root)}",
    )
    return Problem(text, number(root), steps)


def _polynomial(coefficients: list[int]) -> str:
    degree = len(coefficients) - 1
    powers = [f"x^{degree - i}" if degree - i > 1 else "x" * (degree - i) for i in range(degree + 1)]
    return sum_text(list(zip(coefficients, powers, strict=True)))


def _horner(coefficients: list[int], x: Fraction, steps: list[str]) -> Fraction:
    value = Fraction(coefficients[0])
    for coefficient in coefficients[1:]:
        result = value * x + coefficient
        steps.append(f"({value}) * ({x}) + ({coefficient}) = {result}")
        value = result
    return value


def polynomial_value(rng: np.random.Generator, difficulty: int) -> Problem:
    """A polynomial at a point, or one polynomial inside another, by Horner's rule."""
    degree = min(1 + difficulty, 4)
    size = 3 + 2 * difficulty
    p = [nonzero(rng, size), *(randint(rng, -size, size) for _ in range(degree))]
    x = Fraction(randint(rng, -3 if difficulty > 1 else 0, 3 + difficulty))
    steps: list[str] = []
    if difficulty < 4:
        value = _horner(p, x, steps)
        return Problem(f"Let p(x) = {_polynomial(p)}. What is p({x})?", number(value), tuple(steps))
    p, q = p[:3], [nonzero(rng, 5), randint(rng, -9, 9)]
    if difficulty == 5:
        x = Fraction(randint(rng, -9, 9), randint(rng, 2, 4))
    inner = _horner(q, x, steps)
    value = _horner(p, inner, steps)
    text = f"Let p(x) = {_polynomial(p)} and q(x) = {_polynomial(q)}. What is p(q({x}))?"
    return Problem(text, number(value), tuple(steps))


def integers_in_range(rng: np.random.Generator, difficulty: int) -> Problem:
    """How many whole numbers solve a double inequality."""
    size = 10 * difficulty
    a, b = randint(rng, 2, 2 + 2 * difficulty), randint(rng, -size, size) if difficulty > 1 else 0
    low = randint(rng, -size if difficulty > 1 else 0, size)
    high = low + randint(rng, 2 * a, a * size)
    is_open = difficulty > 2 and pick(rng, (True, False))
    first = (low - b) // a + 1 if is_open else -((b - low) // a)
    last = (high - b) // a
    sign = "<" if is_open else "<="
    text = f"How many integers x satisfy {low} {sign} {sum_text([(a, 'x'), (b, '')])} <= {high}?"
    steps = (
        f"The smallest such x is {first} and the largest is {last}",
        f"{last} - ({first}) + 1 = {last - first + 1}",
    )
    return Problem(text, str(last - first + 1), steps)


def exponent_equation(rng: np.random.Generator, difficulty: int) -> Problem:
    """An unknown exponent, by writing both sides as powers of one base."""
    base, k = randint(rng, 2, 3 + difficulty), randint(rng, 1, 1 + difficulty // 2)
    a = randint(rng, 1, 1 + difficulty)
    right = randint(rng, 1, (5, 6, 7, 8, 9)[difficulty - 1])
    b = randint(rng, 0, 4 * difficulty)
    solution = Fraction(k * right - b, a)
    outer = base**k
    text = f"Solve {base}^({sum_text([(a, 'x'), (b, '')])}) = {outer}^{right} for x."
    steps = (
        f"{outer} = {base}^{k}, so {sum_text([(a, 'x'), (b, '')])} = {k} * {right} = {k * right}",
        f"x = ({k * right} - {b}) / {a} = {number(solution)}",
    )
    return Problem(text, number(solution), steps)
