"""Values drawn from a generator, for tasks that are made up."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Draw:
    """Values drawn from one generator."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def one(self, choices: Sequence[T]) -> T:
        """One of the choices."""
        return choices[int(self.rng.integers(len(choices)))]

    def some(self, choices: Sequence[T], count: int) -> list[T]:
        """`count` different choices, in a random order."""
        return [choices[int(index)] for index in self.rng.permutation(len(choices))[:count]]

    def whole(self, low: int, high: int) -> int:
        """A whole number, ends included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, share: float = 0.5) -> bool:
        """True so often."""
        return bool(self.rng.random() < share)
