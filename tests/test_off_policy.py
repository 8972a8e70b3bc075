"""What the learner makes of tokens that other weights sampled, and that every training mode learns the same."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llmgym.agents.grpo import GRPO
from llmgym.agents.reinforce import Reinforce
from support.models import tiny_model

import llmgym
from llmgym.episode import Segment, StopReason, Trajectory, TurnRecord
from llmgym.errors import CheckError, LearnerError
from llmgym.learning import ActionBatch, CorrectionConfig, Learner, LearnerConfig, Policy
from llmgym.learning.check_agent import check_agent
from llmgym.messages import AssistantMessage
from llmgym.scoring import Score
from llmgym.training import RunProgress
from llmgym.training.metrics import read_metrics


def trajectory(ids: list[int], reward: float) -> Trajectory:
    token_ids = np.array(ids, dtype=np.int32)
    return Trajectory(
        segments=(Segment(token_ids, np.arange(len(ids)) > 1),),
        turns=(TurnRecord(0, 2, len(ids), AssistantMessage(""), Score(reward=reward)),),
        reward=reward,
        terminated=True,
        truncated=False,
        stop_reason=StopReason.ANSWERED,
        metadata={},
    )


def of_two_versions(older: Any, newer: Any) -> list[Trajectory]:
    """Trajectories whose first two tokens `older` sampled, as version 0, and whose others `newer` did, as version 1."""
    rows = [trajectory([1, 2, 3, 4, 5, 6, 7], 1.0), trajectory([3, 1, 9, 8, 7], 0.0), trajectory([2, 2, 5, 5], 0.5)]
    tables = [Policy(m).action_outputs(rows, temperature=1.0).logprobs_BA.detach().numpy() for m in (older, newer)]
    found = []
    for index, row in enumerate(rows):
        segment, is_new = row.segments[0], np.arange(row.num_actions) >= 2
        logprobs = np.where(is_new, tables[1][index, : len(is_new)], tables[0][index, : len(is_new)])
        segment = dataclasses.replace(
            segment,
            sampling_logprobs=np.concatenate([[0, 0], logprobs]).astype(np.float32),
            weight_version=np.concatenate([[-1, -1], is_new]).astype(np.int32),
        )
        found.append(dataclasses.replace(row, segments=(segment,)))
    return found


def test_each_token_is_weighed_against_what_its_own_weights_said():
    older, newer = tiny_model(0), tiny_model(1)
    rows = of_two_versions(older, newer)
    learner = Learner(
        newer,
        Reinforce(scale_by_std=False),
        LearnerConfig(correction=CorrectionConfig(high=1e6), max_grad_norm=math.inf, max_sampling_gap=math.inf),
    )
    gradients: list[Any] = []
    learner.steps.optimizer.step = lambda: gradients.append(newer.lm_head.weight.grad.clone())  # type: ignore[method-assign]

    learner.update([[row] for row in rows])

    batch = ActionBatch.from_trajectories(rows)
    now_BA, then_BA = (Policy(m).action_outputs(rows, temperature=1.0).logprobs_BA for m in (newer, older))
    weights_BA = torch.ones_like(now_BA)
    weights_BA[:, :2] = (now_BA - then_BA)[:, :2].detach().exp()
    advantages_B = batch.reward_B - batch.reward_B.mean()
    loss = -(weights_BA * advantages_B[:, None] * now_BA)[batch.mask_BA].sum() / batch.num_tokens
    (expected,) = torch.autograd.grad(loss, newer.lm_head.weight)
    torch.testing.assert_close(gradients[0], expected.float(), atol=1e-6, rtol=1e-4)


def test_the_agents_own_ratio_is_against_the_learner_and_not_against_the_sampler():
    older, newer = tiny_model(0), tiny_model(1)
    config = LearnerConfig(learning_rate=1e-12, correction=CorrectionConfig(), max_sampling_gap=math.inf)

    metrics = Learner(newer, GRPO(epochs=2), config).update([of_two_versions(older, newer)])

    assert metrics["ratio_max"] == pytest.approx(1, abs=1e-5)
    assert metrics["correction_weight_max"] > 1.5
    assert metrics["sampler_ratio_max"] == pytest.approx(metrics["correction_weight_max"], rel=1e-4)


def test_the_first_update_asks_only_tokens_of_the_present_weights_to_agree():
    older, newer = tiny_model(0), tiny_model(1)
    rows = of_two_versions(older, newer)
    learner = Learner(newer, GRPO())

    learner.weight_version = 1
    learner.update([rows])

    learner = Learner(tiny_model(1), GRPO())
    learner.weight_version = 0
    with pytest.raises(LearnerError, match="sampler and learner disagree"):
        learner.update([rows])


class Nameless(Reinforce):
    def loss(self, outputs, batch):
        return {"reinforce": super().loss(outputs, batch)["policy"]}


def test_an_agent_without_a_policy_loss_must_say_that_it_learns_from_the_newest_weights_only():
    with pytest.raises(CheckError, match="importance weights could multiply"):
        check_agent(Nameless())

    honest = Nameless()
    honest.learns_off_policy = False
    check_agent(honest)


class ShortEnv(llmgym.MessageEnv):
    """Pays for answers of two to four characters, which an untrained model hardly ever gives."""

    default_limits = llmgym.Limits(turns=1, turn_tokens=8, episode_tokens=8, context_tokens=64)

    def tasks(self, split: str) -> llmgym.TaskSource:
        return llmgym.FiniteTasks([llmgym.Task(key=f"{split}{n}", prompt=f"{n}") for n in range(100)])

    def reset(self, task: llmgym.Task, rng: np.random.Generator) -> llmgym.InitialMessages:
        return llmgym.InitialMessages((llmgym.Message("user", task.prompt),))

    def step(self, message: AssistantMessage) -> llmgym.EnvResponse:
        return llmgym.EnvResponse(score=Score(reward=float(2 <= len(message.text) <= 4)), terminated=True)


llmgym.register_env("test-modes/Short-v0", ShortEnv)


RUN: dict[str, Any] = {
    "env": "test-modes/Short-v0",
    "agent": {"name": "grpo", "group_size": 8},
    "rollout": {"tasks_per_step": 8},
    "evaluation": {"every": 120, "num_tasks": 100},
    "trackers": [],
    "threads": 1,
    "progress": RunProgress(quiet=True),
}


def test_the_sampler_has_the_adapter_that_was_learned(tmp_path: Path) -> None:
    result = llmgym.train(
        model={"tiny": {"hidden_size": 32, "num_layers": 1, "num_heads": 1}},
        learner={"learning_rate": 0.03, "lora": {"r": 4}},
        training={"mode": "asynchronous", "max_staleness": 0},
        steps=6,
        output=str(tmp_path / "run"),
        **RUN,
    )

    rows = read_metrics(result.folder / "metrics.jsonl", "train")
    assert sum(row.get("grad_norm", 0) > 0 for row in rows[:-1]) >= 2
    assert all(abs(row.get("sampler_kl", 0)) < 1e-9 for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    "training",
    [{}, {"mode": "one-step-off"}, {"mode": "asynchronous", "max_staleness": 1}],
    ids=lambda training: training.get("mode", "synchronous"),
)
def test_every_training_mode_learns_the_same(tmp_path: Path, training: dict[str, Any]) -> None:
    result = llmgym.train(
        model={"tiny": {"hidden_size": 64, "num_layers": 2, "num_heads": 2}},
        learner={"learning_rate": 1e-3},
        steps=150,
        seed=2,
        training=training,
        output=str(tmp_path / "run"),
        **RUN,
    )

    assert result.before["sampled"].success.value < 0.2
    assert result.after["sampled"].success.value > 0.85  # 0.97 to 1.0 was seen, in each mode
