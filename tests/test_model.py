import numpy as np
import peft
import pytest
import torch
from llmgym.agents.sft import SFT
from support.models import VOCABULARY, tiny_model

from llmgym.episode import Segment, StopReason, Trajectory
from llmgym.errors import ConfigError, DataError
from llmgym.learning import Learner, Policy, load_policy, save_policy
from llmgym.learning import head_logprobs as head_logprobs_module
from llmgym.sampling.head import LogitScaling, base_head_and_scaling


def trajectory(*segments):
    """One trajectory; a segment is a text of token ids, where `.` before one means that it was sampled."""
    parts = []
    for text in segments:
        mask = np.array([word.startswith(".") for word in text.split()])
        ids = np.array([int(word.lstrip(".")) for word in text.split()], dtype=np.int32)
        parts.append(Segment(ids, mask))
    return Trajectory(
        segments=tuple(parts),
        turns=(),
        reward=0.0,
        terminated=True,
        truncated=False,
        stop_reason=StopReason.ANSWERED,
        metadata={},
    )


def varied():
    """Several turns, several segments, no action at all, and lengths from 1 to 8."""
    return [
        trajectory("1 2 .3 .4 5 .6"),
        trajectory("7 .8", "1 2 3 .4 .5 .6 7 8 .9"),
        trajectory("1 2 3"),
        trajectory("4 .5 .6 .7 .8 .9 .10 .11 .12"),
        trajectory("9 9 9 9 .1"),
        trajectory("2 .2", "3 3", "4 .4 5"),
    ]


def logprobs_by_definition(model, row, temperature=1.0):
    """Each segment alone through the model, log_softmax of its own logits."""
    found, entropies = [], []
    for segment in row.segments:
        ids = torch.from_numpy(segment.token_ids.astype(np.int64))
        log_p = torch.log_softmax(model(ids[None]).logits[0] / temperature, dim=-1)
        for position in np.flatnonzero(segment.action_mask):
            found.append(log_p[position - 1, ids[position]])
            entropies.append(-(log_p[position - 1].exp() * log_p[position - 1]).sum().detach())
    return found, entropies


