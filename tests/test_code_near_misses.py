"""Built-in problems are not passed by programs that forget one sentence of the problem."""

import ast
import copy
from functools import reduce
from random import Random

import pytest
from llmgym.envs.code.builtin import PROBLEMS


def is_passed(function, cases):
    try:
        return all(function(*copy.deepcopy(arguments)) == expected for arguments, expected in cases)
    except Exception:  # a program that fails does not pass, however it fails
        return False


def assert_hardly_ever_passes(function, name):
    (problem,) = (problem for problem in PROBLEMS if problem.name == name)
    assert sum(is_passed(function, problem.cases(Random(seed), 40)) for seed in range(20)) <= 2


def shortest_way(maze):  # only right and down
    ways = {(0, 0): 0}
    for i, row in enumerate(maze):
        for j, square in enumerate(row):
            before = [ways[place] for place in ((i - 1, j), (i, j - 1)) if place in ways]
            if square == "." and before:
                ways[i, j] = min(before) + 1
    return ways.get((len(maze) - 1, len(maze[0]) - 1), -1)


def bowling(pins):  # frames without end
    points = 0
    while pins:
        is_strike = pins[0] == 10
        points += sum(pins[:3]) if is_strike or sum(pins[:2]) == 10 else sum(pins[:2])
        pins = pins[1:] if is_strike else pins[2:]
    return points


def life_step(cells):  # around the edges
    height, width = len(cells), len(cells[0])
    near = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]
    count = [
        [sum(cells[(i + a) % height][(j + b) % width] for a, b in near) for j in range(width)] for i in range(height)
    ]
    return [
        [int(n == 3 or (n == 2 and cell)) for n, cell in zip(*rows, strict=True)]
        for rows in zip(count, cells, strict=True)
    ]


def fill_template(template, values):  # one name after another
    return reduce(lambda text, name: text.replace("{" + name + "}", values[name]), values, template)


def merge_spans(spans):  # the later one ends later
    merged = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = end
        else:
            merged.append([start, end])
    return merged


def fewest_coins(coins, amount):  # the greatest first
    number = 0
    for coin in sorted(coins, reverse=True):
        number, amount = number + amount // coin, amount % coin
    return -1 if amount else number


@pytest.mark.parametrize(
    "function", [shortest_way, bowling, life_step, fill_template, merge_spans, fewest_coins], ids=lambda f: f.__name__
)
def test_a_program_for_the_easy_cases_hardly_ever_passes(function):
    assert_hardly_ever_passes(function, function.__name__)


