import dataclasses
import math
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from llmgym.agents.grpo import GRPO
from llmgym.agents.ppo import PPO

from llmgym.episode import Segment, StopReason, Trajectory, TurnRecord
from llmgym.errors import CheckpointError, ConfigError
from llmgym.learning import (
    ActionBatch,
    CriticConfig,
    Learner,
    LearnerConfig,
    ModelOutputs,
    Policy,
    load_checkpoint,
    save_checkpoint,
)
from llmgym.learning.critic import CriticHead, explained_variance, with_only_the_next_action
from llmgym.messages import AssistantMessage
from llmgym.scoring import Score

PAID = 18
"""The token that the bandit pays; the model starts with giving it a probability of 0.21."""


def bandit_model(seed=0):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    sizes = {"vocab_size": 23, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=4, initializer_range=0.3))


def trajectory(text, reward=0.0, stop_reason=StopReason.ANSWERED):
    """A prompt and turns, in which `.` before a token means that it was sampled; the last turn is paid."""
    words = text.split()
    is_action = np.array([word.startswith(".") for word in words])
    ids = np.array([int(word.lstrip(".")) for word in words], dtype=np.int32)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], is_action.astype(int), [0]]))).reshape(-1, 2)
    turns = [
        TurnRecord(0, int(start), int(stop), AssistantMessage(""), Score(reward=reward * (index == len(edges) - 1)))
        for index, (start, stop) in enumerate(edges)
    ]
    is_cut = stop_reason is StopReason.TIME_LIMIT
    return Trajectory(
        segments=(Segment(ids, is_action),),
        turns=tuple(turns),
        reward=reward,
        terminated=not is_cut,
        truncated=is_cut,
        stop_reason=stop_reason,
        metadata={},
    )


def varied():
    texts = ["1 2 .3 .4 5 .6", "7 .8 9 .8", "1 2 3", "4 .5 .6 .7 .8 .9 .10", "9 9 .1"]
    return [trajectory(text, reward=float(index % 2)) for index, text in enumerate(texts)]


def batch_of(rows, values=0.0):
    batch = ActionBatch.from_trajectories(rows)
    return batch.replace(values_BA=torch.where(batch.mask_BA, values, 0.0))


def learner_of(agent=None, seed=0, critic=None, **config):
    critic = critic or CriticConfig(learning_rate=1e-2)
    return Learner(bandit_model(seed), agent or PPO(), LearnerConfig(learning_rate=1e-2, critic=critic, **config))


# Advantages


def test_reward_sits_on_the_last_real_token_of_each_row_and_not_on_padding():
    rows = [trajectory("1 .2 .3 .4", 1.0), trajectory("1 .2", 1.0)]

    batch = PPO(lam=0.0).advantages(batch_of(rows, values=0.25))

    # With lam = 0, an advantage is the temporal difference: the reward shows where it was paid, and nowhere else.
    assert batch.returns_BA.tolist() == [[0.25, 0.25, 1.0], [1.0, 0.0, 0.0]]


def test_tool_tokens_between_turns_change_no_advantage():
    plain, with_tool = trajectory("1 .2 .3 .4 .5", 1.0), trajectory("1 .2 .3 9 9 9 9 .4 .5", 1.0)
    other, agent = trajectory("1 .2", 0.0), PPO(gamma=0.9, lam=0.5)

    tables = [agent.advantages(batch_of([row, other], values=0.3)).advantages_BA for row in (plain, with_tool)]

    assert torch.equal(*tables)
    assert tables[0][0].unique().numel() == 4


def test_returns_keep_the_unit_of_rewards_and_advantages_are_whitened_over_real_tokens():
    rows = [trajectory("1 .2 .3 .4", 100.0), trajectory("1 .2", 0.0)]

    batch = PPO().advantages(batch_of(rows, values=20.0))

    assert batch.returns_BA.tolist() == [[100.0, 100.0, 100.0], [0.0, 0.0, 0.0]]
    real = [80.0, 80.0, 80.0, -20.0]
    expected = [(a - statistics.mean(real)) / statistics.stdev(real) for a in real]
    assert batch.advantages_BA[batch.mask_BA].tolist() == pytest.approx(expected)
    assert batch.advantages_BA[~batch.mask_BA].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "reason", [reason for reason in StopReason if reason not in (StopReason.TIME_LIMIT, StopReason.ENV_ERROR)]
)
def test_truncation_by_a_budget_is_an_end_after_which_nothing_is_expected(reason, monkeypatch):
    seen = returns_seen(monkeypatch, [trajectory("1 .2 .3", 0.0, reason)])

    assert seen.tolist() == [[0.0, 0.0]]


