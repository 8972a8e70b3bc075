"""Programming problems that come with llmgym: each its own task, with a reference solution and endless tests."""

from ..problem import Problem
from . import grids, lists, numbers, parsing, searching, strings, worlds

PROBLEMS: tuple[Problem, ...] = (
    *strings.PROBLEMS,
    *numbers.PROBLEMS,
    *lists.PROBLEMS,
    *grids.PROBLEMS,
    *parsing.PROBLEMS,
    *searching.PROBLEMS,
    *worlds.PROBLEMS,
)
