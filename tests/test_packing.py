"""Packed segments give the log-probabilities and gradients of a padded table, or are not used."""

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from support.models import VOCABULARY, tiny_model
from torch.nn.attention import flex_attention

from llmgym.episode import Segment, StopReason, Trajectory
from llmgym.learning import Policy
from llmgym.learning.compute import ComputeConfig
from llmgym.learning.critic import CriticModel
from llmgym.learning.flex import why_not_flex
from llmgym.learning.microbatches import plan_microbatches
from llmgym.learning.model import _Layout
from llmgym.learning.packed_attention import _Tables, packable_attention
from llmgym.learning.packing import PackedSegments
from llmgym.learning.parallel import Ranks, deal_passes

tokens = st.integers(0, VOCABULARY - 1)
prompts = st.lists(tokens, min_size=1, max_size=5)
rests = st.lists(st.tuples(tokens, st.booleans()), max_size=6)


@st.composite
def groups(draw):
    """Rows of a few prompts, ragged: at least one action each, others between tokens that were not sampled."""
    rows = []
    for prompt in draw(st.lists(prompts, min_size=1, max_size=3)):
        for rest in draw(st.lists(rests, min_size=1, max_size=4)):
            ids = [*prompt, draw(tokens), *(token for token, _ in rest)]
            rows.append((ids, [False] * len(prompt) + [True] + [is_action for _, is_action in rest]))
    return draw(st.permutations(rows))


def trajectory(ids, mask):
    return Trajectory(
        segments=(Segment(np.array(ids, dtype=np.int32), np.array(mask)),),
        turns=(),
        reward=0.0,
        terminated=True,
        truncated=False,
        stop_reason=StopReason.ANSWERED,
        metadata={},
    )


def group(num_samples=8, prompt=40, answer=10):
    return [trajectory([1] * prompt + [row] * answer, [False] * prompt + [True] * answer) for row in range(num_samples)]


def padded_like(policy):
    padded = Policy(policy.module)
    padded.use(ComputeConfig(attention="padded"))
    return padded


