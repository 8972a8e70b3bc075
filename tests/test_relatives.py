"""What tells GSPO, CISPO and REINFORCE++ apart from GRPO."""

import math
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from llmgym.agents.cispo import CISPO
from llmgym.agents.grpo import GRPO
from llmgym.agents.gspo import GSPO
from llmgym.agents.presets import DAPO, DrGRPO
from llmgym.agents.reinforce_pp import ReinforcePP, ReinforcePPBaseline
from llmgym.agents.rloo import RLOO
from support.bandit import PAID, bandit_model, bandit_rows, log_probabilities, trajectory

from llmgym.errors import ConfigError
from llmgym.learning import ActionBatch, Aggregation, Learner, LearnerConfig, ModelOutputs
from llmgym.learning.aggregation import action_weights, weighted_loss


def batch_of(rows, groups=None):
    batch = ActionBatch.from_trajectories(rows, max_actions=8)
    return batch if groups is None else batch.replace(group_B=torch.tensor(groups))


def gradient_of(agent, batch, log_ratio_BA):
    """Of the aggregated loss, for the log-probabilities of the actions, whose old ones are all -2."""
    batch = agent.advantages(batch).replace(old_logprobs_BA=torch.full(batch.mask_BA.shape, -2.0))
    logprobs_BA = (log_ratio_BA - 2.0).requires_grad_()
    loss = agent.loss(ModelOutputs(logprobs_BA), batch)["policy"]
    weighted_loss(loss, action_weights(batch, agent.aggregation)).backward()
    share = agent.diagnostics(ModelOutputs(logprobs_BA.detach()), batch)["clip_share"]
    return logprobs_BA.grad, share


def test_gspo_keeps_or_drops_whole_trajectories_where_grpo_does_so_with_tokens():
    batch = batch_of([trajectory("1 .2 .3", 1.0), trajectory("1 .2 .3", 0.0)])
    # In the first row one token became likelier and one as much less likely: as a whole the row has not moved.
    log_ratio_BA = torch.tensor([[0.5, -0.5], [0.01, 0.01]])

    by_token, token_share = gradient_of(GRPO(), batch, log_ratio_BA)
    by_row, row_share = gradient_of(GSPO(), batch, log_ratio_BA)

    assert (by_token[0] == 0).tolist() == [True, False]
    assert bool((by_row != 0).all())
    assert by_row[0, 0] == by_row[0, 1]
    assert (token_share[0].tolist(), row_share.sum().item()) == ([1.0, 0.0], 0.0)


def test_gspo_drops_a_winner_that_moved_as_a_whole_by_a_thousandth():
    batch = batch_of([trajectory("1 .2 .3", 1.0), trajectory("1 .2 .3", 0.0)])

    gradient, share = gradient_of(GSPO(), batch, torch.full((2, 2), 1e-3))

    assert gradient[0].tolist() == [0.0, 0.0]
    assert bool((gradient[1] != 0).all())
    assert share.tolist() == [[1.0, 1.0], [0.0, 0.0]]


def test_gspo_moves_a_long_trajectory_as_a_whole_as_much_as_a_short_one():
    batch = batch_of([trajectory("1 .2 .3 .4 .5", 1.0), trajectory("1 .2", 0.0)])

    gradient, _ = gradient_of(GSPO(), batch, torch.zeros(2, 4))

    assert gradient[0].sum() == pytest.approx(-gradient[1].sum().item())


def test_cispo_bounds_the_weight_of_a_token_and_never_takes_its_gradient():
    batch = batch_of([trajectory("1 .2 .3", 1.0), trajectory("1 .2 .3", 0.0)])
    agent = CISPO(max_ratio=2.0)

    gradient, share = gradient_of(agent, batch, torch.tensor([[3.0, 0.0], [-3.0, 0.0]]))

    a = math.sqrt(0.5)
    expected = [[-2.0 * a / 4, -a / 4], [math.exp(-3) * a / 4, a / 4]]
    torch.testing.assert_close(gradient, torch.tensor(expected))
    assert share.tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_weight_below_one_is_refused():
    with pytest.raises(ConfigError, match=r"max_ratio is 0\.5, but the ratio begins at 1"):
        CISPO(max_ratio=0.5)