BODIES = {
    "count_vowels": [
        "sum(c in 'aeiou' for c in text)",
        "sum(c in 'aeAE' for c in text)",
        "sum(c in 'aeiouyAEIOUY' for c in text)",
    ],
    "initials": [
        "''.join(w[0] + '.' for w in name.split())",
        "''.join(w[0].upper() for w in name.split())",
    ],
    "is_palindrome": [
        "text == text[::-1]",
        "text.lower() == text.lower()[::-1]",
        "''.join(filter(str.isalpha, text)) == ''.join(filter(str.isalpha, text))[::-1]",
        "(lambda t: t == t[::-1])([c.lower() for c in text if c.isalnum()])",
    ],
    "longest_word": [
        "max(reversed(words), key=len)",
        "max(words)",
    ],
    "caesar": [
        "''.join(chr((ord(c) - 97 + shift) % 26 + 97) if c.islower() else c for c in text)",
        "''.join(chr(ord(c) + shift) if c.isalpha() else c for c in text)",
    ],
    "is_subsequence": [
        "set(part) <= set(whole)",
        "part in whole",
        "all(part.count(c) <= whole.count(c) for c in part)",
    ],
    "first_unique_index": [
        "next((i for i, c in enumerate(text) if c not in text[:i]), -1)",
        "next((i for i, c in enumerate(text) if c not in text[i+1:]), -1)",
    ],
    "group_anagrams": [
        "sorted([w for w in words if sorted(w) == list(k)] for k in {tuple(sorted(w)) for w in words})",
    ],
    "common_prefix": [
        "posixpath.commonprefix(words[:2])",
    ],
    "longest_distinct_run": [
        "len(set(text))",
    ],
    "digit_sum": [
        "sum(int(c) for c in str(number) if c.isdigit()) * (-1 if number < 0 else 1)",
    ],
    "sum_of_multiples": [
        "sum(range(0, limit, a)) + sum(range(0, limit, b))",
        "sum(n for n in range(limit + 1) if n % a == 0 or n % b == 0)",
    ],
    "is_leap_year": [
        "year % 4 == 0",
        "year % 4 == 0 and year % 100 != 0",
    ],
    "is_prime": [
        "all(number % d for d in range(2, number))",
        "number > 1 and all(number % d for d in range(2, int(number**0.5)))",
        "number > 1 and all(number % d for d in (2, 3, 5, 7) if d < number)",
        "number % 2 == 1 or number == 2",
    ],
    "modular_inverse": [
        "next((x for x in range(1, modulus) if number * x % modulus == 1), 0)",
    ],
    "increment_digits": [
        "[int(c) for c in str(int(''.join(map(str, digits))) + 1)]",
    ],
    "rotate": [
        "values[-steps:] + values[:-steps]",
        "values[steps % len(values):] + values[:steps % len(values)] if values else []",
    ],
    "second_largest": [
        "sorted(values)[-2] if len(values) > 1 else -100",
    ],
    "largest_run_sum": [
        "max(0, max(sum(values[i:j]) for i in range(len(values)) for j in range(i + 1, len(values) + 1)))",
        "sum(v for v in values if v > 0) or max(values)",
    ],
    "partition": [
        "sorted(values)",
        "[v for v in values if v < pivot] + [v for v in values if v >= pivot]",
    ],
    "longest_increasing": [
        "len(set(values))",
    ],
    "trapped_water": [
        "max(0, sum(max(heights) - h for h in heights[1:-1])) if heights else 0",
    ],
    "saddle_points": [
        "[[i, j] for i, r in enumerate(rows) for j, v in enumerate(r) if v == max(r)]",
    ],
    "shortest_way": [
        "len(maze) + len(maze[0]) - 2",
    ],
    "cheapest_descent": [
        "sum(map(min, costs))",
        "min(map(sum, zip(*costs)))",
    ],
    "count_islands": [
        "sum(map(sum, cells))",
    ],
    "largest_rectangle": [
        "max(len(max(''.join(map(str, r)).split('0'), key=len)) for r in cells)",
    ],
    "read_fields": [
        "dict(p.split('=') for p in reversed(query.split('&')) if p)",
    ],
    "is_balanced": [
        "text.count('(') == text.count(')') and text.count('[') == text.count(']')",
    ],
    "expand_ranges": [
        "sorted({n for p in text.split(',') for n in range(int(p.split('-')[0]), int(p.split('-')[-1]) + 1)})",
    ],
    "compare_versions": [
        "(first > second) - (first < second)",
        "(lambda a, b: (a > b) - (a < b))(*([int(n) for n in v.split('.')] for v in (first, second)))",
    ],
    "simplify_path": [
        "posixpath.normpath(path)",
    ],
    "split_row": [
        "row.split(',')",
    ],
    "fill_template": [
        "reduce(lambda t, n: t.replace('{' + n + '}', values[n]), values, template)",
        "reduce(lambda t, n: t.replace('{' + n + '}', values[n]), sorted(values), template)",
    ],
    "best_load": [
        "max([0] + [v for w, v in zip(weights, values) if w <= limit])",
    ],
    "fairest_split": [
        "max(max(jobs), -(-sum(jobs) // workers))",
    ],
    "last_one_standing": [
        "(people - 1) % step",
    ],
    "lines_of_three": [
        "[sum(row == p * 3 for row in board) for p in 'XO']",
        "[sum(line == p * 3 for line in [*board, *map(''.join, zip(*board))]) for p in 'XO']",
    ],
    "rooms_needed": [
        "max((sum(a <= t <= b for a, b in meetings) for t, _ in meetings), default=0)",
    ],
    "cache_hits": [
        "sum(p in requests[max(0, i - size):i] for i, p in enumerate(requests))",
        "len(requests) - len(set(requests))",
    ],
    "circles_of_friends": [
        "sorted((1 + sum(p in f for f in friends) for p in range(people)), reverse=True)",
    ],
    "course_order": [
        "sorted(range(courses), key=lambda c: sum(b == c for a, b in needs))",
    ],
    "bowling": [
        "sum(pins)",
        "sum(pins[:20])",
    ],
    "life_step": [
        "[[int(cells[i][j] and 1 or 0) for j in range(len(cells[0]))] for i in range(len(cells))]",
    ],
    "next_permutation": [
        "''.join(sorted(text))",
        "text[::-1]",
    ],
    "run_length_encode": [
        "''.join(c + str(text.count(c)) for c in dict.fromkeys(text))",
    ],
    "run_length_decode": [
        "''.join(a * int(b) for a, b in zip(code[::2], code[1::2])) if code[1::2].isdigit() or not code else code",
    ],
    "to_base": [
        "format(number, 'x')",
    ],
    "greatest_common_divisor": [
        "min(numbers)",
    ],
    "prime_factors": [
        "[d for d in range(2, number + 1) if number % d == 0 and all(d % e for e in range(2, d))]",
    ],
    "from_roman": [
        "sum({'I': 1, 'V': 5, 'X': 10, 'L': 50, 'C': 100, 'D': 500, 'M': 1000}[c] for c in numeral)",
    ],
    "integer_square_root": [
        "round(number ** 0.5)",
    ],
    "interleave": [
        "[v for p in zip(first, second) for v in p]",
    ],
    "merge_sorted": [
        "sorted({*first, *second})",
        "first + second",
    ],
    "window_sums": [
        "[sum(values[i:i + size]) for i in range(len(values))]",
    ],
    "chunks": [
        "[values[i:i + size] for i in range(0, len(values) - size + 1, size)]",
    ],
    "diagonal_difference": [
        "abs(sum(rows[i][i] - rows[i][-1 - i] for i in range(len(rows))))",
        "-sum(rows[i][i] - rows[i][-1 - i] for i in range(len(rows)))",
    ],
    "rotate_clockwise": [
        "[list(c) for c in zip(*rows, strict=True)]",
        "[list(c) for c in zip(*rows, strict=True)][::-1]",
    ],
    "count_inversions": [
        "sum(a > b for a, b in zip(values, values[1:]))",
        "sum(values[i] >= values[j] for i in range(len(values)) for j in range(i + 1, len(values)))",
    ],
    "without_repeats": [
        "sorted(set(values))",
        "[v for i, v in enumerate(values) if v not in values[i + 1:]]",
        "[v for v in values if values.count(v) == 1]",
    ],
    "edit_distance": [
        "abs(len(first) - len(second)) + sum(a != b for a, b in zip(first, second))",
    ],
    "longest_common_subsequence": [
        "sum((Counter(first) & Counter(second)).values())",
    ],
    "match_score": [
        "[sum(r in ('RS', 'SP', 'PR') for r in rounds), sum(r not in ('RS', 'SP', 'PR') for r in rounds)]",
    ],
}
"""What a function returns, by the problem that it nearly solves."""


@pytest.mark.parametrize(("name", "body"), [(name, body) for name, bodies in BODIES.items() for body in bodies])
def test_a_program_that_forgets_a_sentence_hardly_ever_passes(name, body):
    (problem,) = (problem for problem in PROBLEMS if problem.name == name)
    arguments = ", ".join(argument.arg for argument in ast.parse(problem.stub).body[0].args.args)

    assert_hardly_ever_passes(eval(f"lambda {arguments}: {body}"), name)
