"""Geometry, counting, probability and statistics."""

import math
from fractions import Fraction
from itertools import product

import numpy as np

from .problem import Problem, distinct, number, pick, randint


def rectangle(rng: np.random.Generator, difficulty: int) -> Problem:
    """Area and perimeter, forwards and backwards."""
    a, b = (randint(rng, 2, 10 * difficulty) for _ in range(2))
    area, perimeter = a * b, 2 * (a + b)
    if difficulty <= 2:
        if pick(rng, (True, False)):
            text = f"A rectangle has sides of length {a} and {b}. What is its area?"
            return Problem(text, str(area), (f"{a} * {b} = {area}",))
        text = f"A rectangle has sides of length {a} and {b}. What is its perimeter?"
        return Problem(text, str(perimeter), (f"2 * ({a} + {b}) = {perimeter}",))
    if difficulty == 3:
        text = f"A rectangle has area {area} and one side of length {a}. What is its perimeter?"
        return Problem(text, str(perimeter), (f"{area} / {a} = {b}", f"2 * ({a} + {b}) = {perimeter}"))
    steps = (
        f"The sides add up to {perimeter} / 2 = {a + b} and their product is {area}",
        f"They are {min(a, b)} and {max(a, b)}",
    )
    text = f"A rectangle has area {area} and perimeter {perimeter}. How long is its shorter side?"
    return Problem(text, str(min(a, b)), steps)


def right_triangle(rng: np.random.Generator, difficulty: int) -> Problem:
    """The missing side, area or height on the hypotenuse, in Pythagorean triples."""
    m = randint(rng, 2, 3 + difficulty)
    n, scale = randint(rng, 1, m - 1), randint(rng, 1, 3 * difficulty)
    a, b, c = scale * (m * m - n * n), scale * 2 * m * n, scale * (m * m + n * n)
    if pick(rng, (True, False)):
        a, b = b, a
    squares = f"{a}^2 + {b}^2 = {a * a + b * b} = {c}^2"
    if difficulty <= 2:
        text = f"A right triangle has legs of length {a} and {b}. How long is its hypotenuse?"
        return Problem(text, str(c), (squares,))
    given = f"A right triangle has a leg of length {a} and a hypotenuse of length {c}."
    other = f"The other leg is {b}, as {squares}"
    if difficulty == 3:
        return Problem(
            f"{given} What is its area?", number(Fraction(a * b, 2)), (other, f"{a} * {b} / 2 = {a * b // 2}")
        )
    height = number(Fraction(a * b, c))
    text = f"{given} How long is the altitude on the hypotenuse, as an integer or a fraction in lowest terms?"
    return Problem(text, height, (other, f"{a} * {b} / {c} = {height}"))


def polygon_area(rng: np.random.Generator, difficulty: int) -> Problem:
    """The area of a triangle or quadrilateral with given corners, by the shoelace formula."""
    size = 3 * difficulty
    while True:
        corners = [(randint(rng, -size, size), randint(rng, -size, size)) for _ in range(3 if difficulty < 4 else 4)]
        if difficulty >= 4:  # one corner in each quadrant in turn, so that no two sides cross
            signs = ((1, 1), (-1, 1), (-1, -1), (1, -1))
            corners = [(s * (abs(x) + 1), t * (abs(y) + 1)) for (x, y), (s, t) in zip(corners, signs, strict=True)]
        following = corners[1:] + corners[:1]
        terms = [x * w - v * y for (x, y), (v, w) in zip(corners, following, strict=True)]
        if sum(terms) != 0:
            break
    area = Fraction(abs(sum(terms)), 2)
    names = ", ".join(f"({x}, {y})" for x, y in corners)
    shape = "triangle" if len(corners) == 3 else "quadrilateral"
    text = f"What is the area of the {shape} with corners {names}, as an integer or a fraction in lowest terms?"
    steps = (
        f"The shoelace terms are {', '.join(map(str, terms))}, with sum {sum(terms)}",
        f"{abs(sum(terms))} / 2 = {number(area)}",
    )
    return Problem(text, number(area), steps)


def angle(rng: np.random.Generator, difficulty: int) -> Problem:
    """Angles of triangles and regular polygons, in degrees."""
    if difficulty <= 2:
        a = randint(rng, 10, 100)
        b = randint(rng, 10, 170 - a)
        text = f"Two angles of a triangle measure {a} and {b} degrees. How many degrees is the third angle?"
        return Problem(text, str(180 - a - b), (f"180 - {a} - {b} = {180 - a - b}",))
    if difficulty == 3:
        parts = distinct(rng, 1, 12, 3)
        largest = Fraction(180 * max(parts), sum(parts))
        text = (
            f"The angles of a triangle are in the ratio {':'.join(map(str, parts))}. How many degrees is the largest?"
        )
        return Problem(text, number(largest), (f"180 * {max(parts)} / {sum(parts)} = {number(largest)}",))
    sides, turn = randint(rng, 5, 60), randint(rng, 1, 90)
    inner = Fraction(180 * (sides - 2), sides)
    text = (
        f"A regular polygon has {sides} sides. How many degrees are an interior angle of it and an angle of {turn} "
        "degrees together? Give an integer or a fraction in lowest terms."
    )
    steps = (f"180 * ({sides} - 2) / {sides} = {number(inner)}", f"{number(inner)} + {turn} = {number(inner + turn)}")
    return Problem(text, number(inner + turn), steps)


