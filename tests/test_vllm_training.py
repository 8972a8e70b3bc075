"""Training runs that sample with vLLM, on a CPU: weights reach it, and a run in which they do not is stopped."""

import string
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import support.resume_run  # noqa: F401  it registers test/Digits-v0

import llmgym
from llmgym.errors import LearnerError
from llmgym.rollout import load_trajectories
from llmgym.sampling.vllm.shared_memory import MemoryTransfer
from llmgym.training import RunProgress
from llmgym.training.metrics import read_metrics

pytestmark = pytest.mark.slow

SAMPLER = {"name": "vllm", "kv_cache_memory_bytes": 64 << 20, "environment": {"OMP_NUM_THREADS": "1"}}


@pytest.fixture
def train(require: Any, tmp_path: Path) -> Any:
    """Three steps with vLLM, with gradients whatever the tiny model answers."""
    require("vllm", find_spec("vllm"), "vLLM is not installed")

    def train(sampler: dict[str, Any] = {}, learner: dict[str, Any] = {}) -> Any:  # noqa: B006  read only
        return llmgym.train(
            env="test/Digits-v0",
            env_kwargs={"stop_strings": [*string.digits, *string.ascii_lowercase]},  # else hardly a turn would end
            agent={"name": "grpo", "group_size": 4},
            model={"tiny": {"hidden_size": 32, "num_layers": 1, "num_heads": 1}},
            sampler={**SAMPLER, **sampler},
            learner={"learning_rate": 1e-2, **learner},
            rollout={"tasks_per_step": 4},
            evaluation={"every": 1, "num_tasks": 2},
            trackers=[],
            threads=1,
            steps=3,
            progress=RunProgress(quiet=True),
            output=str(tmp_path / "run"),
        )

    return train


def versions_of(trajectories: Any) -> set[int]:
    segments = [segment for trajectory in trajectories for segment in trajectory.segments]
    return set(np.concatenate([segment.weight_version[segment.action_mask] for segment in segments]).tolist())


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_each_step_samples_with_the_weights_of_the_step_before_up_to_rounding(train, capfd, kind):
    is_lora = kind == "lora"
    result = train({"lora_rank": 4}, {"lora": {"r": 4}}) if is_lora else train()

    rows = list(read_metrics(result.folder / "metrics.jsonl", "train"))
    assert [row["grad_norm"] > 0 for row in rows] == [True] * 3
    assert all(0 < row["max_logprob_gap"] < 1e-4 for row in rows)
    for step in (1, 2, 3):
        (file,) = result.folder.glob(f"trajectories/*{step}.jsonl*")
        assert versions_of(load_trajectories(file)) == {step - 1}
    assert capfd.readouterr().out == ""


def test_a_run_whose_weights_do_not_reach_vllm_is_stopped_with_the_reason(train, monkeypatch):
    write, written = MemoryTransfer._write, []

    def write_once(self, source, bytes_N):
        if not written:
            write(self, source, bytes_N)
        written.append(source)

    monkeypatch.setattr(MemoryTransfer, "_write", write_once)

    with pytest.raises(LearnerError, match="After the weights of version 1 were sent to the sampler"):
        train()
