"""What a finished run leaves beside its metrics."""

import math
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from llmgym.agents.grpo import GRPO

from llmgym.episode import Segment, StopReason, Trajectory
from llmgym.learning import Learner, LearnerConfig
from llmgym.learning.action_batch import ActionBatch
from llmgym.rollout import load_trajectories, save_trajectories
from llmgym.training.record import RunRecord, with_advantages
from llmgym.training.tiny_model import TinyModelConfig, build_character_tokenizer, build_tiny_model


def trajectory(reward: float, *, is_valid: bool = True) -> Trajectory:
    """Three sampled tokens behind one of the prompt."""
    mask = np.array([False, True, True, True])
    segment = Segment(np.array([5, 9, 10, 1], dtype=np.int32), mask, np.zeros(4, dtype=np.float32))
    return Trajectory(
        segments=(segment,), turns=(), reward=reward, terminated=True, truncated=False,
        stop_reason=StopReason.ANSWERED, is_valid=is_valid, metadata={},
    )  # fmt: skip


def test_a_record_reads_back_as_it_was_written(tmp_path: Path) -> None:
    record = RunRecord(started="now", seconds=1.5, num_parameters=3, device="cpu", full_reward=2.0)

    record.write(tmp_path)

    assert asdict(RunRecord.read(tmp_path)) == asdict(record)
    assert {"python", "llmgym", "torch"} <= record.versions.keys()


def test_the_advantages_that_the_learner_computed_are_kept_with_the_trajectories(tmp_path: Path) -> None:
    batch = [trajectory(reward) for reward in (1.0, 0.0, 0.0, 1.0)]
    broken = trajectory(1.0, is_valid=False)
    model = build_tiny_model(TinyModelConfig(hidden_size=16, num_layers=1), build_character_tokenizer(), seed=0)
    learner = Learner(model, GRPO(group_size=4), LearnerConfig(max_sampling_gap=math.inf))

    learner.update([[*batch, broken]])
    save_trajectories(tmp_path / "batch.jsonl", (with_advantages(t, learner.last_advantages) for t in [*batch, broken]))

    kept = [trajectory.metadata.get("advantages") for trajectory in load_trajectories(tmp_path / "batch.jsonl")]
    expected_BA = GRPO(group_size=4).advantages(ActionBatch.from_trajectories(batch)).required("advantages_BA")
    assert kept[:-1] == [pytest.approx(row) for row in expected_BA.tolist()]
    assert kept[0][0] > 0 > kept[1][0]
    assert kept[-1] is None