def urn(rng: np.random.Generator, difficulty: int) -> Problem:
    """Drawing balls without replacement, all of one color or of different ones."""
    colors = ("red", "blue", "green")[: 2 if difficulty < 4 else 3]
    counts = [randint(rng, 2, 3 + 2 * difficulty) for _ in colors]
    total, draws = sum(counts), 1 if difficulty == 1 else 2 if difficulty < 5 else 3
    held = " and ".join(f"{count} {color}" for count, color in zip(counts, colors, strict=True))
    draw = "One ball is" if draws == 1 else f"{draws} balls are"
    told = f"An urn holds {held} balls. {draw} drawn at random{' without replacement' if draws > 1 else ''}."
    ways = math.comb(total, draws)
    if draws == 1 or difficulty % 2 == 0:
        good = math.comb(counts[0], draws)
        question = f"What is the probability that {'it is' if draws == 1 else 'all are'} {colors[0]}?"
        steps = [f"There are C({counts[0]}, {draws}) = {good} good ways"]
    else:
        same = [math.comb(count, draws) for count in counts]
        good = sum(same)
        question = "What is the probability that all have the same color?"
        steps = [f"There are {' + '.join(map(str, same))} = {good} good ways"]
    answer = number(Fraction(good, ways))
    steps.append(f"{good} / C({total}, {draws}) = {good} / {ways} = {answer}")
    return Problem(f"{told} {question} Give a fraction in lowest terms.", answer, tuple(steps))


def dice(rng: np.random.Generator, difficulty: int) -> Problem:
    """The distribution of the sum of dice, counted outcome by outcome."""
    sides = [pick(rng, (4, 6, 8, 10, 12)) for _ in range(2 if difficulty < 3 else 3)]
    goal = randint(rng, len(sides) + 1, sum(sides) - 1)
    asks_at_least = difficulty > 1 and pick(rng, (True, False))
    sums = [sum(faces) for faces in product(*(range(1, count + 1) for count in sides))]
    good = sum(1 for value in sums if value == goal or (asks_at_least and value > goal))
    answer = number(Fraction(good, len(sums)))
    names = " and ".join(f"one with {count} sides" for count in sides)
    text = (
        f"Fair dice are rolled: {names}, each numbered from 1. What is the probability that the sum is "
        f"{'at least' if asks_at_least else 'exactly'} {goal}? Give a fraction in lowest terms."
    )
    return Problem(text, answer, (f"{good} of {len(sums)} outcomes are good", f"{good} / {len(sums)} = {answer}"))


def counting(rng: np.random.Generator, difficulty: int) -> Problem:
    """Committees, lines of people, lattice paths and arrangements of letters."""
    kind = pick(rng, ("committee", "line") if difficulty < 3 else ("two groups", "paths", "letters"))
    n = randint(rng, 4, 5 + 2 * difficulty)
    k = randint(rng, 2, min(n - 1, 2 + difficulty))
    if kind == "committee":
        text = f"In how many ways can a committee of {k} be chosen from {n} people?"
        return Problem(text, str(math.comb(n, k)), (f"C({n}, {k}) = {math.comb(n, k)}",))
    if kind == "line":
        text = f"In how many ways can {k} of {n} people stand in a line?"
        factors = " * ".join(str(n - i) for i in range(k))
        return Problem(text, str(math.perm(n, k)), (f"{factors} = {math.perm(n, k)}",))
    if kind == "two groups":
        m = randint(rng, 3, 4 + difficulty)
        j = randint(rng, 1, m - 1)
        ways = math.comb(n, k) * math.comb(m, j)
        text = f"A team needs {k} of {n} players and {j} of {m} trainers. How many teams are possible?"
        return Problem(
            text, str(ways), (f"C({n}, {k}) * C({m}, {j}) = {math.comb(n, k)} * {math.comb(m, j)} = {ways}",)
        )
    if kind == "paths":
        ways = math.comb(n + k, k)
        text = f"How many shortest paths lead along grid lines from (0, 0) to ({n}, {k})?"
        return Problem(text, str(ways), (f"C({n + k}, {k}) = {ways}",))
    counts = [randint(rng, 1, difficulty) for _ in range(randint(rng, 3, 4))]
    letters = "".join(letter * count for letter, count in zip("ABCD", counts, strict=False))
    ways = math.factorial(len(letters)) // math.prod(map(math.factorial, counts))
    text = f"In how many different ways can the letters {letters} be arranged?"
    return Problem(text, str(ways), (f"{len(letters)}! / ({' * '.join(f'{count}!' for count in counts)}) = {ways}",))


def statistics(rng: np.random.Generator, difficulty: int) -> Problem:
    """Mean, median and range, and the value that makes a mean come out."""
    size, count = 10 * difficulty**2, randint(rng, 3, 3 + difficulty)
    values = [randint(rng, 0, size) for _ in range(count)]
    shown, total = ", ".join(map(str, values)), sum(values)
    if difficulty >= 4:
        mean = randint(rng, 1, size)
        missing = mean * (count + 1) - total
        text = f"The mean of {shown} and one more number is {mean}. What is that number?"
        return Problem(text, str(missing), (f"{count + 1} * {mean} = {mean * (count + 1)}", f"Less {total}: {missing}"))
    ordered = sorted(values)
    median = Fraction(ordered[(count - 1) // 2] + ordered[count // 2], 2)
    mean_value = Fraction(total, count)
    kind, value, step = pick(
        rng,
        (
            ("mean", mean_value, f"{total} / {count} = {number(mean_value)}"),
            ("median", median, f"In order: {', '.join(map(str, ordered))}"),
            ("range", Fraction(ordered[-1] - ordered[0]), f"{ordered[-1]} - {ordered[0]} = {ordered[-1] - ordered[0]}"),
        ),
    )
    text = f"What is the {kind} of {shown}, as an integer or a fraction in lowest terms?"
    return Problem(text, number(value), (step,))
