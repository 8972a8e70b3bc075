import dataclasses
import math

import numpy as np
import pytest
import torch
from llmgym.agents.grpo import GRPO
from llmgym.agents.sft import SFT
from support.models import VOCABULARY, tiny_model

from llmgym.episode import Segment, StopReason, Trajectory, TurnRecord
from llmgym.errors import CheckpointError, ConfigError, LearnerError
from llmgym.learning import (
    Aggregation,
    DataKind,
    KLConfig,
    Learner,
    LearnerConfig,
    Need,
    Policy,
    RolloutSpec,
    Unit,
    load_checkpoint,
    save_checkpoint,
)
from llmgym.learning.microbatches import plan_microbatches
from llmgym.messages import AssistantMessage
from llmgym.sampling import SamplingParams
from llmgym.scoring import Score


def trajectory(*segments, reward=0.0, logprob=None, **fields):
    """One trajectory; a segment is a text of token ids, where `.` before one means that it was sampled."""
    parts, turns = [], []
    for index, text in enumerate(segments):
        ids, mask = [], []
        for word in text.split():
            mask.append(word.startswith("."))
            ids.append(int(word.lstrip(".")))
        mask = np.array(mask)
        logprobs = None if logprob is None else np.where(mask, logprob, 0).astype(np.float32)
        parts.append(Segment(np.array(ids, dtype=np.int32), mask, logprobs))
        where = np.flatnonzero(mask)
        if len(where):
            score = Score(reward=reward) if index == len(segments) - 1 else None
            turns.append(TurnRecord(index, len(ids) - len(where), len(ids), AssistantMessage(""), score))
    return Trajectory(
        segments=tuple(parts),
        turns=tuple(turns),
        reward=reward,
        terminated=True,
        truncated=False,
        stop_reason=StopReason.ANSWERED,
        metadata={},
        **fields,
    )


def varied(reward=lambda index: float(index % 2), **fields):
    """Several turns, several segments, no action at all, and lengths from 1 to 8."""
    texts = [
        ("1 2 .3 .4 5 .6",),
        ("7 .8", "1 2 3 .4 .5 .6 7 8 .9"),
        ("1 2 3",),
        ("4 .5 .6 .7 .8 .9 .10 .11 .12",),
        ("9 9 9 9 .1",),
        ("2 .2", "3 3", "4 .4 5"),
    ]
    return [trajectory(*text, reward=reward(index), **fields) for index, text in enumerate(texts)]


def with_sampling_logprobs(model, rows, temperature=1.0):
    """The same trajectories, as if `model` had sampled them."""
    table = Policy(model).action_outputs(rows, temperature=temperature).logprobs_BA.detach()
    filled = []
    for row, logprobs in zip(rows, table, strict=True):
        segments, start = [], 0
        for segment in row.segments:
            values = np.zeros(len(segment.token_ids), dtype=np.float32)
            values[segment.action_mask] = logprobs[start : start + segment.num_actions].numpy()
            start += segment.num_actions
            segments.append(dataclasses.replace(segment, sampling_logprobs=values))
        filled.append(dataclasses.replace(row, segments=tuple(segments)))
    return filled


def test_microbatches_hold_each_row_once_within_the_budget():
    rows = varied()
    units = [[0], [1], [3], [4], [5]]

    plan = plan_microbatches(rows, units, microbatch_tokens=16)

    assert sorted(row for rows in plan for row in rows) == [0, 1, 3, 4, 5]
    segments, longest = {0: 1, 1: 2, 3: 1, 4: 1, 5: 2}, {0: 5, 1: 8, 3: 8, 4: 4, 5: 1}
    for part in plan:
        assert sum(segments[row] for row in part) * max(longest[row] for row in part) <= 16
    assert len(plan) == 3


def gradient_of_one_update(agent, rows, monkeypatch, **config):
    """Gradients at the moment of the optimizer step, which is left out."""
    learner = Learner(tiny_model().double(), agent, LearnerConfig(max_grad_norm=math.inf, max_actions=9, **config))
    found = {}

    def keep_gradients():
        found.update({name: p.grad.clone() for name, p in learner.policy.module.named_parameters()})

    monkeypatch.setattr(learner.steps.optimizer, "step", keep_gradients)
    learner.update([rows[:3], rows[3:]])
    return found


@pytest.mark.parametrize("aggregation", ["token mean", "trajectory mean", "constant"])
@pytest.mark.parametrize("kind", [GRPO, SFT])
def test_gradient_does_not_depend_on_the_size_of_microbatches(kind, aggregation, monkeypatch):
    rows = with_sampling_logprobs(tiny_model(), varied())
    agent = kind(aggregation=aggregation)

    whole = gradient_of_one_update(agent, rows, monkeypatch, microbatch_tokens=10_000)
    single = gradient_of_one_update(agent, rows, monkeypatch, microbatch_tokens=1)

    assert whole
    for name, gradient in whole.items():
        # Log-probabilities are tables of the model's type, weights of float32: rounding at 1e-7.
        assert (gradient - single[name]).norm() <= 1e-6 * gradient.norm()


