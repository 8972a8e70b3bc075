"""Trackers: where the numbers of a run go beside its own file. Each service is really used, without network."""

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import llmgym
from llmgym.errors import MissingExtraError, UnknownTrackerError
from llmgym.registry import TRACKERS
from llmgym.training import RunProgress
from llmgym.training.metrics import MetricsLog
from llmgym.training.trackers import scalars

RUN = {
    "env": "llmgym/Copy-v0",
    "env_kwargs": {"max_length": 2},
    "model": "",
    "agent": {"name": "grpo", "group_size": 2},
    "steps": 1,
    "evaluation": {"num_tasks": 2},
    "rollout": {"tasks_per_step": 2},
}

LOG = """
import sys
from pathlib import Path
from llmgym.registry import TRACKERS
tracker = TRACKERS.lookup(sys.argv[1])(Path(sys.argv[2]), {"seed": 3, "agent": {"name": "grpo"}})
tracker.log("cold_start", 7, {"loss": 2.0})
tracker.log("train", 1, {"reward": 0.25, "stop_reasons/answered": 3.0})
tracker.log("train", 2, {"reward": 0.5})
tracker.close()
"""


def log_with(name: str, folder: Path, **variables: str) -> None:
    """A few numbers through a tracker, in a process of its own: the services read their variables when imported."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    ended = subprocess.run(
        [sys.executable, "-c", LOG, name, str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr


class Recorder:
    """A tracker of one's own."""

    made: list["Recorder"] = []  # noqa: RUF012

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.folder, self.config, self.is_closed = folder, config, False
        self.rows: list[tuple[str, int, Mapping[str, float]]] = []
        self.made.append(self)

    def log(self, phase: str, step: int, metrics: Mapping[str, float]) -> None:
        self.rows.append((phase, step, metrics))

    def close(self) -> None:
        self.is_closed = True


def test_numbers_of_tables_are_named_by_their_path_and_what_is_no_number_is_left_out() -> None:
    metrics = {"decoding": "greedy", "success": 0.5, "is_good": True, "none": None, "stop_reasons": {"answered": 3}}

    assert scalars(metrics) == {"greedy/success": 0.5, "greedy/stop_reasons/answered": 3.0}


@given(st.dictionaries(st.text("abc", min_size=1), st.floats() | st.integers(-9, 9) | st.booleans() | st.none()))
def test_every_number_and_nothing_else_reaches_a_tracker(metrics: dict[str, Any]) -> None:
    numbers = {name for name, value in metrics.items() if type(value) in (int, float)}

    assert scalars(metrics).keys() == numbers


def test_the_log_writes_its_line_first_and_then_tells_every_tracker(tmp_path: Path) -> None:
    first, second = Recorder(tmp_path, {}), Recorder(tmp_path, {})
    log = MetricsLog(tmp_path, [first, second])

    log.log("train", 3, {"reward": float("nan"), "envs": {"easy": {"success": 1.0, "spread": float("inf")}}})
    log.log("alarm", 3, {"name": "repetition", "text": "it repeats itself"})
    log.close()

    lines = [json.loads(line, parse_constant=pytest.fail) for line in log.path.read_text().splitlines()]
    assert lines[0]["envs"] == {"easy": {"success": 1.0, "spread": None}}
    assert lines[1] == {"phase": "alarm", "step": 3, "name": "repetition", "text": "it repeats itself"}
    assert first.rows == second.rows
    assert [(phase, step, sorted(row)) for phase, step, row in first.rows] == [
        ("train", 3, ["envs/easy/spread", "envs/easy/success", "reward"])
    ]
    assert first.is_closed
    assert second.is_closed


def test_a_tracker_of_ones_own_hears_of_a_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRACKERS._all(), "recorder", Recorder)
    monkeypatch.setattr(Recorder, "made", [])

    llmgym.train(**RUN, trackers=["recorder"], output=str(tmp_path / "run"), progress=RunProgress(quiet=True))

    (recorder,) = Recorder.made
    assert (recorder.folder.name, recorder.config["agent"]["name"], recorder.is_closed) == ("run", "grpo", True)
    assert {phase for phase, _, _ in recorder.rows} == {"train", "evaluation"}
    assert {"greedy/success", "sampled/success"} <= {name for _, _, row in recorder.rows for name in row}
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_an_unknown_tracker_is_named_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UnknownTrackerError, match="Did you mean 'wandb'"):
        llmgym.train(**RUN, trackers=["wandbb"], output=str(tmp_path / "run"))

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_a_service_that_is_not_installed_is_named_with_its_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"llmgym.training.trackers.{name}", raising=False)

    with pytest.raises(MissingExtraError, match=rf'{name}.*pip install "llmgym\[{name}\]"'):
        TRACKERS.lookup(name)


def test_tensorboard_gets_one_curve_for_each_decoding(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, [TRACKERS.lookup("tensorboard")(tmp_path, {})])
    for decoding in ("sampled", "greedy"):
        log.log("evaluation", 1, {"decoding": decoding, "success": 0.5})
    log.close()

    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"evaluation/sampled/success" in events.read_bytes()
    assert b"evaluation/greedy/success" in events.read_bytes()


@pytest.mark.slow
def test_wandb_writes_a_run_without_network(tmp_path: Path, require: Any) -> None:
    require("wandb", find_spec("wandb"), "wandb is not installed")

    log_with("wandb", tmp_path, WANDB_MODE="offline")

    (file,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    assert all(name in file.read_bytes() for name in (b"cold_start/loss", b"train/reward", b"train/step"))


@pytest.mark.slow
def test_wandb_that_refuses_a_run_is_told_with_what_to_do(tmp_path: Path, require: Any) -> None:
    require("wandb", find_spec("wandb"), "wandb is not installed")
    variables = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}

    command = [sys.executable, "-m", "llmgym", "train", "demo", "trackers=['wandb']", "--output", str(tmp_path / "run")]
    ended = subprocess.run(
        command,
        env={**variables, "OMP_NUM_THREADS": "1", "HOME": str(tmp_path), "NETRC": str(tmp_path / "none")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert ended.returncode == 2
    assert re.search(r"llmgym: W&B did not begin the run: .* Log in with `wandb login`", ended.stderr)


@pytest.mark.slow
def test_mlflow_writes_a_run_into_a_database(tmp_path: Path, require: Any) -> None:
    require("mlflow", find_spec("mlflow") and find_spec("sqlalchemy"), "mlflow or its database layer is not installed")

    log_with("mlflow", tmp_path, MLFLOW_TRACKING_URI=f"sqlite:///{tmp_path}/runs.db")

    rows = sqlite3.connect(tmp_path / "runs.db")
    metrics = rows.execute("select key, value, step from metrics order by key, step").fetchall()
    assert ("cold_start/loss", 2.0, 7) in metrics
    assert [row for row in metrics if row[0] == "train/reward"] == [("train/reward", 0.25, 1), ("train/reward", 0.5, 2)]
    assert dict(rows.execute("select key, value from params").fetchall()) == {"seed": "3", "agent.name": "grpo"}


@pytest.mark.slow
def test_trackio_writes_a_run_where_it_keeps_its_own(tmp_path: Path, require: Any) -> None:
    require("trackio", find_spec("trackio"), "trackio is not installed")

    log_with("trackio", tmp_path, TRACKIO_DIR=str(tmp_path / "trackio"))

    rows = sqlite3.connect(tmp_path / "trackio" / "llmgym.db").execute("select step, metrics from metrics").fetchall()
    assert (2, {"train/reward": 0.5}) in [(step, json.loads(metrics)) for step, metrics in rows]
