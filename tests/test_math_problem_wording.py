"""How problems are worded: plain, unambiguous, longer where they are harder, and many."""

from fractions import Fraction

import numpy as np
import pytest
from llmgym.envs.math import FAMILIES, MathEnv
from llmgym.envs.math.problem import decimal, sum_text


def problems(family, difficulty, count):
    return [FAMILIES[family](np.random.default_rng((difficulty, index)), difficulty) for index in range(count)]


@pytest.mark.parametrize("family", FAMILIES)
def test_problems_are_plain_single_line_text_with_worked_steps(family):
    for difficulty in range(1, 6):
        for problem in problems(family, difficulty, 20):
            assert (problem.text.isascii(), problem.text.isprintable()) == (True, True), problem
            assert problem.steps != (), problem
            assert all(problem.steps), problem


def test_a_sum_of_digits_is_worked_one_digit_at_a_time():
    for difficulty in range(1, 6):
        for problem in problems("digit_sum", difficulty, 20):
            sums = [step for step in problem.steps if "+" in step]

            totals = [int(step.rpartition("= ")[2]) for step in sums]
            assert totals[-1] == int(problem.answer)
            for step, before, after in zip(sums[1:], totals, totals[1:], strict=False):
                assert step == f"{before} + {after - before} = {after}"


@pytest.mark.parametrize("family", FAMILIES)
def test_one_text_never_has_two_answers(family):
    answers = {}
    for problem in problems(family, 1, 300) + problems(family, 5, 300):
        assert answers.setdefault(problem.text, problem.answer) == problem.answer


@pytest.mark.parametrize("family", FAMILIES)
def test_difficulty_makes_answers_or_solutions_longer(family):
    def size(difficulty):
        return sum(len("".join(problem.steps)) for problem in problems(family, difficulty, 100))

    assert size(5) > size(1)


@pytest.mark.slow
def test_the_default_families_make_more_than_fifty_thousand_different_prompts():
    prompts = {
        MathEnv(difficulty=difficulty).tasks("train")[index].prompt
        for difficulty in range(1, 6)
        for index in range(15_000)
    }

    assert len(prompts) >= 50_000


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        ([(2, "x"), (-1, "y"), (3, "")], "2x - y + 3"),
        ([(0, "x"), (-1, "")], "-1"),
        ([(0, "x"), (0, "")], "0"),
        ([(-1, "x^2"), (1, "x")], "-x^2 + x"),
    ],
)
def test_sums_are_written_as_people_write_them(terms, text):
    assert sum_text(terms) == text


@pytest.mark.parametrize(("value", "text"), [("1/4", "0.25"), ("-1/8", "-0.125"), ("7", "7"), ("101/100", "1.01")])
def test_finite_decimals_are_written_in_full(value, text):
    assert decimal(Fraction(value)) == text
