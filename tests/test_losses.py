import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmgym.learning.losses import (
    clipped_policy_loss,
    clipped_sequence_loss,
    clipped_value_loss,
    is_clipped,
    is_sequence_clipped,
    is_value_clipped,
    is_weight_cut,
    kl_k1,
    kl_k2,
    kl_k3,
    negative_log_likelihood,
    policy_gradient_loss,
    sequence_log_ratio,
    weighted_policy_gradient_loss,
)

logprob = st.floats(-5, 0)
advantage = st.floats(-3, 3)
tokens = st.lists(st.tuples(logprob, logprob, advantage), min_size=1, max_size=6)
dual_clips = st.one_of(st.just(math.inf), st.floats(3.1, 5))
clips = st.tuples(st.floats(0, 1), st.floats(0, 2))


def row(numbers, padding=0):
    return torch.tensor([[*numbers, *[math.nan] * padding]], dtype=torch.float64)


def mask_of(length, padding=0):
    return torch.tensor([[True] * length + [False] * padding])


def columns_of(entries, padding=0):
    new, old, advantages = zip(*entries, strict=True)
    return row(new, padding).requires_grad_(), row(old, padding), row(advantages, padding)


@given(tokens, clips, dual_clips, st.integers(0, 3))
def test_clipped_loss_equals_its_definition_whatever_the_padding(entries, clip, dual_clip, padding):
    low, high = clip
    new, old, advantages = columns_of(entries, padding)

    loss = clipped_policy_loss(
        new, old, advantages, mask_of(len(entries), padding), clip_low=low, clip_high=high, dual_clip=dual_clip
    )

    def by_definition(l_new, l_old, a):
        r = math.exp(l_new - l_old)
        objective = min(r * a, min(max(r, 1 - low), 1 + high) * a)
        return -max(objective, dual_clip * a) if a < 0 else -objective

    expected = [by_definition(*entry) for entry in entries]
    assert loss[0].tolist() == pytest.approx([*expected, *[0.0] * padding])


@given(tokens, clips, dual_clips)
def test_clipped_tokens_are_those_without_a_gradient(entries, clip, dual_clip):
    new, old, advantages = columns_of(entries)
    mask = mask_of(len(entries))
    options = {"clip_low": clip[0], "clip_high": clip[1], "dual_clip": dual_clip}
    ratio = (new - old).exp().detach()
    at_the_edge = sum((ratio - edge).abs() < 1e-9 for edge in (1 - clip[0], 1 + clip[1], dual_clip)) > 0

    clipped_policy_loss(new, old, advantages, mask, **options).sum().backward()

    clipped = is_clipped(new, old, advantages, mask, **options)
    has_gradient = new.grad != 0
    assert bool(((clipped == ~has_gradient) | at_the_edge | (advantages.abs() < 1e-9)).all())


@given(tokens)
def test_at_ratio_one_the_clipped_gradient_is_the_plain_policy_gradient(entries):
    new, _, advantages = columns_of(entries)
    mask = mask_of(len(entries))

    loss = clipped_policy_loss(new, None, advantages, mask, clip_low=0.2, clip_high=0.2, dual_clip=math.inf)

    (clipped,) = torch.autograd.grad(loss.sum(), new)
    (plain,) = torch.autograd.grad(policy_gradient_loss(new, advantages, mask).sum(), new)
    assert torch.allclose(clipped, plain)
    assert torch.allclose(loss, -advantages)


# One ratio for a trajectory


@given(tokens, advantage, clips, dual_clips, st.integers(0, 3))
def test_sequence_loss_equals_its_definition_whatever_the_padding(entries, a, clip, dual_clip, padding):
    new, old, _ = columns_of(entries, padding)
    mask, advantage_B = mask_of(len(entries), padding), torch.tensor([a], dtype=torch.float64)
    options = {"clip_low": clip[0], "clip_high": clip[1], "dual_clip": dual_clip}

    loss = clipped_sequence_loss(new, old, advantage_B, mask, **options)

    ratio = math.prod(math.exp(l_new - l_old) for l_new, l_old, _ in entries) ** (1 / len(entries))
    objective = min(ratio * a, min(max(ratio, 1 - clip[0]), 1 + clip[1]) * a)
    assert loss.tolist() == pytest.approx([-max(objective, dual_clip * a) if a < 0 else -objective], abs=1e-9)
    assert sequence_log_ratio(new, old, mask).exp().tolist() == pytest.approx([ratio])


