"""Word problems of several steps."""

from fractions import Fraction

import numpy as np

from .problem import Problem, decimal, distinct, number, pick, randint

_NAMES = ("Ana", "Ben", "Chen", "Dara", "Eli", "Farah", "Gus", "Hana", "Ivan", "Jun", "Kofi", "Lena", "Mira", "Noor")
_THINGS = ("apples", "books", "cards", "coins", "marbles", "pens", "shells", "stamps", "stickers", "tickets")
_ORDINAL = ("", "", "twice", "three times", "four times", "five times", "six times")
_PARTS = {2: "half", 3: "a third", 4: "a quarter", 5: "a fifth"}


def _names(rng: np.random.Generator, count: int) -> list[str]:
    return [_NAMES[i] for i in distinct(rng, 0, len(_NAMES) - 1, count)]


def inventory(rng: np.random.Generator, difficulty: int) -> Problem:
    """A story in which a number of things changes once, twice and more often."""
    (name,), things = _names(rng, 1), pick(rng, _THINGS)
    value = randint(rng, 5, 10 + 20 * difficulty)
    story, steps = [f"{name} has {value} {things}."], []
    for _ in range(difficulty + 1):
        kinds = ["gain", "lose"]
        if difficulty > 1:
            kinds += [f"share {part}" for part in _PARTS if value and value % part == 0]
            kinds += ["multiply"] if value < 200 else []
        kind = pick(rng, kinds)
        before = value
        if kind == "gain":
            change = randint(rng, 2, 20 * difficulty)
            value += change
            story.append(f"Then {name} finds {change} more.")
            steps.append(f"{before} + {change} = {value}")
        elif kind == "lose":
            change = randint(rng, 1, max(1, value))
            value -= min(change, value)
            story.append(f"Then {name} loses {before - value} of them.")
            steps.append(f"{before} - {before - value} = {value}")
        elif kind == "multiply":
            factor = randint(rng, 2, 4)
            value *= factor
            story.append(f"Then a friend brings so many that {name} has {_ORDINAL[factor]} as many.")
            steps.append(f"{before} * {factor} = {value}")
        else:
            part = int(kind.removeprefix("share "))
            value -= value // part
            story.append(f"Then {name} gives away {_PARTS[part]} of them.")
            steps.append(f"{before} - {before} / {part} = {value}")
    return Problem(f"{' '.join(story)} How many {things} does {name} have now?", str(value), tuple(steps))


