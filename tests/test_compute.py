"""Options that trade memory for time change what is computed by no more than rounding; masters keep small updates."""

import copy
import os
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from llmgym.agents.grpo import GRPO
from llmgym.agents.ppo import PPO
from support.bandit import bandit_model, trajectory, varied
from torch import nn

from llmgym.errors import ConfigError
from llmgym.learning import ComputeConfig, CriticConfig, Learner, LearnerConfig, LoRAConfig, Policy
from llmgym.learning.compute import keeping_less
from llmgym.sampling.plain_decoder import is_untouched

OPTIONS: dict[str, dict[str, bool]] = {
    "fused": {"fused": True},
    "optimizer on the CPU": {"offload_optimizer": True},
    "optimizer on the CPU, fused": {"offload_optimizer": True, "fused": True},
    "checkpointing": {"gradient_checkpointing": True},
    "activations on the CPU": {"offload_activations": True},
    "all": {"fused": True, "offload_optimizer": True, "gradient_checkpointing": True, "offload_activations": True},
}
AGENTS: dict[str, Any] = {"grpo": GRPO(group_size=2), "ppo": PPO()}


def learner_of(
    agent: str = "grpo", *, model: Any = None, rate: float = 1e-3, lora: bool = False, **compute: Any
) -> Any:
    config = LearnerConfig(
        learning_rate=rate,
        weight_decay=0.1,
        microbatch_tokens=12,  # several passes, whose gradients add up
        compute=ComputeConfig(**compute),
        lora=LoRAConfig(r=2) if lora else None,
        critic=CriticConfig(kind="model", learning_rate=1e-3),
    )
    return Learner(model if model is not None else bandit_model(), AGENTS[agent], config)


def weights_after(learner: Learner, num_updates: int = 2) -> dict[str, torch.Tensor]:
    for _ in range(num_updates):
        learner.update([varied()])
    return {name: tensor.clone() for name, tensor in learner.policy.module.state_dict().items()}


@lru_cache
def usual_weights(agent: str, *, lora: bool) -> dict[str, torch.Tensor]:
    learner = learner_of(agent, lora=lora)
    start = {name: tensor.clone() for name, tensor in learner.policy.module.state_dict().items()}
    weights = weights_after(learner)
    assert any(not torch.equal(weights[name], tensor) for name, tensor in start.items())
    return weights


@pytest.mark.parametrize(
    ("agent", "lora", "name"),
    [*(("ppo", False, name) for name in OPTIONS), *(("grpo", True, name) for name in ("checkpointing", "all"))],
)
def test_an_option_changes_no_update_by_more_than_rounding(name: str, agent: str, lora: bool) -> None:
    expected = usual_weights(agent, lora=lora)

    found = weights_after(learner_of(agent, lora=lora, **OPTIONS[name]))

    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["checkpointing", "activations on the CPU", "optimizer on the CPU"])
def test_on_the_cpu_what_is_kept_less_gives_the_same_bits(name: str) -> None:
    expected, found = usual_weights("grpo", lora=False), weights_after(learner_of(**OPTIONS[name]))

    assert all(torch.equal(found[key], tensor) for key, tensor in expected.items())


def test_checkpointing_keeps_less_for_the_backward_pass_and_leaves_the_layers_alone() -> None:
    kept: dict[bool, int] = {}
    for is_on in (False, True):
        policy, sizes = Policy(bandit_model()), []
        policy.use(ComputeConfig(gradient_checkpointing=is_on))
        with torch.autograd.graph.saved_tensors_hooks(lambda t, s=sizes: s.append(t.numel()) or t, lambda t: t):
            policy.action_outputs([trajectory("1 2 3 4 5 6 7 8 .9")], temperature=1.0)
        kept[is_on] = sum(sizes)
        assert is_untouched(policy.backbone)

    assert kept[True] < 0.5 * kept[False]