def test_dual_clip_bounds_what_a_bad_token_that_became_likelier_does_to_the_loss():
    batch = batch_of([trajectory("1 .2", 1.0), trajectory("1 .2", 0.0)])
    log_ratio_BA = torch.tensor([[0.0], [2.0]])

    plain, _ = gradient_of(GRPO(), batch, log_ratio_BA)
    bounded, share = gradient_of(GRPO(dual_clip=3.0), batch, log_ratio_BA)

    assert plain[1].item() > 0
    assert bounded[1].item() == 0
    assert share.tolist() == [[0.0], [1.0]]


lengths_and_rewards = st.lists(st.tuples(st.integers(1, 4), st.integers(-4, 4)), min_size=1, max_size=6)


def answer(length, reward):
    return trajectory("1 " + " ".join([".2"] * length), float(reward))


@given(lengths_and_rewards)
def test_reinforce_pp_whitens_the_return_of_each_token_over_all_tokens(entries):
    batch = ReinforcePP().advantages(batch_of([answer(*entry) for entry in entries]))

    returns = [float(reward) for length, reward in entries for _ in range(length)]
    spread = statistics.stdev(returns) if len(set(returns)) > 1 else math.inf
    expected = [(r - statistics.mean(returns)) / spread for r in returns]
    assert batch.advantages_BA[batch.mask_BA].tolist() == pytest.approx(expected, abs=1e-5)
    assert not batch.advantages_BA[~batch.mask_BA].any()


@given(lengths_and_rewards)
def test_reinforce_pp_baseline_centres_in_groups_and_scales_by_all_tokens(entries):
    groups = [index // 2 for index in range(len(entries))]
    batch = ReinforcePPBaseline().advantages(batch_of([answer(*entry) for entry in entries], groups))

    means = {g: statistics.mean(r for (_, r), h in zip(entries, groups, strict=True) if h == g) for g in groups}
    centred = [r - means[g] for (length, r), g in zip(entries, groups, strict=True) for _ in range(length)]
    spread = statistics.stdev(centred) if len(set(centred)) > 1 else math.inf
    assert batch.advantages_BA[batch.mask_BA].tolist() == pytest.approx([a / spread for a in centred], abs=1e-5)


def test_reinforce_pp_baseline_leaves_a_group_that_says_nothing_where_it_is():
    rows = [answer(1, 1), answer(4, 1), answer(1, 0), answer(4, 1)]

    batch = ReinforcePPBaseline().advantages(batch_of(rows, [0, 0, 1, 1]))

    assert batch.advantages_BA[:2].abs().max() == 0
    assert batch.advantages_BA[2:, 0].abs().min() > 0


def test_a_group_baseline_without_a_group_is_refused():
    with pytest.raises(ConfigError, match="group_size is 1"):
        ReinforcePPBaseline(group_size=1)


def test_presets_have_the_published_settings():
    drgrpo, dapo, gspo, cispo = DrGRPO().config, DAPO().config, GSPO().config, CISPO().config

    assert (drgrpo.scale_by_std, drgrpo.aggregation) == (False, Aggregation.CONSTANT)
    assert (dapo.group_size, dapo.clip_low, dapo.clip_high, dapo.minibatches) == (16, 0.2, 0.28, 16)
    assert (dapo.drop_equal_groups, dapo.resample_rounds) == (True, 9)
    assert (dapo.overlong_buffer * 20480, dapo.overlong_penalty, dapo.mask_truncated) == (4096, 1.0, False)
    assert (gspo.clip_low, gspo.clip_high, gspo.minibatches) == (3e-4, 4e-4, 4)
    assert gspo.aggregation is Aggregation.TRAJECTORY_MEAN
    assert (cispo.max_ratio, cispo.minibatches, cispo.drop_equal_groups) == (5.0, 16, True)
    assert ReinforcePP().config.clip_high == 0.2
    assert all(DAPO().aggregation is kind.aggregation for kind in (GRPO(), CISPO(), ReinforcePP()))


@pytest.mark.parametrize(
    "agent",
    [DrGRPO(), DAPO(), GSPO(), CISPO(), RLOO(), ReinforcePP(), ReinforcePPBaseline()],
    ids=lambda agent: type(agent).__name__,
)
def test_every_preset_on_a_bandit_raises_the_paid_tokens_probability(agent):
    model, rng = bandit_model(), np.random.default_rng(0)
    learner = Learner(model, agent, LearnerConfig(learning_rate=1e-2, max_actions=1))
    before = log_probabilities(model)[PAID].exp()

    metrics = [learner.update([bandit_rows(model, rng, size=32)]) for _ in range(15)]

    assert before < 0.3
    assert log_probabilities(model)[PAID].exp() > 0.9
    assert all(math.isfinite(value) for entry in metrics for value in entry.values())
