"""Log-probabilities over what top-p and top-k kept, against log_softmax with the rest masked."""

import asyncio
import itertools

import numpy as np
import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llmgym.agents.grpo import GRPO
from llmgym.agents.ppo import PPO
from support.models import tiny_model

from llmgym.episode import Segment, StopReason, Trajectory, TurnRecord
from llmgym.errors import ConfigError, DataError
from llmgym.learning import ActionBatch, Learner, LearnerConfig, Policy
from llmgym.learning import kept_logprobs as module
from llmgym.learning.kept_logprobs import KeptSets, kept_logprobs, kept_sets
from llmgym.messages import AssistantMessage
from llmgym.sampling import KeptTokens, SamplingParams
from llmgym.sampling.head import PLAIN, LogitScaling
from llmgym.sampling.torch_sampler import TorchSampler
from llmgym.scoring import Score

SCALINGS = [PLAIN, LogitScaling(cap=1.5), LogitScaling(multiplier=0.5, divisor=2.0)]


def by_definition(head, states, targets, kept, *, temperature, scaling=PLAIN):
    logits = scaling(head(states)) / temperature
    is_kept = torch.zeros_like(logits, dtype=torch.bool)
    is_kept[kept.rows_K, kept.ids_K] = True
    log_p = torch.log_softmax(logits.masked_fill(~is_kept, -torch.inf), dim=-1)
    finite = log_p.masked_fill(~is_kept, 0.0)
    return log_p[torch.arange(len(targets)), targets], -(finite.exp() * finite).sum(dim=-1)


def problem(sizes, *, vocabulary=12, bias=False, seed=0):
    """A head, states, and for each token a set of the size asked for, with the token itself in it."""
    generator = torch.Generator().manual_seed(seed)
    head = torch.nn.Linear(5, vocabulary, bias=bias, dtype=torch.float64)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    states = torch.randn(len(sizes), 5, generator=generator, dtype=torch.float64).requires_grad_()
    sets = [torch.randperm(vocabulary, generator=generator)[:size] for size in sizes]
    targets = torch.stack([ids[int(torch.randint(len(ids), (), generator=generator))] for ids in sets])
    return (
        head,
        states,
        targets,
        KeptSets(torch.cat(sets), torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))),
    )


def gradients(outputs, *inputs):
    weights = [torch.linspace(-1, 2, len(output), dtype=torch.float64) for output in outputs]
    return torch.autograd.grad(sum((o * w).sum() for o, w in zip(outputs, weights, strict=True)), inputs)


@pytest.fixture(params=[1, 64, 2**20], ids=["one pair at a time", "few pairs", "all at once"])
def pairs_at_once(request, monkeypatch):
    monkeypatch.setattr(module, "_GATHERED_BYTES", 4 * request.param)
    monkeypatch.setattr(module, "_ROWS_BYTES", 4 * request.param)


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    temperature=st.floats(0.2, 3),
    bias=st.booleans(),
    scaling=st.sampled_from(SCALINGS),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_they_are_log_softmax_with_everything_else_masked(sizes, temperature, bias, scaling, seed):
    head, states, targets, kept = problem(sizes, bias=bias, seed=seed)
    options = {"temperature": temperature, "scaling": scaling}

    outputs = kept_logprobs(head, states, targets, kept, with_entropy=True, **options)

    expected = by_definition(head, states, targets, kept, **options)
    inputs = [states, *head.parameters()]
    for got, wanted in zip(
        [*outputs, *gradients(outputs, *inputs)], [*expected, *gradients(expected, *inputs)], strict=True
    ):
        assert torch.allclose(got, wanted, atol=1e-9)


@pytest.mark.parametrize("is_linear", [True, False])
def test_they_do_not_depend_on_how_many_are_worked_on_at_once(pairs_at_once, is_linear):
    head, states, targets, kept = problem([3, 1, 12, 2, 5])
    called = head if is_linear else torch.nn.Sequential(torch.nn.Identity(), head)
    if not is_linear:
        called.weight = head.weight

    outputs = kept_logprobs(called, states, targets, kept, temperature=0.7, with_entropy=True)

    expected = by_definition(head, states, targets, kept, temperature=0.7)
    inputs = [states, head.weight]
    for got, wanted in zip(
        [*outputs, *gradients(outputs, *inputs)], [*expected, *gradients(expected, *inputs)], strict=True
    ):
        assert torch.allclose(got, wanted, atol=1e-9)


def test_of_logits_without_a_head_they_are_the_same():
    head, states, targets, kept = problem([2, 4])

    of_logits = kept_logprobs(None, head(states), targets, kept, temperature=0.5)[0]

    assert torch.allclose(of_logits, kept_logprobs(head, states, targets, kept, temperature=0.5)[0])


def test_an_adapter_on_the_head_counts_and_learns():
    base = torch.nn.Sequential(torch.nn.Linear(5, 12, bias=False))
    adapted = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["0"])).base_model.model[0]
    with torch.no_grad():
        adapted.lora_B["default"].weight.normal_()
    _, states, targets, kept = problem([3, 12, 1])
    states = states.detach().float()

    outputs = kept_logprobs(adapted, states, targets, kept, temperature=1.0, with_entropy=True)

    expected = by_definition(adapted, states, targets, kept, temperature=1.0)
    inputs = [adapted.lora_A["default"].weight, adapted.lora_B["default"].weight]
    for got, wanted in zip(gradients(outputs, *inputs), gradients(expected, *inputs), strict=True):
        assert torch.allclose(got, wanted, atol=1e-5)


