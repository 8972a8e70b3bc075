"""Where the time of a training step went, and what of a GPU the update used."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from ..learning.flops import peak_flops
from ..rollout import Collector


class StepClock:
    """Measures one step, from its making on.

    Args:
        collector: knows what its sampler and its environments took.
        device: where the learner is.
    """

    def __init__(self, collector: Collector, device: torch.device) -> None:
        self._collector, self._device, self._started = collector, device, time.perf_counter()
        self._sampling_before, self._env_before = collector.sampler.seconds, collector.env_seconds
        self._seconds_learning = 0.0

    @contextmanager
    def learning(self) -> Iterator[None]:
        """Around the update."""
        started = time.perf_counter()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # what is still queued is a part of the update
        self._seconds_learning = time.perf_counter() - started

    def metrics(
        self, *, num_sampled: float, num_learned: float, flops: Callable[[], float | None] = lambda: None
    ) -> dict[str, float]:
        """Seconds by phase, and action tokens a second; on a GPU the update's memory and share of the peak.

        Args:
            num_sampled: tokens that were sampled.
            num_learned: tokens that were learned from.
            flops: gives the operations that the update needed, where they are known.
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
        return seconds | speeds | self._gpu_metrics(flops)

    def _gpu_metrics(self, flops: Callable[[], float | None]) -> dict[str, float]:
        if self._device.type != "cuda" or not self._seconds_learning:
            return {}
        metrics = {"peak_memory_gib_learning": torch.cuda.max_memory_allocated(self._device) / 2**30}
        peak, needed = peak_flops(torch.cuda.get_device_name(self._device)), flops()
        if peak is not None and needed:
            metrics["model_flops_utilization"] = needed / self._seconds_learning / peak
        return metrics
