"""Runs of two processes: one result, one voice, and one end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.models import tiny_model
from support.pretended_gpu import PretendedGPU
from support.several_processes import HANGS_S, several_processes

from llmgym.cli.runs import resume, run_file
from llmgym.errors import ConfigError
from llmgym.learning import ParallelConfig, Policy, load_policy
from llmgym.learning.parallel import joined
from llmgym.training import RunProgress
from llmgym.training.metrics import read_metrics
from llmgym.training.parts import RunParts

QUICK = [
    "steps=2",
    "trackers=[]",
    "cold_start.steps=3",
    "cold_start.num_demonstrations=64",
    "rollout.tasks_per_step=2",
    "evaluation.num_tasks=4",
    "checkpoint.every=1",
]
LORA = ["learner.lora.r=4"]
BIN = Path(sys.executable).parent
TORCHRUN = ["torchrun", "--nproc-per-node", "2"]
ACCELERATE = [
    *("accelerate", "launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port"),
]
"""And a port: where that is taken, it has the system choose a free one, as `torchrun` always does."""


def settings(folder: Path, *overrides: str) -> list[str]:
    return [*QUICK, *overrides, f"output={json.dumps(str(folder))}"]


def measured(folder: Path) -> list[dict[str, Any]]:
    phases = ("cold_start", "train", "evaluation")
    rows = [row for phase in phases for row in read_metrics(folder / "metrics.jsonl", phase)]
    return [{name: value for name, value in row.items() if "second" not in name} for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "learner"), [(TORCHRUN, []), (ACCELERATE, LORA)], ids=["torchrun", "accelerate"])
def test_a_run_of_two_processes_is_the_run_of_one(launcher: list[str], learner: list[str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    alone = run_file("demo", settings(tmp_path / "alone", *learner), progress=RunProgress(quiet=True)).folder
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = [str(taken.getsockname()[1])] if launcher is ACCELERATE else []
        command = [str(BIN / launcher[0]), *launcher[1:], *port, "-m", "llmgym", "train", "demo"]

        command += settings(folder, *learner)
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=HANGS_S)

    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("2 processes learn together") == ended.stderr.count(f"written to {folder}") == 1
    for one, two in zip(measured(alone), measured(folder), strict=True):
        assert one.keys() == two.keys()
        for name, value in one.items():
            assert two[name] == (pytest.approx(value, rel=1e-3, abs=1e-4) if isinstance(value, float) else value), name
    first, second = (load_policy(each / "model").module.state_dict() for each in (alone, folder))
    for name, weight in first.items():
        torch.testing.assert_close(weight, second[name], rtol=1e-3, atol=1e-4)


def wait_for(path: Path, processes: list[subprocess.Popen[str]]) -> None:
    end = time.monotonic() + HANGS_S
    while not path.exists():
        assert all(process.poll() is None for process in processes)
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
def test_a_signal_to_the_first_process_ends_both_and_one_alone_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = ("-m", "llmgym", "train", "demo", *settings(folder, "steps=6", *LORA))
    with several_processes(*command, stderr=subprocess.PIPE) as processes:
        wait_for(folder / "checkpoints" / "step-000001" / "manifest.json", processes)

        processes[0].send_signal(signal.SIGTERM)

        said = [process.communicate(timeout=HANGS_S)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert f"llmgym train --resume {folder}" in said[0]
    assert "resume" not in said[1]
    assert 1 <= len(read_metrics(folder / "metrics.jsonl", "train")) < 6
    assert resume(folder, progress=RunProgress(quiet=True)).is_complete
    assert [row["step"] for row in read_metrics(folder / "metrics.jsonl", "train")] == list(range(1, 7))


@pytest.mark.slow
def test_who_loses_the_first_process_ends_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = ("-m", "llmgym", "train", "demo", *settings(folder, "steps=40"))
    with several_processes(*command, stderr=subprocess.PIPE) as processes:
        wait_for(folder / "checkpoints" / "step-000001" / "manifest.json", processes)

        processes[0].kill()

        _, said = processes[1].communicate(timeout=HANGS_S)
    assert processes[1].returncode > 0
    assert "Another process of this learner is gone" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("is_sampled_with", "device"), [(True, "cuda"), (False, "cpu")])
def test_a_whole_model_stays_on_the_gpu_only_where_the_sampler_runs_it(is_sampled_with: bool, device: str) -> None:
    with PretendedGPU():
        whole, part = Policy(tiny_model().to("cuda")), Policy(tiny_model().to("cuda"))
        sampler: Any = SimpleNamespace(model=whole.module if is_sampled_with else None)
        others: Any = dict.fromkeys(("tokenizer", "collector", "mixture", "curriculum", "held_out"))
        parts = RunParts(policy=whole, sampler=sampler, **others)

        learner: Any = SimpleNamespace(policy=part, whole_policy=whole)
        parts.adopt(learner)

        assert [parts.policy.device.type, part.device.type] == [device, "cuda"]


def test_sharding_by_accelerate_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")

    with pytest.raises(ConfigError, match="shards the model itself"), joined(ParallelConfig()):
        pass