def shopping(rng: np.random.Generator, difficulty: int) -> Problem:
    """A bill of several items with a discount, and the change."""
    (name,) = _names(rng, 1)
    items = [_THINGS[i] for i in distinct(rng, 0, len(_THINGS) - 1, 1 + (difficulty + 1) // 2)]
    counts, prices = ([randint(rng, 2, 4 + 3 * difficulty) for _ in items] for _ in range(2))
    total = sum(count * price for count, price in zip(counts, prices, strict=True))
    bought = " and ".join(
        f"{count} {item} for ${price} each" for count, item, price in zip(counts, items, prices, strict=True)
    )
    steps = [f"{count} * {price} = {count * price}" for count, price in zip(counts, prices, strict=True)]
    if len(items) > 1:
        steps.append(" + ".join(str(c * p) for c, p in zip(counts, prices, strict=True)) + f" = {total}")
    if difficulty == 1:
        return Problem(f"{name} buys {bought}. How many dollars does {name} pay?", str(total), tuple(steps))
    told, due = "", Fraction(total)
    if difficulty > 2:
        percent = randint(rng, 1, 9) * 5
        due = due * (100 - percent) / 100
        told = f" There is a discount of {percent}% on everything."
        steps.append(f"{total} * {100 - percent} / 100 = {decimal(due)}")
    paid = (total // 50 + randint(rng, 1, 3)) * 50
    steps.append(f"{paid} - {decimal(due)} = {decimal(paid - due)}")
    text = f"{name} buys {bought}.{told} {name} pays with ${paid}. How many dollars of change does {name} get?"
    return Problem(text, decimal(paid - due), tuple(steps))


def travel(rng: np.random.Generator, difficulty: int) -> Problem:
    """Speed, time and distance: one leg, two legs, and two travelers who meet."""
    first, second = _names(rng, 2)
    speed, hours = randint(rng, 3, 30 * difficulty), randint(rng, 2, 4 + difficulty)
    distance = speed * hours
    if difficulty == 1:
        text = f"{first} rides at {speed} km per hour for {hours} hours. How many km is that?"
        return Problem(text, str(distance), (f"{speed} * {hours} = {distance}",))
    other_speed, other_hours = randint(rng, 3, 30 * difficulty), randint(rng, 1, 4 + difficulty)
    if difficulty <= 3:
        total, time = distance + other_speed * other_hours, hours + other_hours
        steps = [f"{speed} * {hours} + {other_speed} * {other_hours} = {total}"]
        told = (
            f"{first} rides at {speed} km per hour for {hours} hours and then at {other_speed} km per hour for "
            f"{other_hours} hours."
        )
        if difficulty == 2:
            return Problem(f"{told} How many km is that in all?", str(total), tuple(steps))
        mean = number(Fraction(total, time))
        steps += [f"{hours} + {other_hours} = {time}", f"{total} / {time} = {mean}"]
        text = f"{told} What is the average speed in km per hour, as an integer or a fraction in lowest terms?"
        return Problem(text, mean, tuple(steps))
    apart = randint(rng, 20, 100 * difficulty)
    head_start = randint(rng, 1, 3) if difficulty == 5 else 0
    remaining = apart + speed * head_start
    lead = "Both start at once."
    if head_start:
        lead = f"{first} starts {head_start} hour{'s' * (head_start > 1)} before {second}."
    text = (
        f"{first} and {second} are {remaining} km apart and ride towards each other, {first} at {speed} km per hour "
        f"and {second} at {other_speed} km per hour. {lead} How many hours after {second} starts do they meet? "
        "Give an integer or a fraction in lowest terms."
    )
    steps = [f"When both ride, {remaining} - {speed} * {head_start} = {apart} km remain"] if head_start else []
    time_to_meet = Fraction(apart, speed + other_speed)
    steps.append(f"{apart} / ({speed} + {other_speed}) = {number(time_to_meet)}")
    return Problem(text, number(time_to_meet), tuple(steps))


def work_rate(rng: np.random.Generator, difficulty: int) -> Problem:
    """People or pipes that work together, as a sum of rates."""
    count = 2 if difficulty < 3 else 3
    workers, hours = _names(rng, count), distinct(rng, 2, 6 + 3 * difficulty, count)
    rates = [Fraction(1, hour) for hour in hours]
    told = ", ".join(f"{name} alone needs {hour} hours" for name, hour in zip(workers, hours, strict=True))
    together = sum(rates, Fraction(0))
    share = Fraction(1) if difficulty < 4 else 1 - rates[0] * Fraction(1, 2)
    steps = [f"Per hour they do {' + '.join(map(str, rates))} = {together} of the work"]
    if share != 1:
        steps.append(f"After half an hour of {workers[0]} alone {share} of the work remains")
    answer = number(share / together)
    steps.append(f"({share}) / ({together}) = {answer}")
    text = (
        f"For one piece of work {told}. "
        + (f"{workers[0]} works alone for half an hour, then all work together. " if share != 1 else "")
        + f"How many hours do they {'then ' if share != 1 else ''}need together? "
        "Give an integer or a fraction in lowest terms."
    )
    return Problem(text, answer, tuple(steps))


def ages(rng: np.random.Generator, difficulty: int) -> Problem:
    """Ages now and in other years, by a linear equation."""
    older, younger = _names(rng, 2)
    factor, years = randint(rng, 2, min(6, 2 + difficulty)), randint(rng, 1, 5 + 3 * difficulty)
    if difficulty <= 2:
        age = randint(rng, 3, 10 + 5 * difficulty)
        text = (
            f"{younger} is {age} years old and {older} is {_ORDINAL[factor]} as old. "
            f"How old will {older} be in {years} years?"
        )
        then = factor * age + years
        return Problem(text, str(then), (f"{factor} * {age} = {factor * age}", f"{factor * age} + {years} = {then}"))
    later_age = randint(rng, years + 1, years + 10 * difficulty)
    gap = (factor - 1) * later_age
    now = later_age - years
    text = (
        f"{older} is {gap} years older than {younger}. In {years} years {older} will be {_ORDINAL[factor]} as old as "
        f"{younger}. How old is {pick(rng, (younger, younger, older))} now?"
    )
    answer = now + gap if text.endswith(f"How old is {older} now?") else now
    steps = (
        f"In {years} years {younger} will be {gap} / ({factor} - 1) = {later_age}",
        f"{younger} is now {later_age} - {years} = {now}, and {older} is {now} + {gap} = {now + gap}",
        f"The answer is {answer}",
    )
    return Problem(text, str(answer), steps)


def mixture(rng: np.random.Generator, difficulty: int) -> Problem:
    """The strength of a mixture of solutions, or how much water makes it weaker."""
    amounts = [randint(rng, 1, 10 * difficulty) for _ in range(2 if difficulty < 4 else 3)]
    percents = [randint(rng, 1, 18) * 5 for _ in amounts]
    parts = " with ".join(
        f"{amount} liters of a {percent}% salt solution" for amount, percent in zip(amounts, percents, strict=True)
    )
    salt = sum(
        (Fraction(amount * percent, 100) for amount, percent in zip(amounts, percents, strict=True)), Fraction(0)
    )
    steps = [
        f"{amount} * {percent}% = {decimal(Fraction(amount * percent, 100))}"
        for amount, percent in zip(amounts, percents, strict=True)
    ]
    if difficulty == 1:
        text = f"Somebody mixes {parts}. How many liters of salt does the mixture hold?"
        return Problem(text, decimal(salt), (*steps, f"Together: {decimal(salt)}"))
    strength = number(salt * 100 / sum(amounts))
    text = (
        f"Somebody mixes {parts}. What percentage of the mixture is salt, as an integer or a fraction in lowest terms?"
    )
    return Problem(text, strength, (*steps, f"100 * {decimal(salt)} / {sum(amounts)} = {strength}"))


def sharing(rng: np.random.Generator, difficulty: int) -> Problem:
    """Something divided in a ratio, told forwards or from a difference."""
    people = _names(rng, 2 if difficulty < 3 else 3)
    parts, unit = distinct(rng, 1, 4 + 2 * difficulty, len(people)), randint(rng, 2, 10 * difficulty)
    things = pick(rng, _THINGS)
    shares = [part * unit for part in parts]
    ratio = ":".join(map(str, parts))
    names = f"{', '.join(people[:-1])} and {people[-1]}"
    asked = randint(rng, 0, len(people) - 1)
    if difficulty % 2:
        text = f"{names} share {sum(shares)} {things} in the ratio {ratio}. How many does {people[asked]} get?"
        steps = (f"{sum(shares)} / {sum(parts)} = {unit}", f"{unit} * {parts[asked]} = {shares[asked]}")
        return Problem(text, str(shares[asked]), steps)
    most, least = int(np.argmax(parts)), int(np.argmin(parts))
    difference = shares[most] - shares[least]
    text = (
        f"{names} share {things} in the ratio {ratio}, and {people[most]} gets {difference} more than {people[least]}. "
        f"How many {things} are there in all?"
    )
    steps = (
        f"{difference} / ({parts[most]} - {parts[least]}) = {unit}",
        f"{unit} * {sum(parts)} = {sum(shares)}",
    )
    return Problem(text, str(sum(shares)), steps)