def test_after_a_time_limit_the_critic_says_what_was_still_to_be_expected(monkeypatch):
    cut = trajectory("1 .2 .3 4 5", 0.0, StopReason.TIME_LIMIT)

    seen = returns_seen(monkeypatch, [cut])

    # The value of the state that the episode was left in: what an action after the tool's last token would have.
    goes_on = trajectory("1 .2 .3 4 5 .6")
    value = Policy(bandit_model()).action_outputs([goes_on], temperature=1.0, critic=first_feature).values_BA[0, 2]
    assert seen.tolist() == [[pytest.approx(value.item(), abs=1e-5)] * 2]
    assert abs(value) > 0.1


def first_feature(hidden):
    return hidden[:, 0].detach()


def returns_seen(monkeypatch, rows):
    """What the critic is to learn in an update on `rows`, where its values are the first feature."""
    found = []
    learner = learner_of(PPO(minibatches=1))
    with torch.no_grad():
        learner.critic.weight[0] = 1.0
    monkeypatch.setattr(learner, "_step", lambda rows, batch, units, report: found.append(batch.returns_BA))
    monkeypatch.setattr("llmgym.learning.update_metrics.UpdateReport.means", lambda self: {})
    learner.update([rows])
    return found[0]


def test_the_next_action_of_a_segmented_trajectory_comes_after_its_last_segment():
    row = dataclasses.replace(
        trajectory("1 .2"), segments=(*trajectory("1 .2").segments, Segment(np.arange(3), np.zeros(3, dtype=bool)))
    )

    (segment,) = with_only_the_next_action(row).segments

    assert segment.token_ids.tolist() == [0, 1, 2, 2]
    assert segment.action_mask.tolist() == [False, False, False, True]


# Explained variance

numbers = st.floats(-100, 100, allow_subnormal=False).map(lambda number: round(number, 3))


@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=8), st.integers(0, 3))
def test_explained_variance_equals_its_definition_whatever_the_padding(pairs, padding):
    values, returns = ([pair[side] for pair in pairs] for side in (0, 1))
    mask = torch.tensor([[True] * len(pairs) + [False] * padding])

    found = explained_variance(
        torch.tensor([values + [7.0] * padding], dtype=torch.float64),
        torch.tensor([returns + [math.nan] * padding], dtype=torch.float64),
        mask,
    )

    if len(set(returns)) < 2:
        assert found is None
    else:
        errors = [r - v for v, r in pairs]
        assert found == pytest.approx(1 - statistics.variance(errors) / statistics.variance(returns))


def test_a_perfect_critic_explains_all_and_one_that_says_the_same_everywhere_nothing():
    returns, mask = torch.tensor([[0.0, 1.0, 0.5]]), torch.ones(1, 3, dtype=torch.bool)

    assert explained_variance(returns, returns, mask) == 1.0
    assert explained_variance(torch.full((1, 3), 0.7), returns, mask) == pytest.approx(0.0)


# The agent


