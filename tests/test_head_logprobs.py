"""Log-probabilities from hidden states, against log_softmax of all logits."""

import numpy as np
import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from llmgym.agents.grpo import GRPO
from support.models import tiny_model

from llmgym.episode import Segment, StopReason, Trajectory, TurnRecord
from llmgym.errors import DataError
from llmgym.learning import Learner, LearnerConfig
from llmgym.learning import head_logprobs as module
from llmgym.learning.head_logprobs import head_logprobs
from llmgym.messages import AssistantMessage
from llmgym.sampling.head import PLAIN, LogitScaling
from llmgym.scoring import Score


def by_definition(head, states, targets, *, temperature, scaling=PLAIN, num_tokens=None):
    logits = scaling(head(states).to(torch.promote_types(states.dtype, torch.float32)))[:, :num_tokens]
    log_p = torch.log_softmax(logits / temperature, dim=-1)
    return log_p[torch.arange(len(targets)), targets], -(log_p.exp() * log_p).sum(dim=-1)


def problem(num_tokens, vocabulary, size, *, bias=False, dtype=torch.float64, seed=0):
    """A head, hidden states, targets, and what a loss would pass back to log-probabilities and entropies."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    head = torch.nn.Linear(size, vocabulary, bias=bias, dtype=dtype)
    with torch.no_grad():
        head.weight.copy_(normal(vocabulary, size))
        if bias:
            head.bias.copy_(normal(vocabulary))
    states = normal(num_tokens, size).requires_grad_()
    targets = torch.randint(vocabulary, (num_tokens,), generator=generator)
    return head, states, targets, normal(num_tokens), normal(num_tokens)


def gradients(outputs, weights, *inputs):
    """Of sum_n g_n log p_n + h_n H_n, where g or h may be None."""
    terms = [
        (output * weight.to(output)).sum()
        for output, weight in zip(outputs, weights, strict=True)
        if weight is not None
    ]
    return torch.autograd.grad(sum(terms), inputs)


@pytest.fixture(autouse=True)
def in_tiles_however_few(monkeypatch):
    monkeypatch.setattr(module, "_MAX_PLAIN_LOGITS", 0)


@pytest.fixture(params=[1, 16, 2**20], ids=["one number a tile", "small tiles", "one tile"])
def tile_size(request, monkeypatch):
    """Also the number of logits that are too many to be worked on at once, in whatever way."""
    monkeypatch.setattr(module, "_CPU_TILE_BYTES", 4 * request.param)
    monkeypatch.setattr(module, "_ROWS_BYTES", 4 * request.param)


scalings = st.builds(
    LogitScaling,
    multiplier=st.sampled_from([1.0, 0.3]),
    divisor=st.sampled_from([1.0, 0.7]),
    cap=st.sampled_from([None, 0.5, 30.0]),
)


@pytest.mark.usefixtures("tile_size")
@settings(max_examples=25, deadline=None)
@given(
    num_tokens=st.integers(1, 9),
    vocabulary=st.integers(1, 11),
    size=st.integers(1, 4),
    bias=st.booleans(),
    temperature=st.sampled_from([1.0, 0.6, 3.0]),
    scaling=scalings,
    used=st.sampled_from(["logprobs", "entropies", "both"]),
    seed=st.integers(0, 99),
)
def test_values_and_gradients_equal_those_of_all_logits(
    num_tokens, vocabulary, size, bias, temperature, scaling, used, seed
):
    head, states, targets, g, h = problem(num_tokens, vocabulary, size, bias=bias, seed=seed)
    options = {"temperature": temperature, "scaling": scaling}
    weights = (None if used == "entropies" else g, None if used == "logprobs" else h)
    inputs = (states, *head.parameters())

    found = head_logprobs(head, states, targets, with_entropy=True, **options)
    expected = by_definition(head, states, targets, **options)

    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(
        gradients(found, weights, *inputs), gradients(expected, weights, *inputs), rtol=1e-9, atol=1e-10
    )


@pytest.mark.parametrize("scaling", [PLAIN, LogitScaling(cap=2.0)], ids=["plain", "capped"])
def test_float32_agrees_to_1e_5(scaling):
    head, states, targets, g, h = problem(50, 300, 16, bias=True, dtype=torch.float32)
    options, inputs = {"temperature": 0.9, "scaling": scaling}, (states, *head.parameters())

    found = head_logprobs(head, states, targets, with_entropy=True, **options)
    expected = by_definition(head, states, targets, **options)

    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        gradients(found, (g, h), *inputs), gradients(expected, (g, h), *inputs), rtol=1e-5, atol=1e-5
    )


def test_bfloat16_states_lose_no_more_than_the_rounding_of_logits_and_probabilities():
    head, states, targets, g, h = problem(20, 60, 16, bias=True, dtype=torch.bfloat16)
    exact = torch.nn.Linear(16, 60).requires_grad_()
    exact.load_state_dict({name: value.float() for name, value in head.state_dict().items()})
    exact_states = states.detach().float().requires_grad_()

    found = head_logprobs(head, states, targets, temperature=1.0, with_entropy=True)
    expected = by_definition(exact, exact_states, targets, temperature=1.0)

    assert {output.dtype for output in found} == {torch.float32}
    # A logit of 16 has steps of 1/16 in bfloat16, which is what the model itself computes in.
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.06)
    for gradient, wanted in zip(
        gradients(found, (g, h), states, *head.parameters()),
        gradients(expected, (g, h), exact_states, *exact.parameters()),
        strict=True,
    ):
        assert gradient.dtype == torch.bfloat16
        assert (gradient.float() - wanted).norm() < 0.03 * wanted.norm()


def test_under_autocast_the_head_computes_in_its_type_and_gradients_keep_theirs():
    head, states, targets, g, h = problem(20, 60, 16, bias=True, dtype=torch.float32)
    options = {"temperature": 1.0, "with_entropy": True}

    with torch.autocast("cpu", torch.bfloat16):
        found = head_logprobs(head, states, targets, **options)
    found_grads = gradients(found, (g, h), states, *head.parameters())

    low = torch.nn.Linear(16, 60, dtype=torch.bfloat16)
    low.load_state_dict(head.state_dict() | {"bias": torch.zeros(60)})
    low_logprobs = by_definition(lambda x: low(x).float() + head.bias, states.bfloat16(), targets, temperature=1.0)
    torch.testing.assert_close(found, low_logprobs)
    exact = gradients(by_definition(head, states, targets, temperature=1.0), (g, h), states, *head.parameters())
    for gradient, wanted in zip(found_grads, exact, strict=True):
        assert gradient.dtype == torch.float32
        assert (gradient - wanted).norm() < 0.03 * wanted.norm()
    # Probabilities add up to 1 only where the backward pass makes the logits that the forward pass made.
    assert found_grads[2].sum().abs() < 1e-4


def test_many_bfloat16_gradients_are_summed_without_drift():
    head, states, _, _, _ = problem(4000, 2, 1, dtype=torch.bfloat16)
    states.data.fill_(1.0), head.weight.data.zero_()

    logprobs, _ = head_logprobs(head, states, torch.zeros(4000, dtype=torch.int64), temperature=1.0)
    logprobs.sum().backward()

    assert head.weight.grad[:, 0].tolist() == [2000.0, -2000.0]  # a sum in bfloat16 would stop at 128


@pytest.mark.usefixtures("tile_size")
def test_padding_ids_hold_no_probability_and_get_no_gradient():
    head, states, _, g, h = problem(6, 11, 3)
    targets = torch.tensor([0, 1, 6, 3, 6, 2])

    found = head_logprobs(head, states, targets, temperature=1.0, num_tokens=7, with_entropy=True)
    expected = by_definition(head, states, targets, temperature=1.0, num_tokens=7)

    torch.testing.assert_close(found, expected)
    found_grads, expected_grads = (gradients(outputs, (g, h), states, head.weight) for outputs in (found, expected))
    torch.testing.assert_close(found_grads, expected_grads)
    assert (found_grads[1][7:] == 0).all()


@pytest.mark.usefixtures("tile_size")
def test_a_tied_head_gets_the_sum_of_both_gradients():
    head, _, targets, g, _ = problem(5, 11, 3)
    ids = torch.tensor([1, 10, 3, 3, 0])

    found = head_logprobs(head, torch.tanh(head.weight[ids]), targets, temperature=1.0)
    expected = by_definition(head, torch.tanh(head.weight[ids]), targets, temperature=1.0)

    torch.testing.assert_close(gradients(found, (g, None), head.weight), gradients(expected, (g, None), head.weight))


def test_frozen_head_gets_no_gradient():
    head, states, targets, _, _ = problem(5, 11, 3, bias=True)
    head.requires_grad_(False)

    head_logprobs(head, states, targets, temperature=1.0)[0].sum().backward()

    assert head.weight.grad is None
    assert head.bias.grad is None
    assert states.grad.abs().sum() > 0


@pytest.mark.usefixtures("tile_size")
@pytest.mark.parametrize("options", [{}, {"use_rslora": True}, {"lora_bias": True}, {"use_dora": True}], ids=str)
@pytest.mark.parametrize("is_disabled", [False, True], ids=["on", "off"])
def test_low_rank_adapters_on_the_head_are_part_of_it(options, is_disabled):
    model = peft.get_peft_model(tiny_model().double(), peft.LoraConfig(r=2, target_modules=["lm_head"], **options))
    head = model.get_base_model().lm_head.double().eval()
    torch.manual_seed(0)
    torch.nn.init.normal_(head.lora_B["default"].weight)
    _, states, targets, g, h = problem(6, 23, 32)
    inputs = (states,) if is_disabled else (states, *(p for p in head.parameters() if p.requires_grad))
    head.enable_adapters(not is_disabled)

    found = head_logprobs(head, states, targets, temperature=0.8, with_entropy=True)
    expected = by_definition(head, states, targets, temperature=0.8)

    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(found, (g, h), *inputs), gradients(expected, (g, h), *inputs))


def test_an_adapter_that_was_merged_into_the_head_counts_once():
    model = peft.get_peft_model(tiny_model().double(), peft.LoraConfig(r=2, target_modules=["lm_head"]))
    head = model.get_base_model().lm_head.double().eval()
    torch.nn.init.ones_(head.lora_B["default"].weight[:5])
    _, states, targets, _, _ = problem(6, 23, 32)
    expected = by_definition(head, states, targets, temperature=1.0)

    head.merge()

    torch.testing.assert_close(head_logprobs(head, states, targets, temperature=1.0, with_entropy=True), expected)


class Doubled(torch.nn.Linear):
    def forward(self, states):
        return 2 * super().forward(states)


@pytest.mark.usefixtures("tile_size")
@pytest.mark.parametrize("kind", ["subclass", "hook", "logits"])
def test_heads_that_do_more_than_a_product_are_called(kind):
    head, states, targets, g, h = problem(6, 11, 3)
    if kind == "subclass":
        head.__class__ = Doubled
    if kind == "hook":
        head.register_forward_hook(lambda _module, _inputs, output: 2 * output)
    given = (None, head(states)) if kind == "logits" else (head, states)

    found = head_logprobs(*given, targets, temperature=1.0, with_entropy=True, scaling=LogitScaling(cap=3.0))
    expected = by_definition(head, states, targets, temperature=1.0, scaling=LogitScaling(cap=3.0))

    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        gradients(found, (g, h), states, head.weight), gradients(expected, (g, h), states, head.weight)
    )


@pytest.mark.parametrize("kind", ["tiles", "rows"])
def test_a_token_without_probability_is_refused(kind):
    head, states, _, _, _ = problem(2, 11, 3)
    given = (head, states) if kind == "tiles" else (None, head(states))

    with pytest.raises(DataError, match="has the id 9, but the policy gives probability to ids below 9 only"):
        head_logprobs(*given, torch.tensor([1, 9]), temperature=1.0, num_tokens=9)


def test_few_logits_are_all_made_at_once_with_the_same_result(monkeypatch):
    head, states, targets, g, h = problem(6, 11, 3)
    in_tiles = head_logprobs(head, states, targets, temperature=0.5, num_tokens=11, with_entropy=True)

    monkeypatch.setattr(module, "_MAX_PLAIN_LOGITS", 66)
    at_once = head_logprobs(head, states, targets, temperature=0.5, num_tokens=11, with_entropy=True)

    assert in_tiles[0].grad_fn.name() != at_once[0].grad_fn.name()
    torch.testing.assert_close(in_tiles, at_once)
    inputs = (states, head.weight)
    torch.testing.assert_close(gradients(in_tiles, (g, h), *inputs), gradients(at_once, (g, h), *inputs))


def test_a_second_derivative_is_refused():
    head, states, targets, _, _ = problem(3, 5, 2)
    logprobs, _ = head_logprobs(head, states, targets, temperature=1.0)

    (gradient,) = torch.autograd.grad((logprobs**2).sum(), states, create_graph=True)

    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_nothing_as_large_as_the_logits_is_kept_for_the_backward_pass_or_made(monkeypatch):
    monkeypatch.setattr(module, "_CPU_TILE_BYTES", 4 * 400)
    num_tokens, vocabulary, size = 40, 500, 4
    head, states, targets, _, _ = problem(num_tokens, vocabulary, size)
    saved, largest = [], []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, _types, args=(), kwargs=None):
            output = function(*args, **(kwargs or {}))
            largest.extend(x.numel() for x in torch.utils._pytree.tree_leaves(output) if isinstance(x, torch.Tensor))
            return output

    with torch.autograd.graph.saved_tensors_hooks(lambda x: (saved.append(x.numel()), x)[1], lambda x: x), Watch():
        logprobs, entropies = head_logprobs(head, states, targets, temperature=0.5, with_entropy=True)
        (logprobs + entropies).sum().backward()

    assert sum(saved) <= (num_tokens + vocabulary) * size + 10 * num_tokens
    assert max(largest) == vocabulary * size  # the gradient of the weight


@pytest.mark.parametrize("cap", [None, 2.0])
@pytest.mark.parametrize("rows_at_once", [1, 3, 100])
@pytest.mark.parametrize("is_guess_right", [True, False])
def test_a_gradient_made_in_the_forward_pass_equals_that_of_the_backward_pass(
    cap, rows_at_once, is_guess_right, monkeypatch
):
    monkeypatch.setattr(module, "_MAX_PLAIN_LOGITS", 0)
    monkeypatch.setattr(module, "_EARLY_ROWS_BYTES", 4 * 23 * rows_at_once)
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 29).double()
    states, targets = torch.randn(7, 8, dtype=torch.float64, requires_grad=True), torch.randint(23, (7,))
    inputs = (states, head.weight, head.bias)
    settings = {"temperature": 0.7, "scaling": LogitScaling(cap=cap), "num_tokens": 23}

    def slope(tokens, logprobs):
        return logprobs.cos() if is_guess_right else logprobs + 1

    early = head_logprobs(head, states, targets, **settings, loss_gradient=slope)[0]
    late = head_logprobs(head, states, targets, **settings)[0]

    found, expected = (torch.autograd.grad(logprobs.sin().sum(), inputs) for logprobs in (early, late))
    torch.testing.assert_close(early, late)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def trajectory(prompt, answer, reward):
    ids = np.array([*prompt, *answer], dtype=np.int32)
    turn = TurnRecord(0, len(prompt), len(ids), AssistantMessage(content=""), Score(reward=reward))
    return Trajectory(
        segments=(Segment(ids, np.arange(len(ids)) >= len(prompt)),),
        turns=(turn,),
        reward=reward,
        terminated=True,
        truncated=False,
        stop_reason=StopReason.ANSWERED,
        metadata={},
    )


@pytest.mark.parametrize("minibatches", [1, 2])
def test_the_learner_guesses_the_gradient_of_its_loss_exactly(minibatches, monkeypatch):
    monkeypatch.setattr(module, "_MAX_PLAIN_LOGITS", 0)
    guesses, computed_again, early, late = [], [], module._early, module._tile_gradient
    monkeypatch.setattr(module, "_early", lambda *given: guesses.append(1) or early(*given))
    monkeypatch.setattr(module, "_tile_gradient", lambda *given: computed_again.append(1) or late(*given))
    groups = [[trajectory([1, 2], [3 + row] * (row + 1), float(row)) for row in range(4)] for _ in range(2)]
    learner = Learner(tiny_model(), GRPO(minibatches=minibatches), LearnerConfig(learning_rate=1e-2))

    for _ in range(2):
        learner.update(groups)

    assert len(guesses) == 2 * minibatches
    assert not computed_again
