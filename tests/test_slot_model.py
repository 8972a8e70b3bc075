"""The torch sampler runs a model exactly, in whatever architecture, or refuses it."""

import asyncio
import warnings
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
FULL_HEADS = {**SIZES, "num_attention_heads": 4, "initializer_range": 0.4}
HEADS = {**FULL_HEADS, "num_key_value_heads": 2}
PAD = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
FULL = {"layer_types": ["full_attention"] * 2, "head_dim": 8}
MIXED = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 5}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
LATENT = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 6,
          "n_routed_experts": 4, "moe_intermediate_size": 16, "first_k_dense_replace": 1, "n_group": 1,
          "topk_group": 1, "num_experts_per_tok": 2}  # fmt: skip

OVER_SLOTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama, eager": ("Llama", {**HEADS, "attn_implementation": "eager"}),
    "llama, tied": ("Llama", {**HEADS, "tie_word_embeddings": True}),
    "qwen2": ("Qwen2", HEADS),
    "qwen2, windows in some layers": ("Qwen2", {**HEADS, **MIXED, "use_sliding_window": True}),
    "qwen3": ("Qwen3", {**HEADS, "head_dim": 8}),
    "qwen3, experts": ("Qwen3Moe", {**HEADS, "head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2,
                                     "moe_intermediate_size": 16}),
    "gemma": ("Gemma", {**HEADS, "head_dim": 8}),
    # Eager: some versions of transformers leave capping out of other attention.
    "gemma2, capped and windows": ("Gemma2", {**HEADS, **MIXED, "head_dim": 8, "query_pre_attn_scalar": 8,
                                              "attn_logit_softcapping": 2.0, "final_logit_softcapping": 2.0,
                                              "attn_implementation": "eager"}),
    "gemma3": ("Gemma3", {**HEADS, **MIXED, "head_dim": 8}),
    "gpt2, learned positions": ("GPT2", GPT),
    "gpt-neox": ("GPTNeoX", FULL_HEADS),
    "mistral, window": ("Mistral", {**HEADS, "sliding_window": 5}),
    "mistral, no window": ("Mistral", {**HEADS, "sliding_window": None}),
    "mixtral": ("Mixtral", {**HEADS, **EXPERTS}),
    "phi": ("Phi", FULL_HEADS),
    "phi3, window": ("Phi3", {**HEADS, **PAD, "sliding_window": 5}),
    "smollm3, positions in some layers": ("SmolLM3", {**HEADS, **PAD, "no_rope_layers": [1, 0]}),
    "olmo2": ("Olmo2", HEADS),
    "olmo3": ("Olmo3", {**HEADS, **MIXED}),
    "granite, scaled logits": ("Granite", {**HEADS, "logits_scaling": 3.0}),
    "glm": ("Glm", {**HEADS, **PAD, "head_dim": 8}),
    "glm4": ("Glm4", {**HEADS, **PAD, "head_dim": 8}),
    "cohere": ("Cohere", HEADS),
    "starcoder2": ("Starcoder2", {**HEADS, "sliding_window": None}),
    "stablelm": ("StableLm", HEADS),
    "deepseek3, latent attention": ("DeepseekV3", {**FULL_HEADS, "num_key_value_heads": 4, **LATENT}),
    "gpt-oss, sinks": ("GptOss", {**HEADS, **MIXED, "head_dim": 8, **EXPERTS}),
}  # fmt: skip
ROW_BY_ROW: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt-j, no attention function": ("GPTJ", {**GPT, "rotary_dim": 4}),
    "falcon, alibi": ("Falcon", {**HEADS, "alibi": True}),
    "bloom, alibi": ("Bloom", {"vocab_size": 40, "hidden_size": 32, "n_layer": 2, "n_head": 4}),
    "gpt-neo, local layers": ("GPTNeo", {"vocab_size": 40, "hidden_size": 32, "num_layers": 2, "num_heads": 4,
                                         "attention_types": [[["global", "local"], 1]], "window_size": 5}),
    "lfm2, convolutions": ("Lfm2", {**HEADS, **PAD, "layer_types": ["conv", "full_attention"]}),
    "qwen3-next, linear attention": ("Qwen3Next", {**HEADS, "head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2,
        "layer_types": ["linear_attention", "full_attention"], "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16, "linear_num_key_heads": 2, "linear_num_value_heads": 2,
        "linear_key_head_dim": 8, "linear_value_head_dim": 8}),
}  # fmt: skip


def model_of(kind: str, settings: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}TextConfig", None) or getattr(transformers, f"{kind}Config")
    model = getattr(transformers, f"{kind}ForCausalLM", None) or getattr(transformers, f"{kind}LMHeadModel")
    return model(config(**settings)).eval()


def assert_logprobs_are_the_models_own(
    sampler: TorchSampler, prompts: list[list[int]], tolerance: float = 1e-5
) -> None:
    """Over two turns of different lengths behind each prompt."""

    async def episode(seed: int, prompt: list[int]) -> list[tuple[list[int], Completion]]:
        async with sampler.session(seed=seed) as session:
            first = await session.sample(prompt, SamplingParams(max_new_tokens=4 + seed % 9))
            longer = [*prompt, *first.token_ids, 3, 4]
            return [(prompt, first), (longer, await session.sample(longer, SamplingParams(max_new_tokens=6)))]

    async def everything() -> list[list[tuple[list[int], Completion]]]:
        return await asyncio.gather(*(episode(seed, prompt) for seed, prompt in enumerate(prompts)))

    for prompt, completion in [turn for turns in asyncio.run(everything()) for turn in turns]:
        expected = logprobs_by_definition(sampler.model, prompt, completion.token_ids)
        assert completion.logprobs == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("name", OVER_SLOTS)
