"""Adapters on weights in 4 bits learn as on the same weights in float32."""

import copy
import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from llmgym.agents.sft import SFT
from support.bandit import trajectory

from llmgym.errors import ConfigError
from llmgym.learning import Learner, LearnerConfig, LoRAConfig, Policy, load_policy, load_quantised, save_policy
from llmgym.learning.loading import num_parameters
from llmgym.training.tiny_model import TinyModelConfig, build_character_tokenizer, build_tiny_model

TEXTS = ["20 21 .30 .31 .32", "22 23 24 .33 .34", "20 .40"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, require: Any) -> Path:
    require("bitsandbytes", find_spec("bitsandbytes"), "it is not installed")
    place, tokenizer = tmp_path_factory.mktemp("model"), build_character_tokenizer()
    sizes = TinyModelConfig(hidden_size=64, num_layers=2, num_heads=2, intermediate_size=128)  # blocks of 64 weights
    save_policy(build_tiny_model(sizes, tokenizer, seed=0), place)
    tokenizer.save_pretrained(place)
    return place


def learner_of(folder: Path, **lora: Any) -> Any:
    policy, _ = load_quantised(folder, device=torch.device("cpu"), dtype=torch.float32)
    config = LearnerConfig(learning_rate=3e-2, lora=LoRAConfig(r=4, init_lora_weights="gaussian", **lora))
    return Learner(policy, SFT(), config)


def demonstrations() -> list[list[Any]]:
    return [[trajectory(text)] for text in TEXTS]


def logits_of(module: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return module(torch.arange(20, 32)[None]).logits


def dequantised(module: torch.nn.Module) -> torch.nn.Module:
    """The same numbers in float32, in linear maps as usual."""
    import bitsandbytes

    for name, part in list(module.named_modules()):
        if isinstance(part, bitsandbytes.nn.Linear4bit):
            weight = bitsandbytes.functional.dequantize_4bit(part.weight.data, part.weight.quant_state)
            linear = torch.nn.Linear(part.in_features, part.out_features, bias=False)
            linear.weight.data = weight.float()
            module.set_submodule(name, linear)
    return module


@pytest.mark.parametrize("use_dora", [False, True])
def test_gradients_pass_through_quantised_weights_also_after_a_pass_without_gradient(
    folder: Path, use_dora: bool
) -> None:
    policy, _ = load_quantised(folder, device=torch.device("cpu"), dtype=torch.float32)
    whole = Policy(dequantised(copy.deepcopy(policy.module)))

    gradients = []
    for each in (policy, whole):
        logits_of(each.module)  # as a sampler does, which shares the model
        config = LearnerConfig(lora=LoRAConfig(r=4, init_lora_weights="gaussian", use_dora=use_dora))
        module = Learner(each, SFT(), config).policy
        torch.manual_seed(0)
        for name, parameter in module.module.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter)
        module.action_outputs([trajectory(text) for text in TEXTS], temperature=1.0).logprobs_BA.sum().backward()
        gradients.append({n: p.grad for n, p in module.module.named_parameters() if p.requires_grad})

    assert any(float(gradient.abs().max()) > 0.1 for gradient in gradients[1].values())
    for name, expected in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], expected, atol=1e-4, rtol=1e-4)


def test_the_loss_on_quantised_weights_falls_and_a_state_goes_on_to_the_same_bits(folder: Path) -> None:
    learner, other = learner_of(folder), learner_of(folder)
    losses = [learner.update(demonstrations())["loss"] for _ in range(8)]
    other.load_state_dict(copy.deepcopy(learner.state_dict()))

    assert losses[-1] < losses[0] - 0.3  # the head, which limits it, is frozen
    assert learner.update(demonstrations())["loss"] == other.update(demonstrations())["loss"]
    assert torch.equal(logits_of(learner.policy.module), logits_of(other.policy.module))


def test_an_adapter_of_quantised_weights_is_loaded_by_peft_and_refuses_to_be_merged(
    folder: Path, tmp_path: Path
) -> None:
    learner = learner_of(folder)
    learner.update(demonstrations())
    save_policy(learner.policy.module, tmp_path, base=str(folder))

    base, _ = load_quantised(folder, device=torch.device("cpu"), dtype=torch.float32)
    loaded = peft.PeftModel.from_pretrained(base.module, tmp_path).eval()
    torch.testing.assert_close(logits_of(loaded), logits_of(learner.policy.module))
    with pytest.raises(ConfigError, match="take no adapter into themselves"):
        learner.weight_source(merge=True)


def test_nobody_is_advised_to_fetch_kernels_that_have_no_gradient(folder: Path) -> None:
    from bitsandbytes.backends.cpu import ops

    assert not ops.logger.isEnabledFor(logging.WARNING)


def test_parameters_in_four_bits_are_counted_as_they_were_before(folder: Path) -> None:
    quantised, _ = load_quantised(folder, device=torch.device("cpu"), dtype=torch.float32)

    assert num_parameters(quantised.module) == num_parameters(load_policy(folder).module)
