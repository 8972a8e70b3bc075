"""Runs that were killed, stopped or tampered with: they go on to the bit, or say why not."""

import asyncio
import errno
import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.copy_run import COPY_RUN, QUIET

import llmgym
from llmgym.cli.main import main
from llmgym.episode.waiting import run_to_end
from llmgym.errors import CheckpointError, ConfigError, DataNotFoundError, DiskFullError, OutputFolderError
from llmgym.training.checkpoints import CheckpointConfig, RunCheckpoints, random_states, restore_random_states
from llmgym.training.run_folder import writing_alone
from llmgym.training.stopping import heeding_signals

RUN = {**COPY_RUN, "evaluation": {"every": 2, "num_tasks": 2}}


@pytest.mark.slow
@pytest.mark.parametrize("agent", ["grpo", "ppo", "grpo+lora"])
def test_a_run_that_was_killed_again_and_again_comes_to_the_same_bits(tmp_path: Path, agent: str) -> None:
    program = Path(__file__).parent / "support" / "resume_run.py"

    ended = subprocess.run(
        [sys.executable, program, tmp_path, agent, "30"],
        capture_output=True, text=True, timeout=1200, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip

    assert ended.returncode == 0, ended.stderr[-2000:]
    told = json.loads(ended.stdout)
    assert told["kills"] >= 10
    assert told["num_compared"] > 20
    assert told["different"] == []
    assert told["num_optimizer_steps"] > 5  # or the weights would be the same whatever happened


def interrupted_run(folder: Path, monkeypatch: pytest.MonkeyPatch, *, at_step: int, number: int = signal.SIGINT) -> Any:
    """A run of 4 steps to which a signal is sent while it collects for step `at_step`."""
    from llmgym.training import batch_source

    original = batch_source.collect_batch

    async def collect_batch(*args: Any, **kwargs: Any) -> Any:
        if kwargs["seed"][-1] == at_step:
            os.kill(os.getpid(), number)
        return await original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(batch_source, "collect_batch", collect_batch)
        return llmgym.train(**RUN, steps=4, output=str(folder), progress=QUIET)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_saves_and_the_run_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    llmgym.train(**RUN, steps=4, output=str(tmp_path / "whole"), progress=QUIET)

    result = interrupted_run(tmp_path / "stopped", monkeypatch, at_step=3, number=number)
    steps_done = [row["step"] for row in rows(tmp_path / "stopped") if row["phase"] == "train"]
    resumed = llmgym.resume(tmp_path / "stopped", progress=QUIET)

    assert (result.is_complete, resumed.is_complete) == (False, True)
    assert steps_done == [1, 2, 3]
    assert rows(tmp_path / "stopped") == rows(tmp_path / "whole")
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "stopped")]
    assert weights[0] == weights[1]


def rows(folder: Path) -> list[dict[str, Any]]:
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if "second" not in name} for line in lines]


