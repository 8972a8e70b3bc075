"""Liger's kernels take the place of norms and MLPs of one model, where they are exact and faster."""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from llmgym.agents.grpo import GRPO
from support.bandit import bandit_model, varied
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from llmgym.errors import ConfigError, MissingExtraError
from llmgym.learning import ComputeConfig, KLConfig, Learner, LearnerConfig, LoRAConfig
from llmgym.learning.kernels import Liger, Place, use_kernels
from llmgym.sampling.plain_decoder import is_untouched
from llmgym.training.config import EnvConfig, RolloutConfig, RunConfig


@dataclass
class FakePlace(Place):
    """A place with kernels of our own, which notes who calls them."""

    speedups: dict[str, float] = field(default_factory=lambda: {"norm": 2.0, "mlp": 1.5})
    calls: list[str] = field(default_factory=list)
    error: float = 0.0
    """That norms make."""

    def has_liger(self, module: Any) -> bool:
        return True

    def find_liger(self, module: Any) -> Liger:
        return Liger(self._norm, self._silu_mul)

    def seconds(self, run: Callable[[], object]) -> float:
        self.calls.clear()
        run()
        return 1 / self.speedups[self.calls[0]] if self.calls else 1.0

    def _norm(self, states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        self.calls.append("norm")
        return F.rms_norm(states, weight.shape, weight, epsilon) + self.error

    def _silu_mul(self, a: Tensor, b: Tensor) -> Tensor:
        self.calls.append("mlp")
        return F.silu(a) * b


IDS = torch.arange(12).view(2, 6)


def calls_of(place: FakePlace, model: Any) -> tuple[int, int]:
    """Of both kernels in a pass."""
    place.calls.clear()
    model(IDS)
    return place.calls.count("norm"), place.calls.count("mlp")


def test_all_norms_and_mlps_of_the_one_model_are_replaced_and_nothing_else_changes() -> None:
    model, other, place = bandit_model(), bandit_model(), FakePlace()
    names, forward = list(model.state_dict()), model.forward

    told = use_kernels(model, "auto", place=place)

    assert told == "Liger's kernels: norms (2.00 times as fast as torch's), MLPs (1.50 times as fast as torch's)"
    assert (calls_of(place, model), calls_of(place, other)) == ((5, 2), (0, 0))
    torch.testing.assert_close(model(IDS).logits, other(IDS).logits)
    assert (list(model.state_dict()), model.forward) == (names, forward)
    assert is_untouched(model.model)
    assert type(model.lm_head) is torch.nn.Linear


def test_kernels_that_are_slower_are_left_out() -> None:
    model, place = bandit_model(), FakePlace(speedups={"norm": 0.5, "mlp": 1.5})

    told = use_kernels(model, "auto", place=place)

    assert told.startswith("Liger's kernels: not norms (0.50 times")
    assert calls_of(place, model) == (0, 2)


def test_kernels_that_are_asked_for_are_not_measured_and_can_be_taken_back() -> None:
    model, place = bandit_model(), FakePlace(speedups={})

    assert use_kernels(model, "liger", place=place) == "Liger's kernels: norms, MLPs"
    assert calls_of(place, model) == (5, 2)
    assert use_kernels(model, "torch", place=place) == ""
    assert calls_of(place, model) == (0, 0)


def test_a_copy_runs_by_the_kernels_with_weights_of_its_own() -> None:
    model, place = bandit_model(), FakePlace()
    use_kernels(model, "liger", place=place)

    other = copy.deepcopy(model)
    other.model.norm.weight.data.zero_()

    assert calls_of(place, other) == (5, 2)
    assert not other(IDS).logits.any()
    assert model(IDS).logits.any()


@pytest.mark.parametrize("problem", ["inexact", "failing"])
def test_kernels_that_compute_something_else_or_fail_are_not_used(problem: str) -> None:
    class Failing(FakePlace):
        def find_liger(self, module: Any) -> Liger:
            raise RuntimeError("no compiler")

    model, place = bandit_model(), FakePlace(error=1e-3) if problem == "inexact" else Failing()

    told = use_kernels(model, "auto", place=place)

    assert told.startswith("torch's kernels, and not Liger's: they ")
    assert calls_of(place, model) == (0, 0)
    expected = "differ by 1.0e-03 from what LlamaRMSNorm computes" if problem == "inexact" else "no compiler"
    with pytest.raises(ConfigError, match=expected):
        use_kernels(model, "liger", place=place)


def test_kernels_with_other_gradients_are_not_used() -> None:
    class Other(FakePlace):
        def _norm(self, states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
            return super()._norm(states, weight, epsilon) + (states - states.detach())

    with pytest.raises(ConfigError, match="from what LlamaRMSNorm computes"):
        use_kernels(bandit_model(), "liger", place=Other())


def model_of(kind: str, **settings: Any) -> Any:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, vocab_size=23, **sizes, **settings))