def test_a_few_sft_updates_make_demonstrations_likelier():
    learner = Learner(tiny_model(), SFT(), LearnerConfig(learning_rate=3e-3))
    rows = varied(role="demonstration")

    losses = [learner.update([rows])["loss_nll"] for _ in range(8)]

    assert losses[-1] < 0.5 * losses[0]
    assert losses == sorted(losses, reverse=True)


def test_metrics_of_an_on_policy_update_say_that_sampler_and_learner_agree():
    model = tiny_model()
    rows = with_sampling_logprobs(model, varied())
    learner = Learner(model, GRPO(), LearnerConfig())

    metrics = learner.update([rows[:3], rows[3:]])

    assert metrics["sampler_kl"] == pytest.approx(0, abs=1e-9)
    assert metrics["sampler_ratio_mean"] == pytest.approx(1, abs=1e-5)
    assert metrics["sampler_ratio_max"] == pytest.approx(1, abs=1e-5)
    assert metrics["num_action_tokens"] == sum(row.num_actions for row in rows)
    assert metrics["entropy"] == pytest.approx(
        -sum(float(s.sampling_logprobs.sum()) for row in rows for s in row.segments) / metrics["num_action_tokens"]
    )
    assert (metrics["num_optimizer_steps"], metrics["clip_share"], metrics["num_trajectories"]) == (1, 0, 6)
    assert metrics["learning_rate"] == pytest.approx(1e-6)
    assert all(isinstance(value, float) for value in metrics.values())


def test_learner_at_another_temperature_than_the_sampler_refuses_the_first_update():
    model = tiny_model()
    rows = with_sampling_logprobs(model, varied(), temperature=0.5)
    learner = Learner(model, GRPO(), LearnerConfig())

    with pytest.raises(LearnerError, match="sampler and learner disagree"):
        learner.update([rows])


def test_trajectories_sampled_at_another_temperature_are_refused():
    rows = varied(sampling=SamplingParams(temperature=0.5))

    with pytest.raises(ConfigError, match=r"sampled at temperature 0\.5, but the agent learns at 1\.0"):
        Learner(tiny_model(), GRPO(), LearnerConfig()).update([rows])


def test_nothing_to_learn_makes_no_step_though_momentum_would_move_the_weights():
    model = tiny_model()
    learner = Learner(model, GRPO(), LearnerConfig(learning_rate=0.1, weight_decay=0.1, max_sampling_gap=math.inf))
    learner.update([varied()])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    metrics = learner.update([varied(reward=lambda _: 0.1)])

    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert (metrics["num_optimizer_steps"], metrics["num_steps_without_gradient"]) == (0, 1)
    assert (metrics["grad_norm"], metrics["zero_variance_share"]) == (0, 1)


def test_invalid_trajectories_are_counted_and_change_nothing_else():
    def weights_after(rows):
        learner = Learner(tiny_model(), GRPO(), LearnerConfig(learning_rate=1e-3))
        metrics = learner.update([rows])
        return metrics, learner.policy.module.state_dict()

    failed = [dataclasses.replace(row, is_valid=False, reward=100.0) for row in varied()[:2]]
    metrics, weights = weights_after([failed[0], *varied(), failed[1]])
    expected_metrics, expected = weights_after(varied())

    assert (metrics["num_invalid"], expected_metrics["num_invalid"]) == (2, 0)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_update_with_nothing_valid_in_it_does_nothing():
    failed = [dataclasses.replace(row, is_valid=False) for row in varied()]

    metrics = Learner(tiny_model(), GRPO(), LearnerConfig()).update([failed])

    assert (metrics["num_invalid"], metrics["num_trajectories"], metrics["num_optimizer_steps"]) == (6, 0, 0)