def test_a_set_without_its_token_or_of_another_vocabulary_is_refused():
    head, states, targets, kept = problem([1, 1])

    with pytest.raises(DataError, match="1 sampled tokens are not in the sets"):
        kept_logprobs(head, states, torch.stack([targets[0], (targets[1] + 1) % 12]), kept, temperature=1.0)
    with pytest.raises(DataError, match="holds the id 12"):
        kept_logprobs(head, states, targets, KeptSets(torch.tensor([12, 12]), kept.rows_K), temperature=1.0)


def sampled(model, params, *, num=6):
    """Trajectories of the torch sampler, two turns each in one segment, as an episode keeps them."""

    async def episode(sampler, seed):
        async with sampler.session(seed=seed) as session:
            first = await session.sample([5, 6], params)
            second = await session.sample([5, 6, *first.token_ids, 7], params)
        return first, second

    async def all_episodes():
        sampler = TorchSampler(model, max_batch=num)
        return await asyncio.gather(*(episode(sampler, seed) for seed in range(num)))

    rows = []
    for index, turns in enumerate(asyncio.run(all_episodes())):
        pieces = [([5, 6], None), (None, turns[0]), ([7], None), (None, turns[1])]
        ids, mask, logprobs, kept = [], [], [], []
        for given_ids, turn in pieces:
            new = given_ids if turn is None else turn.token_ids
            ids += new
            mask += [turn is not None] * len(new)
            logprobs += [0.0] * len(new) if turn is None else turn.logprobs.tolist()
            kept += [] if turn is None or turn.kept_tokens is None else turn.kept_tokens.rows()
        arrays = np.array(ids, np.int32), np.array(mask), np.array(logprobs, np.float32)
        segment = Segment(*arrays, kept_tokens=KeptTokens.from_rows(kept))
        starts = [i for i, (a, b) in enumerate(itertools.pairwise([False, *mask])) if b and not a]
        stops = [start + len(turn.token_ids) for start, turn in zip(starts, turns, strict=True)]
        rows.append(
            Trajectory(
                segments=(segment,),
                turns=tuple(
                    TurnRecord(0, *span, AssistantMessage(""), Score(reward=float(index % 2 == turn)))
                    for turn, span in enumerate(zip(starts, stops, strict=True))
                ),
                reward=1.0 + index % 3,
                terminated=True,
                truncated=False,
                stop_reason=StopReason.ANSWERED,
                sampling=params,
                metadata={},
            )
        )
    return rows


CUTS = [{"top_p": 0.7}, {"top_k": 4}, {"top_p": 0.8, "top_k": 9, "temperature": 0.6}]


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_the_learner_agrees_with_what_the_sampler_said_of_a_cut_distribution(cut):
    model = tiny_model()
    rows = sampled(model, SamplingParams(max_new_tokens=5, **cut))

    outputs = Policy(model).action_outputs(rows, temperature=cut.get("temperature", 1.0), with_entropy=True)

    batch = ActionBatch.from_trajectories(rows)
    assert torch.allclose(outputs.logprobs_BA, batch.sampling_logprobs_BA, atol=1e-5)
    whole = kept_sets(rows)
    assert bool((outputs.entropy_BA[batch.mask_BA] <= torch.bincount(whole[1].rows_K).log() + 1e-5).all())


@pytest.mark.parametrize("make", [GRPO, PPO])
def test_the_first_update_of_an_agent_that_cuts_has_ratio_one(make):
    model = tiny_model()
    agent = make(group_size=3, top_p=0.7, temperature=0.8)
    rows = sampled(model, SamplingParams(max_new_tokens=5, top_p=0.7, temperature=0.8))

    metrics = Learner(model, agent, LearnerConfig(learning_rate=1e-3)).update([rows[:3], rows[3:]])

    assert metrics["sampler_ratio_mean"] == pytest.approx(1, abs=1e-5)
    assert metrics["max_logprob_gap"] < 1e-5
    assert metrics["grad_norm"] > 0


def test_tokens_with_and_without_a_set_may_be_in_one_batch():
    model = tiny_model()
    cut = sampled(model, SamplingParams(max_new_tokens=5, top_k=3), num=2)
    whole = sampled(model, SamplingParams(max_new_tokens=5), num=2)
    rows = [whole[0], cut[0], whole[1], cut[1]]

    outputs = Policy(model).action_outputs(rows, temperature=1.0, with_entropy=True)

    batch = ActionBatch.from_trajectories(rows)
    assert torch.allclose(outputs.logprobs_BA, batch.sampling_logprobs_BA, atol=1e-5)
    alone = Policy(model).action_outputs(whole, temperature=1.0, with_entropy=True)
    assert torch.allclose(outputs.entropy_BA[[0, 2]], alone.entropy_BA, atol=1e-5)


def test_a_sampler_that_cut_and_did_not_say_what_it_kept_is_refused_with_the_way_out():
    rows = sampled(tiny_model(), SamplingParams(max_new_tokens=5), num=1)
    unsaid = [
        Trajectory(
            **{name: getattr(rows[0], name) for name in Trajectory.__slots__} | {"sampling": SamplingParams(top_p=0.9)}
        )
    ]

    with pytest.raises(ConfigError, match="its sampler did not say which"):
        ActionBatch.from_trajectories(unsaid)
