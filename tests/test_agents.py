import math

import numpy as np
import pytest
import torch
from llmgym.agents.grpo import GRPO, GRPOConfig
from llmgym.agents.sft import SFT

from llmgym.episode import Segment, StopReason, Trajectory
from llmgym.errors import ConfigError
from llmgym.learning import ActionBatch, Aggregation, ModelOutputs, Need, check_agent
from llmgym.registry import AGENTS


def batch_of(rewards, num_actions=2):
    ids = np.arange(num_actions + 1, dtype=np.int32)
    rows = [
        Trajectory(
            segments=(Segment(ids, ids > 0, -np.ones(len(ids), dtype=np.float32)),),
            turns=(),
            reward=reward,
            terminated=True,
            truncated=False,
            stop_reason=StopReason.ANSWERED,
            metadata={},
        )
        for reward in rewards
    ]
    return ActionBatch.from_trajectories(rows)


def outputs_like(batch, logprob):
    return ModelOutputs(torch.full(batch.mask_BA.shape, logprob).requires_grad_())


@pytest.mark.parametrize(
    "agent",
    [
        GRPO(),
        GRPO(scale_by_std=False, kl_coef=0.1, epochs=2, clip_high=0.3),
        GRPO(aggregation=Aggregation.TRAJECTORY_MEAN),
        GRPO(aggregation=Aggregation.CONSTANT),
        SFT(),
        SFT(aggregation=Aggregation.TRAJECTORY_MEAN),
    ],
    ids=repr,
)
def test_agent_keeps_all_promises(agent):
    assert check_agent(agent) is None


@pytest.mark.parametrize(("name", "kind"), [("grpo", GRPO), ("sft", SFT)])
def test_agents_are_registered_by_name(name, kind):
    assert AGENTS.lookup(name) is kind


def test_settings_come_by_name_or_as_a_config():
    assert GRPO(group_size=4, aggregation="constant").config == GRPOConfig(
        group_size=4, aggregation=Aggregation.CONSTANT
    )
    assert GRPO(GRPOConfig(epochs=2)).rollout.epochs == 2


def test_misspelt_setting_is_an_error_that_names_the_nearest():
    with pytest.raises(ConfigError, match=r"agent\.group_sise is not a setting\. Did you mean 'group_size'\?"):
        GRPO(group_sise=4)


@pytest.mark.parametrize("wrong", [{"group_size": 1}, {"clip_low": 1.5}, {"kl_coef": -1.0}, {"temperature": 0.0}])
def test_setting_out_of_range_is_an_error(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        GRPO(**wrong)


def test_grpo_scales_rewards_by_the_sample_deviation_of_the_group():
    batch = GRPO().advantages(batch_of([1.0, 0.0, 0.0, 0.0]))

    expected = [[0.75 / 0.5] * 2] + [[-0.25 / 0.5] * 2] * 3
    assert torch.allclose(batch.advantages_BA, torch.tensor(expected))


def test_grpo_keeps_a_reference_model_only_for_a_kl_penalty():
    assert Need.REF_LOGPROBS not in GRPO().needs
    assert Need.REF_LOGPROBS in GRPO(kl_coef=0.1).needs


def test_grpo_reports_the_share_of_clipped_tokens():
    agent = GRPO(scale_by_std=False)
    batch = agent.advantages(batch_of([1.0, 0.0]))
    batch = batch.replace(old_logprobs_BA=torch.full((2, 2), -1.0))

    clipped = agent.diagnostics(outputs_like(batch, -0.5), batch)["clip_share"]

    # All ratios are exp(0.5); only where the advantage is positive does the upper bound matter.
    assert clipped.tolist() == [[1.0, 1.0], [0.0, 0.0]]


def test_kl_penalty_of_grpo_is_its_coefficient_times_k3():
    agent = GRPO(kl_coef=0.5)
    batch = agent.advantages(batch_of([1.0, 0.0])).replace(ref_logprobs_BA=torch.full((2, 2), -2.0))

    kl = agent.loss(outputs_like(batch, -1.0), batch)["kl"]

    assert kl[0, 0].item() == pytest.approx(0.5 * (math.exp(-1) + 1 - 1))


def test_sft_loss_is_the_negative_log_likelihood():
    batch = batch_of([0.0])

    assert SFT().loss(outputs_like(batch, -1.5), batch)["nll"].tolist() == [[1.5, 1.5]]
