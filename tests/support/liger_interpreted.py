"""Liger's kernels in Triton's interpreter, on the CPU, beside transformers' modules: a report of gaps on stdout.

Run it with TRITON_INTERPRET=1. The interpreter knows neither bfloat16 nor two things that the kernels ask of a
compiler, which are given to it here.
"""

import copy
import json

import liger_kernel.ops.rms_norm
import numpy as np
import torch
import triton.language as tl
from llmgym.agents.grpo import GRPO
from support.bandit import bandit_model, varied
from transformers import AutoConfig, AutoModelForCausalLM
from triton.runtime import interpreter

from llmgym.learning import ComputeConfig, KLConfig, Learner, LearnerConfig, LoRAConfig, Policy
from llmgym.learning.kernels import Place, liger_functions, use_kernels

converted = interpreter._implicit_cvt


def with_floats(value):
    """Numbers have the methods of tensors in a compiled kernel."""
    if isinstance(value, float):
        return tl.tensor(interpreter.TensorHandle(np.array([value], dtype=np.float32), tl.float32), tl.float32)
    return converted(value)


interpreter._implicit_cvt = with_floats
liger_kernel.ops.rms_norm.rsqrt = lambda x: tl.math.rsqrt(x)  # the one of a GPU's library


class Interpreted(Place):
    def find_liger(self, module):
        return liger_functions()


def gaps(kind):
    """Largest gap of log-probabilities, and of gradients relative to the largest, from those of the usual model."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = AutoConfig.for_model(kind, vocab_size=23, num_key_value_heads=2, head_dim=8, pad_token_id=0, **sizes)
    torch.manual_seed(0)
    usual = AutoModelForCausalLM.from_config(config)
    for name, parameter in usual.named_parameters():
        if "norm" in name:
            torch.nn.init.normal_(parameter, mean=1, std=0.3)
    other = copy.deepcopy(usual)
    told = use_kernels(other, "liger", place=Interpreted())
    results = []
    for module in (usual, other):
        logprobs = Policy(module).action_outputs(varied(), temperature=1.0).logprobs_BA
        (logprobs**2).sum().backward()
        results.append((logprobs.detach(), {name: p.grad.float() for name, p in module.named_parameters()}))
    (expected, by), (found, other_by) = results
    by_name = {name: float((other_by[name] - g).abs().max() / g.abs().max()) for name, g in by.items() if g.any()}
    return {"told": told, "logprobs": float((found - expected).abs().max()), "gradients": max(by_name.values())}


def update_gaps(lora, **compute):
    """Largest gap of weights after an update, relative to the largest step that the usual model made."""
    start = bandit_model()
    ends = []
    for is_replaced in (False, True):
        model = copy.deepcopy(start)
        if is_replaced:
            use_kernels(model, "liger", place=Interpreted())
        settings = {
            "learning_rate": 1e-3,
            "compute": ComputeConfig(**compute),
            "kl": KLConfig(coef=0.1, estimator="k3", placement="loss"),
        }
        settings |= {"betas": (0.0, 0.0)} | ({"lora": LoRAConfig(r=2, init_lora_weights="gaussian")} if lora else {})
        learner = Learner(model, GRPO(group_size=2), LearnerConfig(**settings))
        learner.update([varied()])
        ends.append(dict(learner.policy.module.named_parameters()))
    usual, other = ends
    return max(float((other[name] - end).abs().max()) / 1e-3 for name, end in usual.items())


if __name__ == "__main__":
    kinds = ("llama", "mistral", "qwen2", "qwen3", "smollm3")
    updates = {
        "all weights": update_gaps(lora=False),
        "adapters": update_gaps(lora=True),
        "checkpointing": update_gaps(lora=False, gradient_checkpointing=True),
        "adapters, activations on the CPU": update_gaps(lora=True, offload_activations=True),
    }
    print(json.dumps({"passes": {kind: gaps(kind) for kind in kinds}, "updates": updates}))