def test_a_model_that_does_not_tell_its_layers_is_refused() -> None:
    with (
        pytest.raises(ConfigError, match="no layers of transformers"),
        keeping_less(nn.Linear(2, 2), ComputeConfig(gradient_checkpointing=True)),
    ):
        pass


def test_weights_in_bfloat16_with_masters_learn_what_is_rounded_away_without() -> None:
    start = bandit_model().bfloat16().state_dict()
    moved = {}
    for has_masters in (True, False):
        learner = learner_of(model=bandit_model().bfloat16(), rate=2e-5, master_weights=has_masters)
        after = weights_after(learner, num_updates=10)
        moved[has_masters] = sum(int((after[name] != start[name]).sum()) for name in start)

    assert moved[True] > 2 * moved[False]


def test_masters_follow_the_weights_that_float32_would_have() -> None:
    half = bandit_model().bfloat16()
    exact = copy.deepcopy(half).float()

    masters = learner_of(model=half, rate=1e-4)
    after, expected = weights_after(masters), weights_after(learner_of(model=exact, rate=1e-4))

    for name, tensor in after.items():
        assert tensor.dtype == torch.bfloat16
        torch.testing.assert_close(tensor.float(), expected[name], atol=1e-3, rtol=1e-2)
    stored = masters.state_dict()["steps"]["masters"][0]
    assert all(tensor.dtype == torch.float32 for tensor in stored)


def test_masters_take_the_sum_of_gradients_in_float32() -> None:
    learner = learner_of(model=bandit_model().bfloat16())
    parameter = next(iter(learner.policy.module.parameters()))
    for value in (256.0, 1.0):  # their sum in bfloat16 is 256
        parameter.backward(torch.full_like(parameter, value))

    master = learner.steps._masters[0].of[parameter]
    assert parameter.grad is None
    assert float(master.grad.flatten()[0]) == 257


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("compute", [{}, {"offload_optimizer": True, "fused": True}], ids=str)
def test_a_state_with_masters_goes_on_to_the_same_bits(agent: str, compute: dict[str, bool]) -> None:
    whole = learner_of(agent, model=bandit_model().bfloat16(), rate=1e-4, **compute)
    weights_after(whole, 2)
    resumed = learner_of(agent, model=bandit_model().bfloat16(), rate=1e-4, **compute)
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))

    expected, found = weights_after(whole, 2), weights_after(resumed, 2)

    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    pairs = zip(whole.state_dict()["steps"]["masters"][0], resumed.state_dict()["steps"]["masters"][0], strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize("other", ["gradient_checkpointing", "offload_activations"])
def test_compiling_goes_with_nothing_that_changes_how_layers_are_called(other: str) -> None:
    with pytest.raises(ConfigError, match="goes with neither"):
        ComputeConfig(compile=True, **{other: True})


COMPILED = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
import test_compute as t

def small():
    model = t.bandit_model()
    model.model.layers = model.model.layers[:1]
    return model

expected, learner = t.weights_after(t.learner_of(model=small()), 1), t.learner_of(model=small(), compile=True)
found = t.weights_after(learner, 1)
for name, tensor in expected.items():
    torch.testing.assert_close(found[name], tensor, atol=1e-4, rtol=1e-3)
before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
for text in ("1 2 3 .4", "1 2 3 4 5 6 7 8 9 10 11 .12"):  # other lengths
    learner.update([[t.trajectory(text, reward=1.0), t.trajectory(text)]])
assert before > 0
assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= before + 2
"""


@pytest.mark.slow
def test_a_compiled_model_learns_the_same_and_is_not_compiled_for_each_length(require: Any) -> None:
    require("compiler", shutil.which(os.environ.get("CXX", "g++")), "there is no g++, and CXX names none")
    ended = subprocess.run(
        [sys.executable, "-c", COMPILED, str(Path(__file__).parent)], capture_output=True, text=True, check=False
    )  # in a process of its own: the compiler's threads and caches stay out of this one

    assert ended.returncode == 0, ended.stderr[-2000:]