class ScaledLogits(torch.nn.Module):
    """A model whose logits are not those of its head, as with soft-capping."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def base_model(self, **inputs):
        return self.inner.base_model(**inputs)

    def get_output_embeddings(self):
        return self.inner.get_output_embeddings()

    def forward(self, input_ids=None, **inputs):
        output = self.inner(input_ids=input_ids, **inputs)
        output.logits = 5 * torch.tanh(output.logits / 5)
        return output


@pytest.mark.parametrize("max_logits", [10**6, 3 * VOCABULARY], ids=["at once", "in chunks"])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("wrap", [lambda model: model, ScaledLogits], ids=["own head", "capped logits"])
def test_logprobs_and_entropies_equal_those_of_the_models_own_logits(wrap, temperature, max_logits, monkeypatch):
    monkeypatch.setattr(head_logprobs_module, "_CPU_TILE_BYTES", 4 * max_logits)
    monkeypatch.setattr(head_logprobs_module, "_ROWS_BYTES", 4 * max_logits)
    monkeypatch.setattr(head_logprobs_module, "_MAX_PLAIN_LOGITS", 0)
    model, rows = wrap(tiny_model()), varied()
    policy = Policy(model)

    outputs = policy.action_outputs(rows, temperature=temperature, with_entropy=True)

    assert policy.runs_head_on_actions_only == (wrap is not ScaledLogits)
    assert outputs.logprobs_BA.shape == (6, 8)
    for index, row in enumerate(rows):
        expected, entropies = logprobs_by_definition(model, row, temperature)
        expected, padding = [value.item() for value in expected], [0.0] * (8 - len(expected))
        assert outputs.logprobs_BA[index].tolist() == pytest.approx([*expected, *padding], abs=1e-5)
        assert outputs.entropy_BA[index].tolist() == pytest.approx([*map(float, entropies), *padding], abs=1e-5)


@pytest.mark.parametrize("max_logits", [10**6, 3 * VOCABULARY], ids=["at once", "in chunks"])
def test_gradients_equal_those_of_the_models_own_logits(max_logits, monkeypatch):
    monkeypatch.setattr(head_logprobs_module, "_CPU_TILE_BYTES", 4 * max_logits)
    monkeypatch.setattr(head_logprobs_module, "_ROWS_BYTES", 4 * max_logits)
    monkeypatch.setattr(head_logprobs_module, "_MAX_PLAIN_LOGITS", 0)
    model, rows = tiny_model().double(), varied()

    Policy(model).action_outputs(rows, temperature=0.7).logprobs_BA.sum().backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    sum(sum(logprobs_by_definition(model, row, 0.7)[0]) for row in rows).backward()

    for gradient, parameter in zip(gradients, model.parameters(), strict=True):
        assert torch.allclose(gradient, parameter.grad, rtol=1e-9, atol=1e-12)


def gemma(**options):
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    config = Gemma2Config(**sizes, num_attention_heads=4, num_key_value_heads=2, head_dim=8, pad_token_id=0, **options)
    return Gemma2ForCausalLM(config).eval()


def granite():
    from transformers import GraniteConfig, GraniteForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    return GraniteForCausalLM(GraniteConfig(**sizes, num_attention_heads=4, logits_scaling=0.013)).eval()


def cohere():
    from transformers import CohereConfig, CohereForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    return CohereForCausalLM(CohereConfig(**sizes, **tokens, num_attention_heads=4, logit_scale=9.7)).eval()


@pytest.mark.parametrize(
    ("make", "scaling"),
    [
        (lambda: gemma(final_logit_softcapping=0.3), LogitScaling(cap=0.3)),
        (granite, LogitScaling(divisor=0.013)),
        (cohere, LogitScaling(multiplier=9.7)),
    ],
    ids=["soft-capping", "divided", "multiplied"],
)
def test_head_runs_on_actions_only_where_the_config_tells_how_logits_are_scaled(make, scaling):
    model, rows = make(), varied()
    policy = Policy(model)

    outputs = policy.action_outputs(rows, temperature=0.7, with_entropy=True)

    assert policy.runs_head_on_actions_only
    assert base_head_and_scaling(model)[2] == scaling
    for index, row in enumerate(rows):
        expected, entropies = logprobs_by_definition(model, row, 0.7)
        padding = [0.0] * (8 - len(expected))
        assert outputs.logprobs_BA[index].tolist() == pytest.approx([*map(float, expected), *padding], abs=1e-5)
        assert outputs.entropy_BA[index].tolist() == pytest.approx([*map(float, entropies), *padding], abs=1e-5)


def test_soft_capping_is_noticed_even_where_logits_are_still_small():
    scaling = base_head_and_scaling(gemma())[2]

    assert scaling == LogitScaling(cap=30.0)


def test_scaling_is_not_guessed_from_logits_that_are_all_zero():
    model = gemma(tie_word_embeddings=False)
    torch.nn.init.zeros_(model.lm_head.weight)

    assert not Policy(model).runs_head_on_actions_only


def test_padding_ids_of_the_vocabulary_hold_no_probability():
    model, row = tiny_model(), trajectory("1 .2")

    logprob = Policy(model, num_tokens=20).action_outputs([row], temperature=1.0).logprobs_BA

    logits = model(torch.tensor([[1]])).logits[0, 0, :20]
    assert logprob.item() == pytest.approx(logits.log_softmax(-1)[2].item(), abs=1e-5)


def test_dropout_is_off_also_with_a_gradient():
    model = tiny_model(attention_dropout=0.9).train()
    policy = Policy(model)

    first, second = (policy.action_outputs(varied(), temperature=1.0).logprobs_BA for _ in range(2))

    assert first.requires_grad
    assert torch.equal(first, second)


def test_trajectories_without_any_action_give_an_empty_table():
    outputs = Policy(tiny_model()).action_outputs([trajectory("1 2 3")], temperature=1.0, with_entropy=True)

    assert outputs.logprobs_BA.shape == outputs.entropy_BA.shape == (1, 0)


def test_segment_that_begins_with_a_sampled_token_is_refused():
    with pytest.raises(DataError, match="begins with a sampled token"):
        Policy(tiny_model()).action_outputs([trajectory(".1 .2")], temperature=1.0)


def test_policy_loads_from_a_folder_and_says_what_is_wrong_with_another(tmp_path):
    model = tiny_model()
    save_policy(model, tmp_path / "model")

    policy = load_policy(tmp_path / "model")

    assert torch.equal(policy.module.lm_head.weight, model.lm_head.weight)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="No causal language model could be loaded"):
        load_policy(tmp_path / "empty")


@pytest.mark.parametrize("tied", [True, False])
def test_weights_for_the_sampler_hold_tied_heads_under_both_names(tied):
    model = tiny_model(tie_word_embeddings=tied)
    source = Learner(model, SFT()).weight_source()

    weights = dict(source)

    assert set(weights) == set(dict(source)) == set(model.state_dict()) == set(source.shapes())
    assert (weights["lm_head.weight"] is weights["model.embed_tokens.weight"]) is False
    assert torch.equal(weights["lm_head.weight"], weights["model.embed_tokens.weight"]) == tied
    assert source.shapes()["lm_head.weight"] == ("float32", (VOCABULARY, 32))
    assert not any(tensor.requires_grad for tensor in weights.values())
    assert source.is_adapter is False


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["lm_head"]], ids=str)
def test_log_probabilities_of_a_model_with_adapters_are_those_of_its_own_logits(targets):
    model = peft.get_peft_model(tiny_model(), peft.LoraConfig(r=2, target_modules=targets)).eval()
    policy = Policy(model)
    torch.manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)

    found = policy.action_outputs([trajectory("1 2 .3 .4")], temperature=1.0).logprobs_BA

    logits = model(torch.tensor([[1, 2, 3]])).logits[0, 1:].log_softmax(-1)
    assert policy.runs_head_on_actions_only
    torch.testing.assert_close(found[0], torch.stack([logits[0, 3], logits[1, 4]]))
