import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmgym.errors import ShapeError
from llmgym.learning.advantages import (
    discounted_returns,
    gae_advantages,
    group_advantages,
    leave_one_out_advantages,
)
from llmgym.learning.masking import masked_mean, masked_sum, masked_whiten, spread

unit = st.floats(0, 1, width=32)
reward = st.floats(-10, 10)
grouped_rewards = st.lists(st.tuples(reward, st.integers(0, 3)), max_size=16)


def tensors_of(pairs):
    rewards = torch.tensor([r for r, _ in pairs], dtype=torch.float64)
    return rewards, torch.tensor([g for _, g in pairs], dtype=torch.int64)


def others_of(pairs, group):
    return [r for r, g in pairs if g == group]


@given(grouped_rewards)
def test_group_advantages_equal_their_definition(pairs):
    advantages = group_advantages(*tensors_of(pairs), scale_by_std=False).tolist()

    expected = [r - statistics.fmean(others_of(pairs, g)) for r, g in pairs]
    assert advantages == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.tuples(st.integers(-5, 5).map(float), st.integers(0, 3)), max_size=16))
def test_scaled_group_advantages_equal_their_definition(pairs):
    advantages = group_advantages(*tensors_of(pairs), scale_by_std=True).tolist()

    def by_definition(r, group):
        return (r - statistics.mean(group)) / statistics.stdev(group) if len(set(group)) > 1 else 0.0

    assert advantages == pytest.approx([by_definition(r, others_of(pairs, g)) for r, g in pairs])


@given(grouped_rewards)
def test_leave_one_out_advantages_equal_their_definition(pairs):
    advantages = leave_one_out_advantages(*tensors_of(pairs)).tolist()

    def by_definition(index, r, g):
        others = [other for j, (other, h) in enumerate(pairs) if h == g and j != index]
        return r - statistics.fmean(others) if others else 0.0

    expected = [by_definition(index, r, g) for index, (r, g) in enumerate(pairs)]
    assert advantages == pytest.approx(expected, abs=1e-9)


@given(grouped_rewards, st.booleans())
def test_group_advantages_sum_to_zero_in_each_group(pairs, scale):
    rewards, groups = tensors_of(pairs)

    advantages = group_advantages(rewards, groups, scale_by_std=scale)

    for group in groups.unique():
        assert float(advantages[groups == group].sum()) == pytest.approx(0, abs=1e-9)


@given(reward, st.integers(1, 12), st.booleans())
def test_equal_rewards_give_advantages_of_exactly_zero(value, size, scale):
    rewards, groups = torch.full((size,), value, dtype=torch.float64), torch.zeros(size, dtype=torch.int64)

    assert group_advantages(rewards, groups, scale_by_std=scale).tolist() == [0.0] * size
    assert leave_one_out_advantages(rewards, groups).tolist() == [0.0] * size


@pytest.mark.parametrize("scale", [1e-300, 1e-9, 1.0, 1e150])
def test_scaled_advantages_do_not_depend_on_the_unit_of_the_reward(scale):
    rewards, groups = torch.tensor([0.0, 1.0, 1.0, 3.0], dtype=torch.float64), torch.zeros(4, dtype=torch.int64)

    advantages = group_advantages(rewards * scale, groups, scale_by_std=True)

    expected = group_advantages(rewards, groups, scale_by_std=True)
    assert advantages.tolist() == pytest.approx(expected.tolist())


def test_one_odd_reward_among_equal_ones_stays_bounded():
    rewards = torch.tensor([0.35] * 7 + [0.0], dtype=torch.float64)

    advantages = group_advantages(rewards, torch.zeros(8, dtype=torch.int64), scale_by_std=True)

    assert advantages[-1].item() == pytest.approx(-7 / math.sqrt(8))


def gae_by_definition(rewards, values, bootstrap, gamma, lam):
    next_values = [*values, bootstrap][1:]
    deltas = [r + gamma * vn - v for r, v, vn in zip(rewards, values, next_values, strict=True)]
    return [sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, len(deltas))) for t in range(len(deltas))]


def row_of(numbers, padding):
    return torch.tensor([[*numbers, *[9.9] * padding]], dtype=torch.float64)


def mask_of(length, padding):
    return torch.tensor([[True] * length + [False] * padding], dtype=torch.bool)


