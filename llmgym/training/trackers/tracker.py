"""The contract of a tracker."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol


class Tracker(Protocol):
    """Takes the numbers of a run while it goes."""

    def log(self, phase: str, step: int, metrics: Mapping[str, float]) -> None:
        """Take the numbers of one step of a phase, such as "train". Steps count anew in each phase."""

    def close(self) -> None:
        """The run is over, well or not: send or write what is left."""


class TrackerFactory(Protocol):
    """What is registered in `llmgym.registry.TRACKERS`, or as an entry point of the group `llmgym.trackers`."""

    def __call__(self, folder: Path, config: Mapping[str, Any]) -> Tracker:
        """A tracker for the run in `folder`; its name is the run's. `config` is the run's, in plain values."""


def scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among metrics, those of tables named "table/name"; texts come first in the names.

    {"decoding": "greedy", "success": 0.5, "stop_reasons": {"answered": 3}} gives
    {"greedy/success": 0.5, "greedy/stop_reasons/answered": 3.0}.
    """
    labels = [value for value in metrics.values() if isinstance(value, str)]
    return {"/".join([*labels, *path]): number for path, number in _numbers(metrics)}


def _numbers(metrics: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], float]]:
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            yield from (((name, *path), number) for path, number in _numbers(value))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield (name,), float(value)
