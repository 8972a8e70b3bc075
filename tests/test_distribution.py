"""The distribution that tokens are drawn from, against its definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgym.sampling import SamplingParams
from llmgym.sampling.distribution import draw, processed_logits
from llmgym.sampling.next_token import next_tokens


def kept_by_definition(logits: list[float], top_k: int, top_p: float) -> set[int]:
    order = sorted(range(len(logits)), key=lambda token: -logits[token])
    order = order[:top_k] if top_k else order
    weights = np.exp(np.array([logits[token] for token in order], dtype=np.float64))
    weights /= weights.sum()
    kept, mass = set(), 0.0
    for token, weight in zip(order, weights, strict=True):
        if kept and mass >= top_p:
            break
        kept.add(token)
        mass += weight
    return kept


@settings(deadline=None)
@given(
    logits=st.lists(st.integers(-40, 40), min_size=2, max_size=12, unique=True),
    top_k=st.integers(0, 12),
    top_p=st.floats(0.05, 0.99),
)
def test_top_k_and_top_p_keep_what_their_definitions_keep(logits: list[int], top_k: int, top_p: float) -> None:
    values = [value / 10 for value in logits]

    processed = processed_logits(
        torch.tensor([values]), torch.tensor([1.0]), torch.tensor([top_k]), torch.tensor([top_p])
    )

    assert set(processed[0].isfinite().nonzero()[:, 0].tolist()) == kept_by_definition(values, top_k, top_p)


@settings(deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=10), st.floats(0, 1, exclude_max=True))
def test_a_draw_inverts_the_cumulative_distribution(logits: list[float], uniform: float) -> None:
    token, logprob = draw(torch.tensor([logits]), None, torch.tensor([uniform], dtype=torch.float64))
    drawn = int(token)

    mass = torch.tensor(logits).double().softmax(-1).cumsum(-1)
    before = float(mass[drawn - 1]) if drawn else 0.0
    assert before - 1e-6 <= uniform * float(mass[-1]) <= float(mass[drawn]) + 1e-6
    assert float(logprob) == pytest.approx(float(torch.tensor(logits).log_softmax(-1)[drawn]), abs=1e-6)


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([[0.0, 1.0, -torch.inf, 2.0]]).expand(20_000, 4)
    uniform = torch.from_numpy(np.random.default_rng(0).random(20_000))

    counts = torch.bincount(draw(logits, None, uniform)[0], minlength=4)

    assert counts[2] == 0
    assert (counts / 20_000).tolist() == pytest.approx(logits[0].softmax(-1).tolist(), abs=0.015)


@settings(deadline=None, max_examples=30)
@given(
    logits=st.lists(st.floats(-3, 3), min_size=4, max_size=8),
    temperature=st.sampled_from([0.0, 0.5, 1.0, 1.7]),
    top_k=st.integers(0, 4),
    top_p=st.sampled_from([0.3, 0.8, 1.0]),
    num_tokens=st.sampled_from([3, None]),
)
def test_frequencies_and_logprobs_are_those_of_the_processed_distribution(
    logits: list[float], temperature: float, top_k: int, top_p: float, num_tokens: int | None
) -> None:
    num_draws = 2_000
    params = SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p)
    uniforms = ((np.arange(num_draws) + 0.5) / num_draws).tolist()

    tokens, logprobs, kept = next_tokens(
        torch.tensor([logits] * num_draws), [params] * num_draws, uniforms, num_tokens=num_tokens
    )

    expected = distribution_by_definition(logits[:num_tokens], temperature, top_k, top_p)
    reported = np.array([expected[token] for token in tokens])
    assert np.exp(logprobs) == pytest.approx(reported, abs=1e-6)
    if temperature == 0:
        assert {*tokens} == {int(np.argmax(np.float32(logits[:num_tokens])))}
    else:  # evenly spread numbers meet each token in proportion, up to one draw at either end of its interval
        counts = np.bincount(tokens, minlength=len(expected))
        assert counts / num_draws == pytest.approx(expected, abs=2 / num_draws)
    if kept is not None:
        assert all(set(ids) == set(np.flatnonzero(expected)) for ids in kept)


def distribution_by_definition(logits: list[float], temperature: float, top_k: int, top_p: float) -> np.ndarray:
    scaled = [float(np.float32(value)) / (temperature or 1) for value in logits]
    kept = kept_by_definition(scaled, top_k, top_p)
    weights = np.array([np.exp(value) if token in kept else 0.0 for token, value in enumerate(scaled)])
    return weights / weights.sum()


def test_rows_with_parameters_of_their_own_do_not_disturb_each_other() -> None:
    logits, uniforms = torch.randn(4, 30, generator=torch.Generator().manual_seed(0)), [0.1, 0.5, 0.9, 0.7]
    each = [SamplingParams(), SamplingParams(temperature=0), SamplingParams(top_k=3), SamplingParams(temperature=0.4)]

    together = next_tokens(logits.clone(), each, uniforms, num_tokens=None)

    for row, params in enumerate(each):
        alone = next_tokens(logits[row : row + 1].clone(), [params], uniforms[row : row + 1], num_tokens=None)
        assert (together[0][row], together[1][row]) == (alone[0][0], pytest.approx(alone[1][0]))