@given(st.lists(st.tuples(unit, unit)), unit, unit, unit, st.integers(0, 5))
def test_gae_equals_its_definition_whatever_the_padding(steps, bootstrap, gamma, lam, padding):
    rewards, values = [r for r, _ in steps], [v for _, v in steps]

    advantages = gae_advantages(
        row_of(rewards, padding),
        row_of(values, padding),
        torch.tensor([bootstrap], dtype=torch.float64),
        mask_of(len(steps), padding),
        gamma=gamma,
        lam=lam,
    )[0].tolist()

    assert advantages[: len(steps)] == pytest.approx(gae_by_definition(rewards, values, bootstrap, gamma, lam))
    assert advantages[len(steps) :] == [0.0] * padding


@given(st.lists(unit), unit, st.integers(0, 5))
def test_discounted_returns_equal_their_definition_whatever_the_padding(rewards, gamma, padding):
    returns = discounted_returns(row_of(rewards, padding), mask_of(len(rewards), padding), gamma=gamma)[0].tolist()

    expected = [sum(gamma ** (k - t) * rewards[k] for k in range(t, len(rewards))) for t in range(len(rewards))]
    assert returns[: len(rewards)] == pytest.approx(expected)
    assert returns[len(rewards) :] == [0.0] * padding


def test_inputs_that_disagree_in_shape_are_refused():
    table, mask = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    with pytest.raises(ShapeError, match="Pass three"):
        gae_advantages(table, table, torch.zeros(3), mask, gamma=1, lam=1)
    with pytest.raises(ShapeError, match="Pass two"):
        discounted_returns(table, mask[:, :2], gamma=1)
    with pytest.raises(ShapeError, match="one reward and one group number"):
        group_advantages(torch.zeros(2), torch.zeros(3), scale_by_std=False)


@given(st.lists(st.tuples(reward, st.booleans()), max_size=12))
def test_masked_sum_and_mean_equal_those_of_the_true_entries(entries):
    values = torch.tensor([v if m else math.nan for v, m in entries], dtype=torch.float64)
    mask = torch.tensor([m for _, m in entries], dtype=torch.bool)

    kept = [v for v, m in entries if m]
    assert float(masked_sum(values, mask)) == pytest.approx(math.fsum(kept), abs=1e-9)
    assert float(masked_mean(values, mask)) == pytest.approx(statistics.fmean(kept) if kept else 0.0, abs=1e-9)


def test_mean_of_a_row_with_nothing_in_it_is_zero():
    mask = torch.tensor([[True, True], [False, False]])

    assert masked_mean(torch.tensor([[1.0, 2.0], [5.0, 5.0]]), mask, dim=1).tolist() == [1.5, 0.0]


@given(st.lists(st.integers(-9, 9).map(float), min_size=2, max_size=12), st.integers(0, 4))
def test_without_the_shift_entries_are_only_scaled(numbers, padding):
    row, mask = row_of(numbers, padding), mask_of(len(numbers), padding)

    scaled = masked_whiten(row, mask, eps=0.0, shift=False)[0].tolist()

    spread_of = statistics.stdev(numbers) if len(set(numbers)) > 1 else math.inf
    assert scaled == pytest.approx([*(number / spread_of for number in numbers), *[0.0] * padding])


@given(st.lists(st.integers(-9, 9).map(float), min_size=2, max_size=12), st.integers(0, 4))
def test_whitened_entries_have_mean_zero_and_variance_one_whatever_the_padding(numbers, padding):
    white = masked_whiten(row_of(numbers, padding), mask_of(len(numbers), padding), eps=0.0)[0].tolist()

    assert white[len(numbers) :] == [0.0] * padding
    if len(set(numbers)) == 1:
        assert white == [0.0] * len(white)
    else:
        assert statistics.fmean(white[: len(numbers)]) == pytest.approx(0, abs=1e-9)
        assert statistics.stdev(white[: len(numbers)]) == pytest.approx(1)


def test_spread_puts_a_trajectorys_value_on_its_tokens_and_nowhere_else():
    mask = torch.tensor([[True, True], [True, False], [False, False]])

    assert spread(torch.tensor([1.0, 2.0, math.nan]), mask).tolist() == [[1.0, 1.0], [2.0, 0.0], [0.0, 0.0]]
