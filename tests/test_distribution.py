"""The distribution that tokens are drawn from, against its definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmgym.sampling.distribution import draw, processed_logits


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
    drawn = int(draw(torch.tensor([logits]), torch.tensor([1.0]), torch.tensor([uniform], dtype=torch.float64)))

    mass = torch.tensor(logits).double().softmax(-1).cumsum(-1)
    before = float(mass[drawn - 1]) if drawn else 0.0
    assert before - 1e-6 <= uniform * float(mass[-1]) <= float(mass[drawn]) + 1e-6


def test_draws_follow_the_distribution() -> None:
    logits = torch.tensor([[0.0, 1.0, -torch.inf, 2.0]]).expand(20_000, 4)
    uniform = torch.from_numpy(np.random.default_rng(0).random(20_000))

    counts = torch.bincount(draw(logits, torch.ones(20_000), uniform), minlength=4)

    assert counts[2] == 0
    assert (counts / 20_000).tolist() == pytest.approx(logits[0].softmax(-1).tolist(), abs=0.015)
