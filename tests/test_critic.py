import copy
import dataclasses
import math
import statistics

import numpy as np
import peft
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from llmgym.agents.grpo import GRPO
from llmgym.agents.ppo import PPO
from support.bandit import bandit_model, trajectory, varied

from llmgym.episode import Segment
from llmgym.errors import CheckpointError, ConfigError
from llmgym.learning import CriticConfig, Learner, LearnerConfig, Policy, load_checkpoint, save_checkpoint
from llmgym.learning.critic import CriticHead, explained_variance, make_critic, with_only_the_next_action


def learner_of(agent=None, seed=0, critic=None, **config):
    critic = critic or CriticConfig(learning_rate=1e-2)
    return Learner(bandit_model(seed), agent or PPO(), LearnerConfig(learning_rate=1e-2, critic=critic, **config))


def first_feature(hidden):
    return hidden[:, 0].detach()


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


class OnlyValues(PPO):
    def loss(self, outputs, batch):
        return {"value": super().loss(outputs, batch)["value"]}


@pytest.mark.parametrize("stop_gradient", [True, False])
def test_value_loss_of_a_head_reaches_the_policy_only_where_that_was_asked_for(stop_gradient):
    critic = CriticConfig(learning_rate=1e-2, stop_gradient=stop_gradient)
    learner = learner_of(OnlyValues(), critic=critic)
    before = weights_of(learner)

    metrics = [learner.update([varied()]) for _ in range(2)]

    assert metrics[-1]["critic_grad_norm"] > 0
    assert (metrics[-1]["grad_norm"] == 0) == stop_gradient
    assert unchanged(before, learner) == stop_gradient


def value_head(learner):
    return getattr(learner.critic, "head", learner.critic).parameters()


def weights_of(learner):
    return {name: tensor.clone() for name, tensor in learner.policy.module.state_dict().items()}


def unchanged(before, learner):
    return all(torch.equal(tensor, before[name]) for name, tensor in learner.policy.module.state_dict().items())


@pytest.mark.parametrize("kind", [{"kind": "head", "stop_gradient": False}, {"kind": "model"}], ids=str)
def test_while_the_critic_warms_up_it_alone_learns(kind):
    critic = CriticConfig(learning_rate=1e-2, warmup_updates=2, **kind)
    learner = learner_of(critic=critic, weight_decay=0.1)
    before = weights_of(learner)

    metrics = [learner.update([varied()]) for _ in range(2)]
    is_as_before, critic_after = unchanged(before, learner), sum(p.abs().sum() for p in value_head(learner))
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


# The critic as a model of its own

MODEL = CriticConfig(kind="model", learning_rate=1e-2)


def test_value_loss_of_a_critic_model_trains_its_own_backbone_and_never_the_policy():
    learner = learner_of(OnlyValues(), critic=MODEL)
    before, backbone_before = weights_of(learner), copy.deepcopy(learner.critic.backbone.state_dict())

    metrics = [learner.update([varied()]) for _ in range(2)]

    assert (metrics[-1]["grad_norm"], metrics[-1]["critic_grad_norm"] > 0) == (0, True)
    assert unchanged(before, learner)
    backbone = learner.critic.backbone.state_dict()
    assert not any(torch.equal(tensor, backbone_before[name]) for name, tensor in backbone.items())


def test_policy_loss_never_trains_a_critic_model():
    class OnlyPolicy(PPO):
        def loss(self, outputs, batch):
            return {"policy": super().loss(outputs, batch)["policy"]}

    learner = learner_of(OnlyPolicy(), critic=MODEL)
    before = copy.deepcopy(learner.critic.state_dict())

    metrics = learner.update([varied()])

    assert (metrics["critic_grad_norm"], metrics["grad_norm"] > 0) == (0, True)
    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.critic.state_dict().items())


def test_critic_model_begins_with_the_policys_hidden_states_and_without_its_output_head():
    policy = Policy(bandit_model())
    critic = make_critic(policy, MODEL)
    with torch.no_grad():
        critic.head.weight[0] = 1.0

    expected = policy.action_outputs(varied(), temperature=1.0, critic=first_feature).values_BA

    torch.testing.assert_close(critic(varied()), expected)
    assert not any("lm_head" in name for name in critic.state_dict())
    assert not {id(p) for p in critic.parameters()} & {id(p) for p in policy.module.parameters()}


