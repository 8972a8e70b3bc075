"""The torch sampler runs a model exactly, in whatever architecture, or refuses it."""

import asyncio
from typing import Any

import pytest
import torch
import transformers
from support.sampling import logprobs_by_definition, sample_all

from llmgym.errors import ConfigError, SamplerError
from llmgym.sampling import Completion, SamplingParams
from llmgym.sampling.torch_sampler import TorchSampler

SIZES = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
PROMPTS = [[5, 6, 7], [8], [5, 6, 7], [9, 10, 11, 12, 13, 14, 15], [5, 6]]
GPT = {"vocab_size": 40, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.4}
HEADS = {**SIZES, "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.4}
FULL = {"layer_types": ["full_attention"] * 2, "head_dim": 8}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "eager attention": ("Llama", {**HEADS, "attn_implementation": "eager"}),
    "tied head": ("Qwen2", {**HEADS, "tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {**HEADS, "head_dim": 8}),
    "rotary, always eager": ("GPTJ", {**GPT, "rotary_dim": 4}),
    "gpt-neox": ("GPTNeoX", {**SIZES, "num_attention_heads": 4, "initializer_range": 0.4}),
    "asks the cache for its length": ("Falcon", {**HEADS, "alibi": False}),
    "soft-capped logits": ("Gemma2", {**HEADS, **FULL, "final_logit_softcapping": 2.0}),
    "scaled logits": ("Granite", {**HEADS, "logits_scaling": 3.0}),
    "attention sinks": ("GptOss", {**HEADS, **FULL, "num_local_experts": 4}),
    "phi": ("Phi", {**SIZES, "num_attention_heads": 4, "initializer_range": 0.4}),
    "mistral without a window": ("Mistral", {**HEADS, "sliding_window": None}),
}


def model_of(kind: str, settings: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    return getattr(transformers, f"{kind}ForCausalLM")(getattr(transformers, f"{kind}Config")(**settings)).eval()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logprobs_are_the_models_own_in_every_architecture(name: str) -> None:
    model = model_of(*ARCHITECTURES[name])

    completions = sample_all(TorchSampler(model), PROMPTS, SamplingParams(max_new_tokens=12))

    for prompt, completion in zip(PROMPTS, completions, strict=True):
        expected = logprobs_by_definition(model, prompt, completion.token_ids)
        assert completion.logprobs == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize(
    ("kind", "settings", "reason"),
    [
        ("Bloom", {"vocab_size": 40, "hidden_size": 32, "n_layer": 2, "n_head": 4}, "it raised"),
        ("GPTNeo", {"vocab_size": 40, "hidden_size": 32, "num_layers": 2, "num_heads": 4,
                    "attention_types": [[["global", "local"], 1]]}, "local"),
        ("Bart", {"vocab_size": 40, "d_model": 32, "decoder_layers": 2, "decoder_attention_heads": 4,
                  "decoder_ffn_dim": 48, "init_std": 0.4}, "standard deviations"),
    ],
)  # fmt: skip
def test_models_that_cannot_be_run_exactly_are_refused(kind: str, settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        TorchSampler(model_of(kind, settings))


def test_models_that_forget_are_refused() -> None:
    with pytest.raises(ConfigError, match="full attention"):
        TorchSampler(model_of("Mistral", {**HEADS, "sliding_window": 8}))


def test_padding_beside_a_long_row_needs_no_positions_that_a_model_with_few_does_not_have() -> None:
    sampler, params = (
        TorchSampler(transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT))),
        SamplingParams(max_new_tokens=4),
    )

    async def long_then_joined() -> list[Completion]:
        async with sampler.session(seed=0) as first, sampler.session(seed=1) as second:
            ids = [5] * 50
            ids += (await first.sample(ids, params)).token_ids
            return await asyncio.gather(first.sample(ids, params), second.sample([6] * 40, params))

    assert [len(completion.token_ids) for completion in asyncio.run(long_then_joined())] == [4, 4]


@pytest.mark.parametrize(
    "model",
    [
        transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT)),
        model_of(
            "Llama", {**HEADS, "max_position_embeddings": 64, "rope_scaling": {"rope_type": "dynamic", "factor": 2}}
        ),
    ],
)
def test_a_turn_that_could_outgrow_the_positions_of_the_model_is_refused(model: Any) -> None:
    sampler = TorchSampler(model)

    assert len(sample_all(sampler, [[3] * 60], SamplingParams(max_new_tokens=5))[0].token_ids) == 5
    with pytest.raises(SamplerError, match="more than the 64 positions"):
        sample_all(sampler, [[3] * 60], SamplingParams(max_new_tokens=6))
