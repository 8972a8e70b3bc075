"""Training runs that sample with vLLM, on a CPU: weights reach it, and a run in which they do not is stopped."""

import string
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import support.resume_run  # noqa: F401  it registers test/Digits-v0

import llmgym
from llmgym.errors import LearnerError
from llmgym.rollout import load_trajectories
from llmgym.sampling.vllm import VLLMSampler
from llmgym.sampling.vllm.process import EngineProcess
from llmgym.sampling.vllm.shared_memory import MemoryTransfer
from llmgym.training import RunProgress
from llmgym.training.metrics import read_metrics

pytestmark = pytest.mark.slow

THREE_STEPS = {
    "steps": 3,
    "rollout": {"tasks_per_step": 4},
    "env_kwargs": {"stop_strings": [*string.digits, *string.ascii_lowercase]},  # else hardly a turn would end
}
SAMPLER = {"name": "vllm", "kv_cache_memory_bytes": 64 << 20, "environment": {"OMP_NUM_THREADS": "1"}}


@pytest.fixture(scope="module")
def _engines(require: Any) -> Iterator[None]:
    """Runs share engines, which take seconds to start; each sends its weights before it samples."""
    require("vllm", find_spec("vllm"), "vLLM is not installed")
    made: dict[int, EngineProcess] = {}
    start = VLLMSampler._new_engine

    def engine_of(sampler: VLLMSampler) -> EngineProcess:
        rank = sampler.settings.lora_rank
        if rank not in made:
            made[rank] = start(sampler)
        return made[rank]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VLLMSampler, "_new_engine", engine_of)
        patch.setattr(EngineProcess, "close", lambda engine: None)
        yield
    for each in made.values():
        each.close()


@pytest.fixture
def train(_engines: None, tmp_path: Path) -> Any:
    """Three steps with vLLM, with gradients whatever the tiny model answers."""

    def train(sampler: dict[str, Any] = {}, learner: dict[str, Any] = {}, **settings: Any) -> Any:  # noqa: B006
        return llmgym.train(
            env="test/Digits-v0",
            agent={"name": "grpo", "group_size": 4},
            model={"tiny": {"hidden_size": 32, "num_layers": 1, "num_heads": 1}},
            sampler={**SAMPLER, **sampler},
            learner={"learning_rate": 1e-2, **learner},
            evaluation={"every": 1, "num_tasks": 2},
            trackers=[],
            threads=1,
            progress=RunProgress(quiet=True),
            output=str(tmp_path / "run"),
            **{**THREE_STEPS, **settings},
        )

    return train


def versions_in(folder: Path, step: int) -> list[list[int]]:
    """Of the tokens of each episode's segments, in their order."""
    (file,) = folder.glob(f"trajectories/*{step}.jsonl*")
    segments = [segment for trajectory in load_trajectories(file) for segment in trajectory.segments]
    return [segment.weight_version[segment.action_mask].tolist() for segment in segments]


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_each_step_samples_with_the_weights_of_the_step_before_up_to_rounding(train, capfd, kind):
    is_lora = kind == "lora"
    result = train({"lora_rank": 4}, {"lora": {"r": 4}}) if is_lora else train()

    rows = list(read_metrics(result.folder / "metrics.jsonl", "train"))
    assert [row["grad_norm"] > 0 for row in rows] == [True] * 3
    assert all(0 < row["max_logprob_gap"] < 1e-4 for row in rows)
    for step in (1, 2, 3):
        assert set().union(*versions_in(result.folder, step)) == {step - 1}
    assert capfd.readouterr().out == ""


def test_one_step_off_each_batch_is_of_the_last_weights_but_one(train):
    result = train(training={"mode": "one-step-off"})

    assert [row["staleness_max"] for row in read_metrics(result.folder / "metrics.jsonl", "train")] == [0, 1, 1]
    assert [set().union(*versions_in(result.folder, step)) for step in (1, 2, 3)] == [{0}, {0}, {1}]


def test_asynchronous_runs_change_the_weights_of_turns_under_way_within_their_bound(train):
    long = {"turns": 1, "turn_tokens": 100, "episode_tokens": 100, "context_tokens": 256}
    result = train(
        training={"mode": "asynchronous", "max_staleness": 4},  # so far ahead, sampling goes on whoever is faster
        rollout={"tasks_per_step": 2, "concurrency": 8},
        env_kwargs={"limits": long},
        steps=7,
    )

    rows = list(read_metrics(result.folder / "metrics.jsonl", "train"))
    assert sum(row["num_in_flight_updates"] for row in rows) > 0
    assert all(row["staleness_max"] <= 4 for row in rows)
    turns = [versions for step in range(1, 8) for versions in versions_in(result.folder, step)]
    assert all(sorted(versions) == versions for versions in turns)
    assert any(len(set(versions)) > 1 for versions in turns)


def test_a_run_whose_weights_do_not_reach_vllm_is_stopped_with_the_reason(train, monkeypatch):
    write, written = MemoryTransfer._write, []

    def write_once(self, source, views):
        if not written:
            write(self, source, views)
        written.append(source)

    monkeypatch.setattr(MemoryTransfer, "_write", write_once)

    with pytest.raises(LearnerError, match="After the weights of version 1 were sent to the sampler"):
        train()
