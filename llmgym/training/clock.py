"""Where the time of a training step went."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..rollout import Collector


class StepClock:
    """Measures one step, from its making on.

    Args:
        collector: knows what its sampler and its environments took.
    """

    def __init__(self, collector: Collector) -> None:
        self._collector, self._started = collector, time.perf_counter()
        self._sampling_before, self._env_before = collector.sampler.seconds, collector.env_seconds
        self._seconds_learning = 0.0

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Around the update."""
        started = time.perf_counter()
        yield
        self._seconds_learning = time.perf_counter() - started

    def metrics(self, *, num_sampled: float, num_learned: float) -> dict[str, float]:
        """Seconds by phase, and action tokens a second.

        Args:
            num_sampled: tokens that were sampled.
            num_learned: tokens that were learned from.
        """
        seconds = {
            "seconds": time.perf_counter() - self._started,
            "seconds_sampling": self._collector.sampler.seconds - self._sampling_before,
            "seconds_env": self._collector.env_seconds - self._env_before,
            "seconds_learning": self._seconds_learning,
        }
        speeds = {
            f"tokens_per_second_{phase}": num / seconds[f"seconds_{phase}"]
            for phase, num in (("sampling", num_sampled), ("learning", num_learned))
            if seconds[f"seconds_{phase}"] > 0
        }
        return seconds | speeds