def test_critic_model_of_a_policy_with_adapters_trains_adapters_of_its_own_and_nothing_else():
    model = peft.get_peft_model(bandit_model(), peft.LoraConfig(r=2, target_modules=["q_proj", "lm_head"]))
    learner = Learner(model, PPO(), LearnerConfig(learning_rate=1e-2, critic=MODEL))
    before = {name: tensor.clone() for name, tensor in learner.critic.state_dict().items()}

    learner.update([varied()])
    learner.update([varied()])

    after = learner.critic.state_dict()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert learner.policy.runs_head_on_actions_only
    assert not any("lm_head" in name for name in after)
    assert changed
    assert all("lora" in name or name.startswith("head.") for name in changed)


def test_critic_model_of_a_policy_whose_head_cannot_be_told_apart_gives_the_same_values():
    policy, whole = Policy(bandit_model()), Policy(bandit_model())
    whole._base = whole._head = None
    critics = [make_critic(one, MODEL) for one in (policy, whole)]
    with torch.no_grad():
        for critic in critics:
            critic.head.weight[0] = 1.0

    torch.testing.assert_close(critics[1](varied()), critics[0](varied()))


def test_critic_model_has_the_critics_learning_rate_and_decays_its_matrices_alone():
    learner = learner_of(critic=CriticConfig(kind="model", learning_rate=3e-2), weight_decay=0.1)

    groups = learner.steps.optimizer.param_groups

    assert [(group["lr_scale"], group["weight_decay"]) for group in groups] == [
        (1.0, 0.1),
        (1.0, 0.0),
        (pytest.approx(3.0), 0.1),
        (pytest.approx(3.0), 0.0),
    ]


def test_critic_model_without_a_trajectory_that_acts_has_no_values():
    assert make_critic(Policy(bandit_model()), MODEL)([trajectory("1 2")]).shape == (1, 0)


def test_shared_gradients_are_refused_for_a_critic_that_shares_nothing():
    with pytest.raises(ConfigError, match="shares no hidden states"):
        CriticConfig(kind="model", stop_gradient=False)


def test_state_of_a_critic_head_is_refused_by_a_critic_model():
    with pytest.raises(CheckpointError, match="not of this learner's"):
        learner_of(critic=MODEL).load_state_dict(learner_of().state_dict())


@pytest.mark.parametrize("wrong", [{"learning_rate": 0.0}, {"warmup_updates": -1}])
def test_critic_setting_out_of_range_is_an_error(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        CriticConfig(**wrong)


@pytest.mark.parametrize("kind", [{"kind": "head", "stop_gradient": False}, {"kind": "model"}], ids=str)
def test_run_with_a_critic_continued_from_a_checkpoint_goes_on_bit_for_bit(kind, tmp_path):
    agent = PPO(epochs=2, minibatches=2, entropy_coef=0.01)
    critic = CriticConfig(learning_rate=3e-2, warmup_updates=2, **kind)
    uninterrupted, resumed = (learner_of(agent, seed=seed, critic=critic) for seed in (0, 1))
    uninterrupted.update([varied()])
    save_checkpoint(tmp_path / "checkpoint", uninterrupted.state_dict())
    resumed.load_state_dict(load_checkpoint(tmp_path / "checkpoint"))

    expected = [uninterrupted.update([varied()]) for _ in range(3)]
    found = [resumed.update([varied()]) for _ in range(3)]

    assert found == expected
    states = [learner.critic.state_dict() for learner in (resumed, uninterrupted)]
    assert all(torch.equal(states[0][name], tensor) for name, tensor in states[1].items())
    assert unchanged(weights_of(uninterrupted), resumed)


def test_state_of_a_learner_without_a_critic_is_refused():
    state = Learner(bandit_model(), GRPO()).state_dict()

    with pytest.raises(CheckpointError, match="not of this learner's"):
        learner_of().load_state_dict(state)


@pytest.mark.parametrize("kind", ["head", "model"])
def test_critic_learns_which_prompts_pay(kind):
    critic = CriticConfig(kind=kind, learning_rate={"head": 3e-2, "model": 3e-3}[kind], warmup_updates=100)
    learner = learner_of(PPO(minibatches=1), critic=critic)
    rows = [trajectory("1 .2 .3", 1.0), trajectory("5 .2 .3", 0.0), trajectory("6 .4", 2.0)]

    metrics = [learner.update([rows]) for _ in range(60)]

    assert metrics[0]["explained_variance"] == pytest.approx(0.0)
    assert metrics[-1]["explained_variance"] > 0.9
    assert metrics[-1]["loss_value"] < 0.2 * metrics[0]["loss_value"]
