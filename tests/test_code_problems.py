"""The built-in programming problems: each different, each solved by its reference, none by less."""

import ast
import copy
from collections import Counter
from random import Random

import pytest
from llmgym.envs.code.builtin import PROBLEMS

by_name = pytest.mark.parametrize("problem", PROBLEMS, ids=lambda problem: problem.name)


def test_there_are_problems_of_every_difficulty():
    difficulties = Counter(problem.difficulty for problem in PROBLEMS)

    assert len(PROBLEMS) >= 60
    assert set(difficulties) == {1, 2, 3, 4, 5}
    assert min(difficulties.values()) >= 5


def test_problems_differ_in_the_structure_of_their_solutions():
    def structure(problem):
        """The kinds of nodes in order, without names and constants."""
        return " ".join(type(node).__name__ for node in ast.walk(ast.parse(problem.solution).body[0]))

    shared = [names for names in Counter(map(structure, PROBLEMS)).values() if names > 1]

    assert shared == []
    assert len({problem.name for problem in PROBLEMS}) == len(PROBLEMS)


@by_name
def test_the_source_of_a_solution_stands_by_itself(problem):
    namespace = {}
    exec(problem.solution, namespace)

    for arguments, expected in problem.cases(Random(0), 20):
        assert namespace[problem.name](*copy.deepcopy(arguments)) == expected


@by_name
def test_no_constant_passes(problem):
    (most_common,) = Counter(repr(expected) for _, expected in problem.cases(Random(0), 20)).most_common(1)

    assert most_common[1] <= 0.75 * len(problem.cases(Random(0), 20))


@by_name
def test_no_argument_handed_back_passes(problem):
    for place in range(len(problem.cases(Random(0), 1)[0][0])):
        assert any(arguments[place] != expected for arguments, expected in problem.cases(Random(0), 20))


@by_name
def test_the_seed_decides_the_cases_and_another_seed_gives_others(problem):
    assert problem.cases(Random(1), 10) == problem.cases(Random(1), 10)
    assert problem.cases(Random(1), 6) != problem.cases(Random(2), 6)


@by_name
def test_the_stub_holds_the_signature_and_the_docstring_and_no_more(problem):
    (function,) = ast.parse(problem.stub).body

    assert (function.name, len(function.body)) == (problem.name, 1)
    assert len(ast.get_docstring(function)) > 30
    assert all(argument.annotation is not None for argument in function.args.args)


@by_name
def test_cases_hold_plain_values_that_are_written_as_they_are(problem):
    for arguments, expected in problem.cases(Random(3), 10):
        assert ast.literal_eval(repr((arguments, expected))) == (arguments, expected)