def test_the_command_ends_well_where_it_was_asked_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = interrupted_run(tmp_path / "run", monkeypatch, at_step=1)
    monkeypatch.setattr("llmgym.cli.runs.run_file", lambda *args, **kwargs: stopped)

    assert main(["train", "demo", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["is_complete"] is False


def test_the_command_tells_how_to_go_on_and_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted_run(tmp_path / "run", monkeypatch, at_step=1)

    code = main(["train", "--resume", str(tmp_path / "run"), "--json"])

    assert code == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["folder"], told["is_complete"]) == (str(tmp_path / "run"), True)
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.fixture
def _sigint() -> Iterator[None]:
    """A process in the background of a shell may have been started to ignore it."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


@pytest.mark.usefixtures("_sigint")
def test_a_second_signal_is_not_held_back() -> None:
    heard: list[str] = []

    def ask_twice() -> None:
        with heeding_signals(heard.append) as request:
            os.kill(os.getpid(), signal.SIGINT)
            assert request.is_made
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)

    with pytest.raises(KeyboardInterrupt):
        ask_twice()

    assert heard == ["SIGINT"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("_sigint")
def test_a_second_signal_leaves_no_traceback_of_a_task(caplog: pytest.LogCaptureFixture) -> None:
    async def interrupted() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    async def steps() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(interrupted())
            group.create_task(asyncio.sleep(10))

    with pytest.raises(KeyboardInterrupt), heeding_signals(lambda name: None):
        run_to_end(steps())

    gc.collect()
    assert caplog.records == []


def test_outside_of_the_main_thread_signals_are_left_alone() -> None:
    made: list[bool] = []

    def run() -> None:
        with heeding_signals(lambda name: None) as request:
            made.append(request.is_made)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert made == [False]


# -- what cannot go on -------------------------------------------------------------------------------------------


def checkpoints(folder: Path, *, keep: int = 2, run: str = "seed = 0\nsteps = 5") -> RunCheckpoints:
    return RunCheckpoints(folder, CheckpointConfig(keep=keep), run=run)


def saved(folder: Path, successes: dict[int, float], *, keep: int = 2) -> RunCheckpoints:
    kept = checkpoints(folder, keep=keep)
    for step, success in successes.items():
        kept.save(step, {"weights": torch.arange(1000) + step}, success=success)
    return kept


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").glob("step-*"))


def test_the_newest_checkpoints_are_kept_and_the_best(tmp_path: Path) -> None:
    kept = saved(tmp_path, {0: 0.1, 10: 0.9, 20: 0.5, 30: 0.6, 40: 0.9})

    assert names(tmp_path) == ["step-000010", "step-000030", "step-000040"]
    assert json.loads((tmp_path / "checkpoints" / "best.json").read_text()) == {"step": 10, "success": 0.9}
    state = kept.load()
    assert state is not None
    assert (state["step"], int(state["weights"][0])) == (40, 40)


def test_a_damaged_checkpoint_is_refused_with_the_remedy_and_the_one_before_is_whole(tmp_path: Path) -> None:
    kept = saved(tmp_path, {10: 0.5, 20: 0.6})
    (state,) = (tmp_path / "checkpoints" / "step-000020").glob("state-*.pt")
    state.write_bytes(state.read_bytes()[:-100])

    with pytest.raises(
        CheckpointError, match=r"step-000020.*is damaged.*Remove that folder to go on from step 10"
    ) as e:
        kept.load()

    assert "SHA-256" in str(e.value)
    state.unlink()
    (tmp_path / "checkpoints" / "step-000020" / "manifest.json").unlink()  # as where writing it was cut short
    older = kept.load()
    assert older is not None
    assert older["step"] == 10


def test_a_checkpoint_of_another_run_or_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path, {10: 0.5})

    with pytest.raises(CheckpointError, match=r"another config.toml; a difference is: steps = "):
        checkpoints(tmp_path, run="seed = 0\nsteps = 6").load()
    monkeypatch.setattr("llmgym.training.checkpoints.version", lambda name: "9.9")
    with pytest.raises(CheckpointError, match=r"written by llmgym .*, but this is 9.9"):
        checkpoints(tmp_path).load()


def test_a_full_disk_says_so_and_leaves_the_checkpoints_before_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = saved(tmp_path, {10: 0.5})

    def full(state: Any, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match=r"step 20 cannot be written .* No space left .* whole \(10\).*--resume"):
        kept.save(20, {"weights": torch.arange(10)}, success=0.9)

    monkeypatch.undo()
    assert names(tmp_path) == ["step-000010"]
    state = kept.load()
    assert state is not None
    assert state["step"] == 10


def test_a_disk_that_is_full_between_checkpoints_ends_the_run_and_with_room_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    llmgym.train(**RUN, steps=4, output=str(tmp_path / "whole"), progress=QUIET)
    with monkeypatch.context() as patch:
        patch.setattr("llmgym.training.trainer.save_trajectories", full)
        with pytest.raises(DiskFullError, match=r"write to '.*run'\. Make room, then .* --resume .*/run"):
            llmgym.train(**RUN, steps=4, output=str(tmp_path / "run"), progress=QUIET)

    with monkeypatch.context() as patch:
        patch.setattr("llmgym.report.summary.plot_curve", full)
        with pytest.raises(DiskFullError, match=r"the report .* llmgym show .*/run"):
            llmgym.resume(tmp_path / "run", progress=QUIET)
    assert main(["show", str(tmp_path / "run")]) == 0
    assert rows(tmp_path / "run") == rows(tmp_path / "whole")
    assert (tmp_path / "run" / "report.html").is_file()


def test_metrics_that_are_shorter_than_at_the_checkpoint_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted_run(tmp_path / "run", monkeypatch, at_step=2)
    metrics = tmp_path / "run" / "metrics.jsonl"
    metrics.write_text(metrics.read_text().splitlines()[0])

    with pytest.raises(CheckpointError, match=r"has \d+ bytes, but had \d+ when the checkpoint was written"):
        llmgym.resume(tmp_path / "run", progress=QUIET)


def test_what_is_finished_or_no_run_is_not_gone_on_with(tmp_path: Path) -> None:
    llmgym.train(**RUN, steps=1, output=str(tmp_path / "run"), progress=QUIET)

    with pytest.raises(OutputFolderError, match=r"is finished.*llmgym show"):
        llmgym.resume(tmp_path / "run")
    with pytest.raises(DataNotFoundError, match=r"no run folder: it has no config\.toml"):
        llmgym.resume(tmp_path)


def test_a_run_that_another_process_writes_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted_run(tmp_path / "run", monkeypatch, at_step=1)
    written = (tmp_path / "run" / "metrics.jsonl").read_bytes()

    with writing_alone(tmp_path / "run"), pytest.raises(OutputFolderError, match="Another process is writing"):
        llmgym.resume(tmp_path / "run", progress=QUIET)

    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == written
    assert llmgym.resume(tmp_path / "run", progress=QUIET).is_complete


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["train"], "name a run file or a recipe"),
        (["train", "demo", "--resume", "x"], "name a run file or a recipe"),
        (["train", "--resume", "x", "steps=3"], "steps=3 cannot be changed"),
        (["train", "--resume", "x", "--seed", "3"], "seed=3 cannot be changed"),
    ],
)
def test_the_command_says_what_it_needs(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: Any = main(arguments)
    except SystemExit as ended:
        code = ended.code

    assert code == 2
    assert problem in capsys.readouterr().err


def test_settings_of_checkpoints_are_checked() -> None:
    with pytest.raises(ConfigError, match=re.escape("checkpoint.every is 0, but it must be at least 1.")):
        CheckpointConfig(every=0)


def test_global_random_states_come_back() -> None:
    import random

    import numpy as np

    states = random_states()
    drawn = random.random(), np.random.random(), np.random.standard_normal()
    restore_random_states(states)

    assert (random.random(), np.random.random(), np.random.standard_normal()) == drawn