@pytest.fixture(scope="module", autouse=True)
def flex_on_the_cpu():
    """PyTorch refuses the backward pass there, which it makes all right where nothing is compiled."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flex_attention, "_validate_device", lambda *_: None)
        patch.setattr(flex_attention, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
        yield
    why_not_flex.cache_clear()


def logprobs_and_gradients(policy, rows):
    policy.module.zero_grad()
    outputs = policy.action_outputs(rows, temperature=0.7, with_entropy=True, critic=lambda hidden: hidden.sum(-1))
    outputs.logprobs_BA.sin().sum().backward(retain_graph=True)
    gradients = [parameter.grad.clone() for parameter in policy.module.parameters()]
    return [outputs.logprobs_BA, outputs.entropy_BA, outputs.values_BA, *gradients]


@settings(max_examples=30)
@given(groups(), st.booleans())
def test_packed_rows_give_the_numbers_and_gradients_of_padded_ones(rows, is_checkpointed):
    assert_packed_as_padded(rows, "tables", is_checkpointed)


@settings(max_examples=5)
@given(groups(), st.booleans())
def test_so_they_do_by_flex_attention(rows, is_checkpointed):
    assert_packed_as_padded(rows, "flex", is_checkpointed)


def assert_packed_as_padded(rows, way, is_checkpointed):
    rows = [trajectory(*row) for row in rows]
    packed = Policy(POLICY.module)
    packed.use(ComputeConfig(attention=way, gradient_checkpointing=is_checkpointed))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PackedSegments, "pays", lambda *_: True)
        found = logprobs_and_gradients(packed, rows)
    expected = logprobs_and_gradients(padded_like(POLICY), rows)

    assert packed.packing == way
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@settings(max_examples=10)
@given(groups(), st.booleans())
def test_a_packed_critic_model_gives_the_values_and_gradients_of_a_padded_one(rows, is_checkpointed):
    rows, found = [trajectory(*row) for row in rows], []
    for compute in (
        ComputeConfig(attention="padded"),
        ComputeConfig(attention="tables", gradient_checkpointing=is_checkpointed),
    ):
        critic = CriticModel(POLICY, compute).double()
        torch.nn.init.constant_(critic.head.weight, 0.1)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(PackedSegments, "pays", lambda *_: True)
            values = critic(rows)
            values.sin().sum().backward()
        found.append([values, *(parameter.grad for parameter in critic.parameters())])

    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


POLICY = Policy(tiny_model().double())


def model(kind, **options):
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0}
    config = getattr(transformers, kind + "Config")(**sizes, **heads, **options)
    return getattr(transformers, kind + "ForCausalLM")(config).eval()


@pytest.mark.parametrize(
    "make",
    [
        lambda: model("Qwen2"),
        lambda: model("Qwen3", head_dim=8),
        lambda: model("Mixtral", num_local_experts=4, num_experts_per_tok=2),
        lambda: model("Granite", attention_multiplier=0.3),
        lambda: tiny_model(attn_implementation="eager"),
        lambda: transformers.GPT2LMHeadModel(
            transformers.GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=2, n_head=4)
        ).eval(),
    ],
    ids=["qwen2", "qwen3", "experts", "scaled scores", "eager", "learned positions"],
)
def test_architectures_with_plain_attention_are_packed(make):
    policy = Policy(make())
    implementation = policy.module.config._attn_implementation
    flex = Policy(policy.module)
    flex.use(ComputeConfig(attention="flex"))

    expected = padded_like(policy).action_outputs(group(), temperature=1.0).logprobs_BA

    assert (policy.packing, flex.packing) == ("tables", "flex")
    for one in (policy, flex):
        found = one.action_outputs(group(), temperature=1.0).logprobs_BA
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert policy.module.config._attn_implementation == implementation


@pytest.mark.parametrize(
    "make",
    [
        lambda: model("Mistral", sliding_window=3),
        lambda: model("Doge"),
        lambda: model("Gemma2", head_dim=8, layer_types=["full_attention"] * 2, sliding_window=None),
        lambda: transformers.MambaForCausalLM(
            transformers.MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=1, state_size=4)
        ),
        lambda: transformers.BloomForCausalLM(
            transformers.BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=1, n_head=4)
        ),
    ],
    ids=["windows", "masks made of the tokens", "soft-capped scores", "no attention", "attention of its own"],
)
def test_other_architectures_are_not(make):
    assert packable_attention(make().eval().base_model) is None
    assert packable_attention(make().bfloat16().eval().base_model) is None


def test_a_deep_model_in_bfloat16_is_packed_though_roundings_add_up():
    assert packable_attention(tiny_model(num_hidden_layers=24).bfloat16().eval().base_model)


def test_a_model_whose_packed_segments_see_what_comes_later_is_not_packed_in_bfloat16_either(monkeypatch):
    monkeypatch.setattr(_Tables, "_mask", torch.zeros(()))
    assert packable_attention(tiny_model().eval().base_model) is None
    assert packable_attention(tiny_model().bfloat16().eval().base_model) is None


def test_a_prompt_that_several_share_stands_once_and_padding_nowhere():
    ids = np.array([[5, 6, 7, 0], [5, 6, 8, 9], [5, 0, 0, 0]])

    packed = PackedSegments(ids, np.array([3, 4, 1]), np.array([2, 2, 1]))

    assert packed.ids.tolist() == [5, 6, 5, 7, 8, 9]
    assert packed.positions.tolist() == [0, 1, 0, 2, 2, 3]
    places = packed.places(np.array([0, 1, 1, 2]), np.array([2, 0, 3, 0]))
    assert places.tolist() == [3, 0, 5, 2]


def test_rows_are_padded_where_packing_saves_little_or_is_not_wanted(monkeypatch):
    calls = []
    monkeypatch.setattr("llmgym.learning.model.packed_states", lambda *given: calls.append(given))
    policy = Policy(tiny_model())

    policy.action_outputs(group(num_samples=1), temperature=1.0)
    policy.action_outputs(group(prompt=1), temperature=1.0)
    policy.use(ComputeConfig(attention="padded"))
    policy.action_outputs(group(), temperature=1.0)

    assert policy.attention_shapes == {(4, 2, 8, 8)}
    assert not calls


def test_microbatches_keep_rows_of_a_prompt_together_and_count_what_is_left_of_them():
    rows = [trajectory([kind] * 100 + [9] * 11, [False] * 100 + [True] * 11) for kind in (1, 2, 3) * 4]

    plan = plan_microbatches(rows, [[row] for row in range(12)], microbatch_tokens=280, packing="tables")

    assert plan == [[0, 3, 6, 9, 1, 4, 7, 10], [2, 5, 8, 11]]  # 2 x (100 + 4 x 10) positions, and half as many


@settings(max_examples=30)
@given(groups(), st.integers(1, 200), st.sampled_from(["tables", "flex"]))
def test_microbatches_of_packed_rows_hold_each_once_and_keep_within_the_budget(rows, budget, way):
    rows = [trajectory(*row) for row in rows]

    plan = plan_microbatches(rows, [[row] for row in range(len(rows))], microbatch_tokens=budget, packing=way)

    assert sorted(row for part in plan for row in part) == list(range(len(rows)))
    for part in plan:
        layout = _Layout.of([rows[row] for row in part])
        packed = layout.packed()
        assert len(part) == 1 or (len(packed.ids) if packed.pays(way) else layout.input_ids.size) <= budget


def test_processes_plan_their_passes_for_the_way_that_all_of_them_have(monkeypatch):
    rows = [trajectory([1] * 60 + [row] * 10, [False] * 60 + [True] * 10) for row in range(8)]
    options = {"units": [[row] for row in range(8)], "microbatch_tokens": 150}
    found, expected = [], []
    for ways in (["tables", "flex"], ["flex", None], ["flex", "flex"]):
        monkeypatch.setattr(Ranks, "gather", lambda _, value, ways=ways: ways)
        found.append([Ranks(index, 2).passes(rows, packing=way, **options) for index, way in enumerate(ways)])
        agreed = None if None in ways else max(ways)
        expected.append(deal_passes(rows, packing=agreed, num_ranks=2, **options))

    assert found == expected
    assert len({tuple(map(len, passes)) for passes in expected}) > 1
