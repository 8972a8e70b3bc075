"""Settings of the learner, its learning-rate schedule and its optimizer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import nn

from ..errors import ConfigError
from .compute import ComputeConfig
from .correction import CorrectionConfig
from .critic import CriticConfig
from .kl import KLConfig
from .lora import LoRAConfig
from .parallel import ParallelConfig


@dataclass(frozen=True, kw_only=True)
class LearnerConfig:
    """Settings of the learner, the same for every agent."""

    learning_rate: float = 1e-6
    """Peak learning rate of AdamW."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decay rates of the first and second moment, each in [0, 1)."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay; on matrices only, never on biases or norms."""
    warmup_steps: int = 0
    """Optimizer steps over which the learning rate rises linearly from 0."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate falls after the warm-up."""
    total_steps: int | None = None
    """Optimizer steps of the whole run, warm-up included; needed by "linear" and "cosine"."""
    final_lr_share: float = 0.0
    """Learning rate at the end of the schedule, as a share of the peak."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm; `inf` switches it off."""
    microbatch_tokens: int = 8192
    """Positions, padding included, that go through the model at once. Changes memory and speed, not the result."""
    max_actions: int | None = None
    """Sampled tokens of the longest allowed trajectory, for agents that divide by it or charge for its nearness; a run
    sets it, with several environments to the longest of them all."""
    max_sampling_gap: float = 0.05
    """Largest mean gap, in nats a token, between the log-probabilities of sampler and learner at the first update, and
    at the first ten with new weights since; there a fiftieth of it where both are float32, which rounds less.
    Rounding stays far below; `inf` switches the checks off."""
    critic: CriticConfig = field(default_factory=CriticConfig)
    """Of agents that need values."""
    kl: KLConfig | None = None
    """Penalty for leaving the policy of the start; left out for none."""
    correction: CorrectionConfig | None = None
    """For a sampler that is not quite the learner's policy (another engine, precision or weights). Left out, a run has
    one of its own where the sampler does not sample with the learner's model, or the training is not synchronous."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """What trades memory for time."""
    lora: LoRAConfig | None = None
    """Train low-rank adapters instead of the weights; left out to train all weights."""
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    """Of several processes that learn together."""
    seed: int = 0
    """Of the order of minibatches, and of what adapters begin with."""

    def __post_init__(self) -> None:
        self._require(self.learning_rate > 0, "learning_rate", "above 0")
        self._require(all(0 <= beta < 1 for beta in self.betas), "betas", "two numbers of at least 0 and below 1")
        self._require(self.weight_decay >= 0, "weight_decay", "at least 0")
        self._require(self.warmup_steps >= 0, "warmup_steps", "at least 0")
        self._require(self.schedule in ("constant", "linear", "cosine"), "schedule", "constant, linear or cosine")
        self._require(0 <= self.final_lr_share <= 1, "final_lr_share", "from 0 to 1")
        self._require(self.max_grad_norm > 0, "max_grad_norm", "above 0, inf for no clipping")
        self._require(self.microbatch_tokens >= 1, "microbatch_tokens", "at least 1")
        self._require(self.max_actions is None or self.max_actions >= 1, "max_actions", "at least 1")
        self._require(self.max_sampling_gap > 0, "max_sampling_gap", "above 0, inf for no check")
        if self.schedule != "constant" and self.total_steps is None:
            raise ConfigError(
                f"total_steps is not set, but the schedule {self.schedule!r} must know where it ends. Set it to the "
                "number of optimizer steps of the run; a run does so itself."
            )

    @property
    def correction_in_use(self) -> CorrectionConfig | None:
        """How importance weights are computed; None where they are not."""
        return self.correction if self.correction is not None and self.correction.enabled else None

    def _require(self, holds: bool, name: str, expected: str) -> None:
        if not holds:
            raise ConfigError(f"learner.{name} is {getattr(self, name)!r}, but it must be {expected}.")

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of optimizer step `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        if self.schedule == "constant":
            return self.learning_rate
        assert self.total_steps is not None
        progress = min(1.0, (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps))
        falling = 1 - progress if self.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
        return self.learning_rate * (self.final_lr_share + (1 - self.final_lr_share) * falling)


def make_optimizer(
    parameters: Sequence[nn.Parameter], config: LearnerConfig, *, critic: Sequence[nn.Parameter] = ()
) -> torch.optim.AdamW:
    """AdamW over all parameters that require a gradient.

    Each group's "lr_scale" is its learning rate as a multiple of the policy's.
    """
    groups = _groups(parameters, config.weight_decay, lr_scale=1.0)
    groups += _groups(critic, config.weight_decay, lr_scale=config.critic.learning_rate / config.learning_rate)
    fused = True if config.compute.fused else None  # False would switch off torch's own choice of "foreach"
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=fused)


def _groups(parameters: Sequence[nn.Parameter], weight_decay: float, *, lr_scale: float) -> list[dict[str, Any]]:
    """Matrices, which decay, and the rest, which does not."""
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    matrices = [parameter for parameter in parameters if parameter.dim() >= 2]
    others = [parameter for parameter in parameters if parameter.dim() < 2]
    groups = [
        {"params": matrices, "weight_decay": weight_decay, "lr_scale": lr_scale},
        {"params": others, "weight_decay": 0.0, "lr_scale": lr_scale},
    ]
    return [group for group in groups if group["params"]]
