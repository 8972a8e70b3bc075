"""Counts of operations agree with what a model really multiplies; a GPU's use is measured by them."""

import copy
from types import SimpleNamespace
from typing import Any

import peft
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from llmgym.agents.grpo import GRPO
from support.bandit import bandit_model, trajectory, varied
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM

from llmgym.learning import Learner, LearnerConfig, LoRAConfig
from llmgym.learning.flops import DecoderSize, peak_flops, update_flops, work_of
from llmgym.training.clock import StepClock

SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
NUM_TOKENS = 10


def model_of(kind: str) -> Any:
    config = AutoConfig.for_model(
        kind, vocab_size=23, num_key_value_heads=2, head_dim=16, pad_token_id=0, attn_implementation="eager", **SIZES
    )
    return AutoModelForCausalLM.from_config(config)


def counted(model: Any) -> int:
    """Operations of both passes, by their matrix products as they are made; all tokens attend to all."""
    with FlopCounterMode(display=False) as counter:
        model(torch.arange(NUM_TOKENS)[None], use_cache=False).logits.sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3", "smollm3"])
def test_the_count_of_both_passes_is_that_of_their_matrix_products(kind: str) -> None:
    model = model_of(kind)
    model.config.sliding_window = None

    size = DecoderSize.of(model.config)

    assert size is not None
    assert size.flops(NUM_TOKENS, NUM_TOKENS**2, NUM_TOKENS) == counted(model)


def test_models_with_windows_or_other_layers_are_not_counted() -> None:
    windowed = AutoConfig.for_model("mistral", sliding_window=8, **SIZES)

    assert [DecoderSize.of(config) for config in (windowed, AutoConfig.for_model("gemma2"), None)] == [None] * 3


def test_weights_below_an_adapter_are_multiplied_once_in_the_backward_pass() -> None:
    model = model_of("llama")
    adapted = peft.get_peft_model(copy.deepcopy(model), peft.LoraConfig(r=4, target_modules="all-linear"))
    adapter = sum(each.numel() for each in adapted.parameters() if each.requires_grad)

    size = DecoderSize.of(model.config, adapter=adapter)

    # Below the first layer nothing learns: the gradient by its input, which three maps and their adapters get, is left.
    first = 2 * NUM_TOKENS * (32 * 64 + 2 * 32 * 32 + 3 * 32 * 4)
    assert size is not None
    assert size.flops(NUM_TOKENS, NUM_TOKENS**2, NUM_TOKENS) == counted(adapted) + first


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 5)), max_size=4), st.booleans())
def test_work_is_that_of_each_token_without_padding(sizes: list[tuple[int, int]], shares_prompts: bool) -> None:
    texts = [" ".join(["1"] * prompt + [".2"] * answer) for prompt, answer in sizes]

    work = work_of([trajectory(text) for text in texts], shares_prompts=shares_prompts)

    seen: set[int] = set()
    tokens: list[int] = []  # of each that is run, how many it attends to
    for prompt, answer in sizes:
        begin = prompt if shares_prompts and prompt in seen else 0
        seen.add(prompt)
        tokens += range(begin + 1, prompt + answer)  # nothing needs to be predicted by the last
    assert work == (len(tokens), sum(tokens), sum(answer for _, answer in sizes))


def test_an_update_is_counted_for_each_epoch_and_only_for_what_is_learned_from() -> None:
    once = Learner(bandit_model(), GRPO(group_size=2))
    twice = Learner(bandit_model(), GRPO(group_size=2, epochs=2, minibatches=1))
    adapted = Learner(bandit_model(), GRPO(group_size=2), LearnerConfig(lora=LoRAConfig(r=1)))

    flops = update_flops(once, [varied()])

    assert flops is not None
    assert update_flops(twice, [varied()]) == 2 * flops
    assert 0.6 * flops < (update_flops(adapted, [varied()]) or 0) < 0.8 * flops
    assert update_flops(once, []) == 0


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H200", 989e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA GeForce GTX 1080", None),
        ("NVIDIA A10G", None),
        ("NVIDIA H800 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB MIG 3g.40gb", None),
    ],
)
def test_the_peak_is_that_of_the_gpu_by_its_name(name: str, peak: float | None) -> None:
    assert peak_flops(name) == peak


def clock_on(device: str) -> dict[str, float]:
    collector: Any = SimpleNamespace(sampler=SimpleNamespace(seconds=0.0), env_seconds=0.0)
    clock = StepClock(collector, torch.device(device))
    with clock.learning():
        sum(range(1000))
    return clock.metrics(num_sampled=1, num_learned=1, flops=lambda: 989e12)


def test_memory_and_utilization_are_of_the_gpu_that_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(
        reset_peak_memory_stats=lambda device: None,
        synchronize=lambda device: None,
        max_memory_allocated=lambda device: 3 * 2**30,
        get_device_name=lambda device: "NVIDIA H200",
    )
    assert not clock_on("cpu").keys() & {"peak_memory_gib_learning", "model_flops_utilization"}

    monkeypatch.setattr(torch, "cuda", fake)
    metrics = clock_on("cuda")

    assert metrics["peak_memory_gib_learning"] == 3
    assert metrics["model_flops_utilization"] == pytest.approx(1 / metrics["seconds_learning"])