@pytest.mark.parametrize(
    ("kind", "settings", "problem"),
    [
        ("gemma", {}, "GemmaForCausalLM is of the type 'gemma', not among 'llama'"),
        ("llama", {"hidden_act": "gelu"}, "have the activation GELU"),
        ("llama", {"dtype": torch.float64}, "computes in torch.float64"),
    ],
)
def test_models_that_liger_computes_otherwise_are_refused(kind: str, settings: dict[str, Any], problem: str) -> None:
    model = model_of(kind, **{name: value for name, value in settings.items() if name != "dtype"})

    with pytest.raises(ConfigError, match=problem):
        use_kernels(model.to(settings.get("dtype", torch.float32)), "liger", place=FakePlace())


def test_kernels_that_are_asked_for_where_none_can_be_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = bandit_model()

    if find_spec("liger_kernel") is None:
        with pytest.raises(MissingExtraError, match=r"llmgym\[liger\]"):
            use_kernels(model, "liger")
    monkeypatch.setitem(sys.modules, "liger_kernel", object())
    with pytest.raises(ConfigError, match="the model is on 'cpu', and they need a CUDA GPU"):
        use_kernels(model, "liger")
    assert use_kernels(model, "auto") == ""


@pytest.mark.parametrize(
    ("is_deterministic", "choice", "expected"),
    [(True, "auto", "torch"), (True, "liger", "liger"), (False, "auto", "auto")],
)
def test_a_deterministic_run_chooses_no_kernels_by_their_time(
    is_deterministic: bool, choice: str, expected: str
) -> None:
    rollout, learner = RolloutConfig(deterministic=is_deterministic), {"compute": {"kernels": choice}}
    config = RunConfig(env=EnvConfig(id="llmgym/Copy-v0"), rollout=rollout, learner=learner)

    assert config.learner_config(total_steps=1, max_actions=8).compute.kernels == expected


def test_a_compiled_model_has_no_kernels_of_liger() -> None:
    with pytest.raises(ConfigError, match=r"torch\.compile makes kernels of its own"):
        ComputeConfig(compile=True, kernels="liger")


@pytest.mark.parametrize("lora", [None, LoRAConfig(r=2, init_lora_weights="gaussian")], ids=["weights", "adapters"])
@pytest.mark.parametrize("compute", [{}, {"gradient_checkpointing": True}], ids=["", "checkpointing"])
def test_an_update_is_the_same_by_the_kernels(lora: LoRAConfig | None, compute: dict[str, Any]) -> None:
    place, ends = FakePlace(), []
    for choice in ("torch", "auto"):  # which leaves a model on the CPU as it is
        model = bandit_model()
        use_kernels(model, "torch" if choice == "torch" else "liger", place=place)
        config = LearnerConfig(
            learning_rate=1e-3,
            lora=lora,
            kl=KLConfig(coef=0.1, estimator="k3", placement="loss"),
            compute=ComputeConfig(**compute, kernels=choice),
        )
        learner = Learner(model, GRPO(group_size=2), config)
        place.calls.clear()
        learner.update([varied()])
        ends.append(learner.policy.module.state_dict())
        assert bool(place.calls) == (choice == "auto")

    for name, end in ends[0].items():
        torch.testing.assert_close(ends[1][name], end, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_liger_computes_what_transformers_does_in_float32(require: Any) -> None:
    is_there = find_spec("liger_kernel") and find_spec("triton")
    require("liger", is_there, "liger-kernel or triton is not installed")
    tests = Path(__file__).parent
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])}

    done = subprocess.run(
        [sys.executable, tests / "support" / "liger_interpreted.py"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )

    report = json.loads(done.stdout.splitlines()[-1])
    assert len(report["passes"]) == 5
    for found in report["passes"].values():
        assert found["told"] == "Liger's kernels: norms, MLPs"
        assert max(found["logprobs"], found["gradients"]) < 1e-5
    assert max(report["updates"].values()) < 1e-3
