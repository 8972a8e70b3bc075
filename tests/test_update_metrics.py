"""What the learner reports of an update, recomputed by hand from what the agent saw."""

import math
import statistics

import pytest
import torch
from llmgym.agents.grpo import GRPO
from llmgym.agents.ppo import PPO
from llmgym.agents.sft import SFT
from support.bandit import bandit_model, log_probabilities, trajectory, varied

from llmgym.learning import CriticConfig, KLConfig, Learner, LearnerConfig, Need
from llmgym.learning.update_metrics import UpdateReport


class Watching(GRPO):
    """Keeps what each optimizer step saw."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.log_ratios = []

    def loss(self, outputs, batch):
        old_BA = outputs.logprobs_BA if batch.old_logprobs_BA is None else batch.old_logprobs_BA
        self.log_ratios += (outputs.logprobs_BA - old_BA)[batch.mask_BA].detach().double().tolist()
        return super().loss(outputs, batch)


def update(agent, rows=None, num_updates=1, **config):
    learner = Learner(bandit_model(), agent, LearnerConfig(learning_rate=1e-2, **config))
    for _ in range(num_updates):
        metrics = learner.update([rows or varied()])
    return learner, metrics


def test_ratio_and_kl_to_the_old_policy_are_means_over_the_tokens_of_all_steps():
    agent = Watching(epochs=2, minibatches=2, clip_low=0.01, clip_high=0.01)

    _, metrics = update(agent, max_grad_norm=math.inf)

    ratios = [math.exp(r) for r in agent.log_ratios]
    assert metrics["ratio_mean"] == pytest.approx(statistics.mean(ratios))
    assert metrics["ratio_max"] == pytest.approx(max(ratios))
    assert metrics["old_kl"] == pytest.approx(statistics.mean(r - 1 - math.log(r) for r in ratios))
    assert metrics["ratio_max"] > 1.01
    assert 0 < metrics["clip_share"] < 1


def test_on_policy_the_ratio_is_one_and_nothing_is_clipped():
    _, metrics = update(GRPO())

    assert (metrics["ratio_mean"], metrics["ratio_max"], metrics["old_kl"], metrics["clip_share"]) == (1, 1, 0, 0)


def test_advantage_spread_is_the_deviation_over_tokens():
    learner, metrics = update(GRPO())

    advantages = [a for row in learner.last_advantages.values() for a in row.tolist()]
    assert metrics["advantage_std"] == pytest.approx(statistics.stdev(advantages))


@pytest.mark.parametrize("agent", [GRPO(), GRPO(drop_equal_groups=True)], ids=["kept", "dropped"])
def test_groups_that_say_nothing_are_a_share_of_all_groups_also_where_they_are_dropped(agent):
    groups = [[trajectory("1 .2", reward) for reward in pair] for pair in ((0, 1), (1, 1), (0, 0), (0, 0))]

    metrics = Learner(bandit_model(), agent).update(groups)

    assert metrics["zero_variance_share"] == 0.75


def test_kl_to_the_reference_is_that_of_the_policy_before_the_step():
    learner, _ = update(GRPO(), kl=KLConfig(coef=0.1, estimator="k3", placement="loss"))
    policies = (learner.policy, learner.reference)
    p_BA, q_BA = (policy.action_outputs(varied(), temperature=1.0).logprobs_BA.detach() for policy in policies)

    metrics = learner.update([varied()])

    log_ratio = (q_BA - p_BA)[p_BA != 0].double()
    assert metrics["kl"] == pytest.approx(float((log_ratio.exp() - 1 - log_ratio).mean()), rel=1e-4)
    assert metrics["kl"] > 1e-4


def test_kl_to_the_reference_is_reported_where_an_agent_uses_the_reference_itself():
    class Anchored(GRPO):
        def __init__(self):
            super().__init__()
            self.needs |= {Need.REF_LOGPROBS}

    _, metrics = update(Anchored(), num_updates=2)

    assert metrics["kl"] > 1e-4


def test_exact_entropy_is_that_of_the_distribution():
    _, metrics = update(PPO(minibatches=1, entropy_coef=0.01), [trajectory("1 .2"), trajectory("1 .3", 1.0)])

    p = log_probabilities(bandit_model()).double().exp()
    assert metrics["entropy"] == pytest.approx(-float((p * p.log()).sum()), rel=1e-5)


def test_gradient_norm_is_that_before_clipping():
    _, unclipped = update(GRPO(), max_grad_norm=math.inf)
    learner, clipped = update(GRPO(), max_grad_norm=1e-3)

    model = bandit_model()
    again = Learner(model, GRPO(), LearnerConfig(max_grad_norm=math.inf))
    norms = []
    again.steps.optimizer.step = lambda: norms.append(
        math.sqrt(sum(float(p.grad.double().pow(2).sum()) for p in model.parameters() if p.grad is not None))
    )
    again.update([varied()])
    assert unclipped["grad_norm"] == clipped["grad_norm"] == pytest.approx(norms[0], rel=1e-5)
    assert learner.steps.num_planned == 1


def test_value_clip_and_critic_norm_are_reported_where_there_is_a_critic():
    critic = CriticConfig(learning_rate=0.5)

    _, metrics = update(PPO(epochs=2, value_clip=1e-3), critic=critic)

    assert 0 < metrics["value_clip_share"] <= 1
    assert metrics["critic_grad_norm"] > 0


def test_offline_agents_have_no_ratio_and_no_advantages():
    _, metrics = update(SFT())

    assert not {"ratio_mean", "ratio_max", "old_kl", "advantage_std", "zero_variance_share"} & metrics.keys()
    assert metrics["grad_norm"] > 0


def test_the_largest_ratio_is_that_of_all_steps_and_not_of_the_last():
    report, old, mask = UpdateReport(), torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool)

    for log_ratio in (0.5, 2.0, 1.0):
        report.add_policy_change(old + log_ratio, old, mask)

    assert report.maxima["ratio_max"] == pytest.approx(math.exp(2))


def test_a_huge_ratio_is_reported_and_not_infinite():
    report = UpdateReport()
    new, old, mask = torch.zeros(1, 1), torch.full((1, 1), -100.0), torch.ones(1, 1, dtype=torch.bool)

    report.add_policy_change(new, old, mask)

    assert report.maxima["ratio_max"] == pytest.approx(math.exp(100))