def test_groups_are_what_the_caller_nested_not_what_their_ids_say():
    rows = [trajectory("1 .2", reward=float(index // 2)) for index in range(4)]  # all with group_id 0

    metrics = Learner(tiny_model(), GRPO(), LearnerConfig()).update([rows[:2], rows[2:]])

    assert metrics["zero_variance_share"] == 1


class Exploding(GRPO):
    def loss(self, outputs, batch):
        return {"policy": super().loss(outputs, batch)["policy"] * math.inf}


def test_gradient_that_is_not_finite_is_skipped_and_an_error_when_it_repeats():
    model = tiny_model()
    learner = Learner(model, Exploding(), LearnerConfig())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    metrics = [learner.update([varied()]) for _ in range(2)]

    assert [entry["num_non_finite_steps"] for entry in metrics] == [1, 1]
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    with pytest.raises(LearnerError, match="not finite in 3 steps in a row"):
        learner.update([varied()])


def test_old_logprobs_are_computed_only_where_a_batch_makes_several_steps():
    seen = []

    class Watching(GRPO):
        def loss(self, outputs, batch):
            seen.append(None if batch.old_logprobs_BA is None else outputs.logprobs_BA - batch.old_logprobs_BA)
            return super().loss(outputs, batch)

    Learner(tiny_model(), Watching(), LearnerConfig()).update([varied()])
    assert seen == [None]

    seen.clear()
    Learner(tiny_model(), Watching(epochs=3), LearnerConfig(learning_rate=1e-2)).update([varied()])
    gaps = [float(gap.detach().abs().max()) for gap in seen]
    assert gaps[0] < 1e-6 < gaps[1] < gaps[2]


class Entropic(GRPO):
    """Needs the exact entropy."""

    def __init__(self):
        super().__init__()
        self.needs |= {Need.ENTROPY}

    def loss(self, outputs, batch):
        return super().loss(outputs, batch) | {"entropy": -outputs.entropy_BA}


def test_exact_entropy_reaches_the_loss_and_the_metrics():
    metrics = Learner(tiny_model(), Entropic(), LearnerConfig()).update([varied()])

    assert metrics["entropy"] == pytest.approx(-metrics["loss_entropy"], rel=1e-5)
    assert 0 < metrics["entropy"] < math.log(VOCABULARY)
    assert metrics["loss"] == pytest.approx(metrics["loss_policy"] + metrics["loss_entropy"], abs=1e-6)


class BestOnly(GRPO):
    def select(self, groups):
        return [[max(group, key=lambda row: row.reward)] for group in groups]


def test_agent_selects_unless_the_trainer_did():
    learner = Learner(tiny_model(), BestOnly(), LearnerConfig())

    assert learner.update([varied()])["num_trajectories"] == 1
    assert learner.update([varied()], is_selected=True)["num_trajectories"] == 6


class PairLoss(SFT):
    """The first of each pair shall become likelier than the second."""

    data, unit = DataKind.PAIRS, Unit.PAIR

    def __init__(self):
        super().__init__(aggregation="pair mean")

    def loss(self, outputs, batch):
        assert torch.equal(batch.group_B[0::2], batch.group_B[1::2])
        chosen, rejected = outputs.logprobs_BA.sum(1)[0::2], outputs.logprobs_BA.sum(1)[1::2]
        pair = torch.nn.functional.softplus(rejected - chosen)
        return {"pair": torch.stack([pair, torch.zeros_like(pair)], dim=1).flatten()}


def test_pairs_are_never_split_and_their_losses_are_averaged():
    pairs = [[trajectory("1 .2 .3"), trajectory("1 .4")], [trajectory("2 .3 .4 .5 .6"), trajectory("2 .2 .2")]]

    losses = [
        Learner(tiny_model(), PairLoss(), LearnerConfig(microbatch_tokens=budget)).update(pairs)["loss_pair"]
        for budget in (1, 1000)
    ]

    table = Policy(tiny_model()).action_outputs([row for pair in pairs for row in pair], temperature=1.0).logprobs_BA
    sums = table.sum(1)
    expected = torch.nn.functional.softplus(sums[1::2] - sums[0::2]).mean().item()
    assert losses == pytest.approx([expected, expected], rel=1e-5)


def test_dividing_by_the_longest_trajectory_needs_its_length():
    with pytest.raises(ConfigError, match=r"learner\.max_actions is not set"):
        Learner(tiny_model(), GRPO(aggregation=Aggregation.CONSTANT))


def test_greedy_rollouts_are_learned_from_at_temperature_one():
    agent = GRPO()
    agent.rollout = RolloutSpec(group_size=2, sampling=SamplingParams(temperature=0))

    assert Learner(tiny_model(), agent).temperature == 1.0


def test_run_continued_from_a_checkpoint_goes_on_bit_for_bit(tmp_path):
    def learner_of(seed):
        kl = KLConfig(coef=0.1)
        config = LearnerConfig(learning_rate=1e-3, schedule="linear", total_steps=20, warmup_steps=3, kl=kl)
        return Learner(tiny_model(seed), GRPO(epochs=2, minibatches=2, scale_by_std=False), config)

    uninterrupted = learner_of(seed=0)
    uninterrupted.update([varied()])
    save_checkpoint(tmp_path / "checkpoint", uninterrupted.state_dict())
    resumed = learner_of(seed=1)
    resumed.load_state_dict(load_checkpoint(tmp_path / "checkpoint"))

    expected = [uninterrupted.update([varied()]) for _ in range(2)]
    found = [resumed.update([varied()]) for _ in range(2)]

    assert found == expected
    weights = resumed.policy.module.state_dict()
    assert all(torch.equal(weights[name], t) for name, t in uninterrupted.policy.module.state_dict().items())


def test_random_state_of_torch_is_part_of_the_state(tmp_path):
    learner = Learner(tiny_model(), SFT())
    save_checkpoint(tmp_path, learner.state_dict())
    expected = torch.rand(3)

    learner.load_state_dict(load_checkpoint(tmp_path))

    assert torch.equal(torch.rand(3), expected)


def test_state_of_another_model_is_refused():
    state = Learner(tiny_model(tie_word_embeddings=True), SFT()).state_dict()
    state["model"].pop("model.norm.weight")

    with pytest.raises(CheckpointError, match="not of this learner's model"):
        Learner(tiny_model(), SFT()).load_state_dict(state)
