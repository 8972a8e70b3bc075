"""What a built-in programming problem is: a function that solves it, and what makes its inputs."""

import ast
import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Any

Inputs = Callable[[Random], tuple[Any, ...]]
"""Draws the arguments of one call."""


@dataclass(frozen=True)
class Problem:
    """A programming problem with its reference solution.

    The solution is the function itself: its signature and docstring are the prompt, its source is the reference
    answer, and what it returns for drawn inputs are the tests.
    """

    function: Callable[..., Any]
    difficulty: int
    """From 1 (a line or two) to 5 (an algorithm with a name)."""
    inputs: Inputs = field(repr=False)

    @property
    def name(self) -> str:
        """That of the function."""
        return self.function.__name__

    @cached_property
    def stub(self) -> str:
        """The signature and the docstring."""
        (node,) = ast.parse(self.solution).body
        assert isinstance(node, ast.FunctionDef)
        return ast.unparse(ast.FunctionDef(**{**vars(node), "body": node.body[:1]}))

    @cached_property
    def solution(self) -> str:
        """The source of the function, which stands by itself."""
        lines = textwrap.dedent(inspect.getsource(self.function)).splitlines()
        start = next(index for index, line in enumerate(lines) if line.startswith("def "))
        return "\n".join(lines[start:]) + "\n"

    def cases(self, rng: Random, count: int) -> list[tuple[tuple[Any, ...], Any]]:
        """So many different calls, as arguments and result; fewer where there are not so many."""
        drawn: dict[str, tuple[tuple[Any, ...], Any]] = {}
        for _ in range(20 * count):
            if len(drawn) == count:
                break
            arguments = self.inputs(rng)
            if (name := repr(arguments)) not in drawn:
                copied = ast.literal_eval(name)  # a solution may change its arguments
                drawn[name] = (arguments, self.function(*copied))
        return list(drawn.values())


class ProblemList(list[Problem]):
    """Problems of one kind, added by decoration."""

    def add(self, difficulty: int, inputs: Inputs) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """A decorator that makes a problem of a function and leaves the function as it is."""

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            self.append(Problem(function, difficulty, inputs))
            return function

        return decorate


Make = Callable[[Random], Any]


def args(*makes: Make) -> Inputs:
    """Arguments that are drawn one by one."""
    return lambda rng: tuple(make(rng) for make in makes)


def integer(low: int, high: int) -> Make:
    """A whole number, both ends included."""
    return lambda rng: rng.randint(low, high)


def items(make: Make, low: int, high: int) -> Make:
    """A list of `low` to `high` items."""
    return lambda rng: [make(rng) for _ in range(rng.randint(low, high))]


def integers(smallest: int, largest: int, low: int, high: int) -> Make:
    """A list of `low` to `high` whole numbers."""
    return items(integer(smallest, largest), low, high)


def letters(alphabet: str, low: int, high: int) -> Make:
    """A text of `low` to `high` characters of the alphabet."""
    return lambda rng: "".join(rng.choice(alphabet) for _ in range(rng.randint(low, high)))


def words(low: int, high: int, *, alphabet: str = "abcde", longest: int = 6) -> Make:
    """A list of words."""
    return items(letters(alphabet, 1, longest), low, high)


def sentence(low: int, high: int, *, alphabet: str = "abcdeABC") -> Make:
    """Words with single spaces between them."""
    make = words(low, high, alphabet=alphabet)
    return lambda rng: " ".join(make(rng))


def grid(make: Make, low: int, high: int, *, is_square: bool = False) -> Make:
    """A list of rows of equal length, each side from `low` to `high`."""

    def draw(rng: Random) -> list[list[Any]]:
        height = rng.randint(low, high)
        width = height if is_square else rng.randint(low, high)
        return [[make(rng) for _ in range(width)] for _ in range(height)]

    return draw