@pytest.mark.parametrize(
    "wrong",
    [
        {"gamma": 1.1},
        {"lam": -0.1},
        {"clip_low": 1.5},
        {"dual_clip": 1.1},
        {"value_clip": 0.0},
        {"vf_coef": -1.0},
        {"entropy_coef": -1.0},
        {"temperature": 0.0},
        {"group_size": 0},
    ],
)
def test_setting_out_of_range_is_an_error(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        PPO(**wrong)


def test_loss_has_a_policy_a_value_and_an_entropy_component():
    agent = PPO(vf_coef=0.5, entropy_coef=0.1, value_clip=math.inf)
    batch = agent.advantages(batch_of([trajectory("1 .2 .3", 1.0), trajectory("1 .2", 0.0)], values=0.5))
    full = torch.full(batch.mask_BA.shape, -1.0)

    components = agent.loss(ModelOutputs(full, entropy_BA=-2 * full, values_BA=0 * full), batch)

    assert components["value"].tolist() == [[0.25, 0.25], [0.0, 0.0]]
    assert components["entropy"].tolist() == [[pytest.approx(-0.2)] * 2, [pytest.approx(-0.2), 0.0]]
    torch.testing.assert_close(components["policy"], -batch.advantages_BA)


# The critic in the learner


def test_critic_begins_at_zero_and_draws_no_random_number():
    state = torch.get_rng_state()

    values = CriticHead(3)(torch.randn(2, 3, generator=torch.Generator()), stop_gradient=True)

    assert values.tolist() == [0.0, 0.0]
    assert torch.equal(torch.get_rng_state(), state)


def test_value_of_an_action_depends_on_what_came_before_it_and_not_on_it():
    policy = Policy(bandit_model())

    values = [
        policy.action_outputs([trajectory(text)], temperature=1.0, critic=first_feature).values_BA[0]
        for text in ("1 .2 .3 .4", "1 .2 .3 .5", "1 .2 .7 .4")
    ]

    torch.testing.assert_close(values[1], values[0])
    torch.testing.assert_close(values[2][:2], values[0][:2])
    assert abs(values[2][2] - values[0][2]) > 1e-3


def test_models_whose_head_is_not_linear_give_the_same_values():
    policy = Policy(bandit_model())
    expected = policy.action_outputs(varied(), temperature=1.0, critic=first_feature)

    policy._base = policy._head = None
    found = policy.action_outputs(varied(), temperature=1.0, critic=first_feature)

    torch.testing.assert_close(found.values_BA, expected.values_BA)
    torch.testing.assert_close(found.logprobs_BA, expected.logprobs_BA)


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_value_loss_reaches_the_policy_only_where_that_was_asked_for(stop_gradient):
    class OnlyValues(PPO):
        def loss(self, outputs, batch):
            return {"value": super().loss(outputs, batch)["value"]}

    critic = CriticConfig(learning_rate=1e-2, stop_gradient=stop_gradient)
    learner = learner_of(OnlyValues(), critic=critic)
    before = weights_of(learner)

    metrics = [learner.update([varied()]) for _ in range(2)]

    assert metrics[-1]["critic_grad_norm"] > 0
    assert (metrics[-1]["grad_norm"] == 0) == stop_gradient
    assert unchanged(before, learner) == stop_gradient


def weights_of(learner):
    return {name: tensor.clone() for name, tensor in learner.policy.module.state_dict().items()}


def unchanged(before, learner):
    return all(torch.equal(tensor, before[name]) for name, tensor in learner.policy.module.state_dict().items())


def test_while_the_critic_warms_up_it_alone_learns():
    critic = CriticConfig(learning_rate=1e-2, stop_gradient=False, warmup_updates=2)
    learner = learner_of(critic=critic, weight_decay=0.1)
    before = weights_of(learner)

    metrics = [learner.update([varied()]) for _ in range(2)]
    is_as_before, critic_after = unchanged(before, learner), learner.critic.weight.abs().sum().item()
    learner.update([varied()])

    assert is_as_before
    assert critic_after > 0
    assert "loss_policy" not in metrics[1]
    assert not unchanged(before, learner)


def test_policy_that_gets_no_gradient_stays_while_the_critic_learns():
    learner = learner_of(PPO(minibatches=1), weight_decay=0.1)
    learner.update([varied()])
    learner.critic.weight.data.zero_()
    learner.critic.bias.data.zero_()
    before = weights_of(learner)

    metrics = learner.update([[dataclasses.replace(trajectory("1 .2"), group_id=0), trajectory("1 .2")]])
    paid = learner.update([[trajectory("1 .2", 1.0), trajectory("1 .2", 1.0)]])

    assert (metrics["num_optimizer_steps"], metrics["grad_norm"], metrics["critic_grad_norm"]) == (0, 0, 0)
    assert (paid["num_optimizer_steps"], paid["grad_norm"]) == (1, 0)
    assert paid["critic_grad_norm"] > 0
    assert unchanged(before, learner)


def test_critic_needs_a_value_loss_to_warm_up_on():
    class Nameless(PPO):
        def loss(self, outputs, batch):
            return {"policy": super().loss(outputs, batch)["policy"]}

    learner = learner_of(Nameless(), critic=CriticConfig(warmup_updates=1))

    with pytest.raises(ConfigError, match="works on the loss component 'value', but Nameless has policy"):
        learner.update([varied()])


def test_model_without_an_output_head_cannot_have_a_critic():
    with pytest.raises(ConfigError, match="no get_output_embeddings"):
        Learner(torch.nn.Linear(2, 2), PPO())


@pytest.mark.parametrize("wrong", [{"learning_rate": 0.0}, {"warmup_updates": -1}])
def test_critic_setting_out_of_range_is_an_error(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        CriticConfig(**wrong)


def test_run_with_a_critic_continued_from_a_checkpoint_goes_on_bit_for_bit(tmp_path):
    agent = PPO(epochs=2, minibatches=2, entropy_coef=0.01)
    critic = CriticConfig(learning_rate=3e-2, stop_gradient=False, warmup_updates=2)
    uninterrupted, resumed = (learner_of(agent, seed=seed, critic=critic) for seed in (0, 1))
    uninterrupted.update([varied()])
    save_checkpoint(tmp_path / "checkpoint", uninterrupted.state_dict())
    resumed.load_state_dict(load_checkpoint(tmp_path / "checkpoint"))

    expected = [uninterrupted.update([varied()]) for _ in range(3)]
    found = [resumed.update([varied()]) for _ in range(3)]

    assert found == expected
    assert torch.equal(resumed.critic.weight, uninterrupted.critic.weight)
    assert unchanged(weights_of(uninterrupted), resumed)


def test_state_of_a_learner_without_a_critic_is_refused():
    state = Learner(bandit_model(), GRPO()).state_dict()

    with pytest.raises(CheckpointError, match="not of this learner's"):
        learner_of().load_state_dict(state)


# It learns


@torch.no_grad()
def log_probabilities(model):
    """Of the one action, after the prompt [1]."""
    return model(torch.tensor([[1]])).logits[0, 0].log_softmax(-1)


def bandit_rows(model, rng, size=16):
    p = log_probabilities(model).double().exp().numpy()
    tokens = rng.choice(len(p), size=size, p=p / p.sum())
    return [trajectory(f"1 .{token}", reward=float(token == PAID)) for token in tokens]


@pytest.mark.parametrize("settings", [{}, {"epochs": 2}, {"minibatches": 1}], ids=str)
def test_ppo_on_a_bandit_raises_the_paid_tokens_probability_and_learns_its_value(settings):
    learner, rng = learner_of(PPO(**settings), critic=CriticConfig(learning_rate=3e-2)), np.random.default_rng(0)
    model = learner.policy.module
    before = log_probabilities(model)[PAID].exp()

    metrics = [learner.update([bandit_rows(model, rng)]) for _ in range(30)]

    assert before < 0.3
    assert log_probabilities(model)[PAID].exp() > 0.9
    assert metrics[-1]["value"] == pytest.approx(1.0, abs=0.2)
    assert all(math.isfinite(value) for entry in metrics for value in entry.values())


def test_critic_learns_which_prompts_pay(monkeypatch):
    learner = learner_of(PPO(minibatches=1), critic=CriticConfig(learning_rate=3e-2, warmup_updates=100))
    rows = [trajectory("1 .2 .3", 1.0), trajectory("5 .2 .3", 0.0), trajectory("6 .4", 2.0)]

    metrics = [learner.update([rows]) for _ in range(60)]

    assert metrics[0]["explained_variance"] == pytest.approx(0.0)
    assert metrics[-1]["explained_variance"] > 0.9
    assert metrics[-1]["loss_value"] < 0.2 * metrics[0]["loss_value"]