def test_logprobs_over_slots_are_the_models_own(name: str) -> None:
    model = model_of(*OVER_SLOTS[name])

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*one row at a time")
        sampler = TorchSampler(model, max_batch=3)

    assert_logprobs_are_the_models_own(sampler, PROMPTS)


def _hook_a_layer(model: Any) -> None:
    model.model.layers[1].register_forward_hook(lambda _layer, _given, states: 1.5 * states)


def _hook_attention(model: Any) -> None:
    model.model.layers[0].self_attn.register_forward_hook(lambda _layer, _given, out: (2.0 * out[0], out[1]))


def _replace_a_projection(model: Any) -> None:
    model.model.layers[0].self_attn.q_proj = torch.nn.Sequential(torch.nn.Linear(32, 32), torch.nn.Tanh())


def _replace_a_forward(model: Any) -> None:
    norm = model.model.layers[1].input_layernorm
    norm.forward = lambda states, usual=norm.forward: 2.0 * usual(states)


CHANGES = [_hook_a_layer, _hook_attention, _replace_a_projection, _replace_a_forward]


@pytest.mark.parametrize("change", CHANGES)
def test_changes_to_a_model_after_the_sampler_was_made_are_heeded(change: Any) -> None:
    model = model_of(*OVER_SLOTS["qwen3"])
    sampler = TorchSampler(model)

    change(model)

    assert_logprobs_are_the_models_own(sampler, PROMPTS)


def test_layers_that_differ_from_the_known_ones_of_their_kind_are_run_by_their_own_forward(monkeypatch: Any) -> None:
    layer = transformers.models.llama.modeling_llama.LlamaDecoderLayer
    usual = layer.forward
    monkeypatch.setattr(layer, "forward", lambda self, states, **given: 0.9 * usual(self, states, **given))

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*one row at a time")
        sampler = TorchSampler(model_of("Llama", HEADS))

    assert_logprobs_are_the_models_own(sampler, PROMPTS)


@pytest.mark.parametrize("name", ROW_BY_ROW)
def test_models_that_slots_are_not_enough_for_are_run_row_by_row(name: str) -> None:
    model = model_of(*ROW_BY_ROW[name])

    with pytest.warns(UserWarning, match="one row at a time"):
        sampler = TorchSampler(model, max_batch=3)

    # Linear attention sums a prompt in another order than its tokens one by one.
    tolerance = 1e-4 if "linear attention" in name else 1e-5
    assert_logprobs_are_the_models_own(sampler, PROMPTS, tolerance)


def test_models_that_no_cache_serves_exactly_are_refused() -> None:
    settings = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}

    with pytest.raises(ConfigError, match=r"cannot run MambaForCausalLM exactly.*over slots.*cache for each row"):
        TorchSampler(model_of("Mamba", settings))


@pytest.mark.parametrize("kind", ["Llama", "Gemma3", "GPT2"])
def test_models_in_half_precision_are_sampled_with_logprobs_close_to_their_own(kind: str) -> None:
    settings = GPT if kind == "GPT2" else {**HEADS, "head_dim": 8, **(MIXED if kind == "Gemma3" else {})}
    model = model_of(kind, settings).to(torch.bfloat16)

    completions = sample_all(TorchSampler(model), PROMPTS, SamplingParams(max_new_tokens=12))

    for prompt, completion in zip(PROMPTS, completions, strict=True):
        assert completion.logprobs.dtype == "float32"
        expected = logprobs_by_definition(model.float(), prompt, completion.token_ids)
        assert completion.logprobs == pytest.approx(expected, abs=0.3)
        model.to(torch.bfloat16)


@pytest.mark.parametrize("max_pass_tokens", [1, 2, 5, 11])
def test_prompts_are_computed_in_passes_of_bounded_size_with_the_same_result(max_pass_tokens: int) -> None:
    model = model_of("Gemma3", {**HEADS, **MIXED, "head_dim": 8})
    sampler, sizes = TorchSampler(model, max_pass_tokens=max_pass_tokens), []
    # The slow definition runs without inference mode.
    model.model.embed_tokens.register_forward_hook(
        lambda _, inputs, __: sizes.append(inputs[0].numel()) if torch.is_inference_mode_enabled() else None
    )

    assert_logprobs_are_the_models_own(sampler, [[6] * 23, *PROMPTS])

    assert max(sizes) <= max(max_pass_tokens, len(PROMPTS) + 1)  # decoding takes a token for each row


@pytest.mark.parametrize("num_rows", [1, 7, 24])
def test_rows_are_brought_into_order_of_length_without_mixing_them_up(num_rows: int, monkeypatch: Any) -> None:
    monkeypatch.setattr("llmgym.sampling.slot_model._NUMBERS_PER_CALL", 1)
    monkeypatch.setattr("llmgym.sampling.slot_model._MOVE_COST", 0)
    model = model_of("Llama", HEADS)
    sampler = TorchSampler(model, max_batch=num_rows)

    assert_logprobs_are_the_models_own(sampler, [[5] * (1 + 7 * index % 19) for index in range(30)])


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