@given(tokens, advantage, clips, dual_clips)
def test_trajectories_clipped_as_a_whole_are_those_without_a_gradient(entries, a, clip, dual_clip):
    new, old, _ = columns_of(entries)
    mask, advantage_B = mask_of(len(entries)), torch.tensor([a], dtype=torch.float64)
    options = {"clip_low": clip[0], "clip_high": clip[1], "dual_clip": dual_clip}
    ratio = sequence_log_ratio(new, old, mask).exp().detach()
    is_at_an_edge = any(abs(ratio - edge) < 1e-9 for edge in (1 - clip[0], 1 + clip[1], dual_clip))

    clipped_sequence_loss(new, old, advantage_B, mask, **options).sum().backward()

    has_gradient = bool((new.grad != 0).all())
    is_clipped_B = is_sequence_clipped(new, old, advantage_B, mask, **options)
    assert is_at_an_edge or abs(a) < 1e-9 or is_clipped_B.tolist() == [[not has_gradient] * len(entries)]


@given(tokens, advantage)
def test_sequence_loss_has_the_gradient_of_its_token_form_where_tokens_share_an_advantage(entries, a):
    new, old, _ = columns_of(entries)
    mask, advantage_B = mask_of(len(entries)), torch.tensor([a], dtype=torch.float64)
    options = {"clip_low": 0.3, "clip_high": 0.4, "dual_clip": math.inf}

    (whole,) = torch.autograd.grad(clipped_sequence_loss(new, old, advantage_B, mask, **options).sum(), new)

    s = sequence_log_ratio(new, old, mask).exp().detach() * (new - new.detach()).exp()
    token_form = -torch.minimum(s * a, s.clamp(0.7, 1.4) * a).mean()
    assert torch.allclose(whole, torch.autograd.grad(token_form, new)[0])


def test_a_trajectory_without_a_token_has_no_loss_and_no_nan():
    new = torch.zeros(1, 2, requires_grad=True)
    options = {"clip_low": 0.2, "clip_high": 0.2, "dual_clip": math.inf}

    loss = clipped_sequence_loss(new, None, torch.ones(1), torch.zeros(1, 2, dtype=torch.bool), **options)
    loss.sum().backward()

    assert (loss.tolist(), new.grad.tolist()) == ([0.0], [[0.0, 0.0]])


# The ratio as a weight


@given(tokens, st.floats(1, 6), st.integers(0, 3))
def test_weighted_policy_gradient_equals_its_definition_whatever_the_padding(entries, max_ratio, padding):
    new, old, advantages = columns_of(entries, padding)
    mask = mask_of(len(entries), padding)

    loss = weighted_policy_gradient_loss(new, old, advantages, mask, max_ratio=max_ratio)
    loss.sum().backward()

    weights = [min(math.exp(l_new - l_old), max_ratio) for l_new, l_old, _ in entries]
    expected = [-w * a * l_new for w, (l_new, _, a) in zip(weights, entries, strict=True)]
    gradient = [-w * a for w, (_, _, a) in zip(weights, entries, strict=True)]
    assert loss[0].tolist() == pytest.approx([*expected, *[0.0] * padding])
    assert new.grad[0].tolist() == pytest.approx([*gradient, *[0.0] * padding])


def test_a_token_far_out_of_the_trust_region_keeps_a_gradient_where_its_ratio_is_a_weight():
    new, old, advantages = columns_of([(-0.1, -4.0, 1.0), (-4.0, -0.1, -1.0), (-1.0, -1.0, 1.0)])
    options = {"clip_low": 0.2, "clip_high": 0.2, "dual_clip": math.inf}

    (clipped,) = torch.autograd.grad(clipped_policy_loss(new, old, advantages, mask_of(3), **options).sum(), new)
    weighted = weighted_policy_gradient_loss(new, old, advantages, mask_of(3), max_ratio=5.0)
    (kept,) = torch.autograd.grad(weighted.sum(), new)

    assert clipped.tolist() == [[0.0, 0.0, -1.0]]
    assert kept.tolist() == [[-5.0, pytest.approx(math.exp(-3.9)), -1.0]]
    assert is_weight_cut(new, old, mask_of(3), max_ratio=5.0).tolist() == [[True, False, False]]


