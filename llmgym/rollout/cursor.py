"""Which task comes next."""

import numpy as np

from ..episode import Task, TaskSource


class TaskCursor:
    """Hands out a source's tasks: a finite one in a new order each epoch, a generated one by index.

    Args:
        source: the tasks.
        seed: decides the orders.
    """

    def __init__(self, source: TaskSource, *, seed: int) -> None:
        self._source, self._seed = source, seed
        self.position = 0
        """Number of tasks handed out: all there is to save and restore."""
        self._epoch = -1
        self._order: np.ndarray = np.empty(0, dtype=np.int64)

    def next(self) -> Task:
        """The next task."""
        self.position += 1
        return self.at(self.position - 1)

    def at(self, position: int) -> Task:
        """The task that is handed out at a position, whether it was already or not."""
        size = self._source.size
        if size is None:
            return self._source[position]
        epoch, place = divmod(position, size)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, np.random.default_rng((self._seed, epoch)).permutation(size)
        return self._source[int(self._order[place])]
