"""MLflow."""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

_MAX_PARAMETER_CHARACTERS = 6000
_MAX_METRICS_AT_ONCE = 1000
"""What the service takes in one request."""
_MAX_PARAMETERS_AT_ONCE = 100


class MlflowTracker:
    """Logs a run to where MLFLOW_TRACKING_URI points.

    The experiment is "llmgym" unless MLFLOW_EXPERIMENT_NAME names another; the config is logged as parameters.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._client = MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "llmgym")
        experiment = self._client.get_experiment_by_name(name)
        experiment_id = experiment.experiment_id if experiment else self._client.create_experiment(name)
        self._run_id = self._client.create_run(experiment_id, run_name=folder.name).info.run_id
        parameters = [Param(key, text[:_MAX_PARAMETER_CHARACTERS]) for key, text in _flat(config)]
        for start in range(0, len(parameters), _MAX_PARAMETERS_AT_ONCE):
            self._client.log_batch(self._run_id, params=parameters[start : start + _MAX_PARAMETERS_AT_ONCE])

    def log(self, phase: str, step: int, metrics: Mapping[str, float]) -> None:
        """One metric for each number."""
        now = round(1000 * time.time())
        rows = [Metric(_allowed(f"{phase}/{name}"), value, now, step) for name, value in metrics.items()]
        for start in range(0, len(rows), _MAX_METRICS_AT_ONCE):
            self._client.log_batch(self._run_id, metrics=rows[start : start + _MAX_METRICS_AT_ONCE])

    def close(self) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._run_id)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield _allowed(f"{prefix}{name}"), str(value)


def _allowed(name: str) -> str:
    """`name` with "_" for what MLflow takes in no name."""
    return "".join(character if character.isalnum() or character in "_-. :/" else "_" for character in name)