def test_padding_that_is_not_a_number_gets_gradient_zero():
    new, old, advantages = columns_of([(-1.0, -1.1, 2.0)], padding=2)
    mask = mask_of(1, padding=2)

    losses = [
        clipped_policy_loss(new, old, advantages, mask, clip_low=0.2, clip_high=0.2, dual_clip=3.0),
        clipped_sequence_loss(new, old, torch.ones(1), mask, clip_low=0.2, clip_high=0.2, dual_clip=3.0),
        policy_gradient_loss(new, advantages, mask),
        weighted_policy_gradient_loss(new, old, advantages, mask, max_ratio=5.0),
        negative_log_likelihood(new, mask),
        kl_k3(new, old, mask),
        clipped_value_loss(new, old, advantages, mask, clip=0.2),
    ]
    (gradient,) = torch.autograd.grad(sum(loss.sum() for loss in losses), new)

    assert gradient[0, 1:].tolist() == [0.0, 0.0]
    assert math.isfinite(gradient[0, 0])


@given(tokens, st.one_of(st.floats(0.01, 2), st.just(math.inf)), st.integers(0, 3))
def test_value_loss_equals_its_definition_whatever_the_padding(entries, clip, padding):
    new, old, returns = columns_of(entries, padding)

    loss = clipped_value_loss(new, old, returns, mask_of(len(entries), padding), clip=clip)

    def by_definition(v, v_old, r):
        clipped = min(max(v, v_old - clip), v_old + clip)
        return 0.5 * max((v - r) ** 2, (clipped - r) ** 2)

    expected = [by_definition(*entry) for entry in entries]
    assert loss[0].tolist() == pytest.approx([*expected, *[0.0] * padding])


def test_value_that_ran_past_its_clip_towards_the_return_gets_no_gradient_but_one_that_ran_away_does():
    values, old = row([0.9, -0.9]).requires_grad_(), row([0.0, 0.0])

    clipped_value_loss(values, old, row([1.0, 1.0]), mask_of(2), clip=0.5).sum().backward()

    assert values.grad.tolist() == [[0.0, pytest.approx(-1.9)]]


def test_value_clip_is_in_the_unit_of_the_returns():
    values, old, mask = row([90.0, 0.9, 0.4], 1), row([0.0, 0.0, 0.0], 1), mask_of(3, 1)

    assert is_value_clipped(values, old, mask, clip=0.5).tolist() == [[True, True, False, False]]
    assert is_value_clipped(values, old, mask, clip=50.0).tolist() == [[True, False, False, False]]


@given(st.lists(st.floats(0.05, 1), min_size=2, max_size=6), st.lists(st.floats(0.05, 1), min_size=6, max_size=6))
def test_k1_and_k3_are_unbiased_and_the_gradients_of_the_three_are_what_they_are_said_to_be(masses, other_masses):
    logits = torch.tensor(masses, dtype=torch.float64).log().requires_grad_()
    log_q = torch.tensor(other_masses[: len(masses)], dtype=torch.float64).log().log_softmax(-1)
    log_p = logits.log_softmax(-1)
    mask = torch.ones_like(log_q, dtype=torch.bool)
    kl = (log_p.exp() * (log_p - log_q)).sum()

    def expectation(values):
        return (log_p.exp().detach() * values).sum()

    assert expectation(kl_k1(log_p, log_q, mask)).item() == pytest.approx(kl.item(), abs=1e-9)
    assert expectation(kl_k3(log_p, log_q, mask)).item() == pytest.approx(kl.item(), abs=1e-9)
    (gradient_k2,) = torch.autograd.grad(expectation(kl_k2(log_p, log_q, mask)), logits, retain_graph=True)
    (gradient_k1,) = torch.autograd.grad(expectation(kl_k1(log_p, log_q, mask)), logits, retain_graph=True)
    (gradient_k3,) = torch.autograd.grad(expectation(kl_k3(log_p, log_q, mask)), logits, retain_graph=True)
    (gradient_reverse,) = torch.autograd.grad((log_q.exp() * (log_q - log_p)).sum(), logits, retain_graph=True)
    (gradient_kl,) = torch.autograd.grad(kl, logits)
    assert torch.allclose(gradient_k3, gradient_reverse, atol=1e-9)
    assert torch.allclose(gradient_k2, gradient_kl, atol=1e-9)
    assert torch.allclose(gradient_k1, torch.zeros_like(gradient_k1), atol=1e-9)


@given(logprob, logprob)
def test_k2_and_k3_are_never_negative(new, ref):
    assert kl_k2(row([new]), row([ref]), mask_of(1)).item() >= 0
    assert kl_k3(row([new]), row([ref]), mask_of(1)).item() >= 0


def test_negative_log_likelihood_is_minus_the_log_probability_of_real_tokens():
    assert negative_log_likelihood(row([-0.5, -2.0], 1), mask_of(2, 1)).tolist() == [[0.5, 2.0, 0.0]]
