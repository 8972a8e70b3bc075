"""The arithmetic that an update of the policy takes, and how much of it a GPU can do a second."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..episode import Trajectory
from .kernels import PLAIN_DECODERS
from .learner import Learner
from .model import prompts_and_lengths
from .packed_attention import has_full_attention

_PEAKS = (
    ("GB200", 2500e12),
    ("B200", 2250e12),
    ("GH200", 989e12),
    ("H200 NVL", 835e12),
    ("H200", 989e12),
    ("H100 NVL", 835e12),
    ("H100 PCIe", 756e12),
    ("H100", 989e12),
    ("H800 PCIe", 756e12),
    ("H800", 989e12),
    ("H20", 148e12),
    ("A100", 312e12),
    ("A800", 312e12),
    ("A40", 149.7e12),
    ("A30", 165e12),
    ("A10", 125e12),
    ("L40S", 362e12),
    ("L40", 181e12),
    ("L4", 121e12),
)
"""By a part of a GPU's name, whole words of it: the first that fits. From NVIDIA's data sheets, without sparsity."""


def peak_flops(device_name: str) -> float | None:
    """Operations a second of a GPU's dense matrix products in bfloat16; None: not in the table, or a part of one."""
    if re.search(r"\bMIG\b", device_name):
        return None
    return next((peak for name, peak in _PEAKS if re.search(rf"\b{name}\b", device_name)), None)


@dataclass(frozen=True)
class DecoderSize:
    """What the cost of a plain decoder depends on."""

    body: int
    """Weights that each token is multiplied with, below the head."""
    head: int
    """Those of the head."""
    attention: int
    """Heads times their width, over all layers."""
    adapter: int = 0
    """Weights of an adapter, which alone learns; 0: all learn."""

    @classmethod
    def of(cls, config: Any, *, adapter: int = 0) -> DecoderSize | None:
        """By the settings of a transformers model; None where its layers are of other kinds."""
        if getattr(config, "model_type", None) not in PLAIN_DECODERS or not has_full_attention(config):
            return None
        width, heads = config.hidden_size, config.num_attention_heads
        head_width = getattr(config, "head_dim", None) or width // heads
        queries, keys = heads * head_width, (config.num_key_value_heads or heads) * head_width
        layer = 2 * width * queries + 2 * width * keys + 3 * width * config.intermediate_size
        layers = config.num_hidden_layers
        return cls(layers * layer, width * config.vocab_size, layers * queries, adapter)

    def flops(self, num_tokens: int, num_pairs: int, num_actions: int) -> int:
        """Of a forward and a backward pass.

        With N weights below the head and D tokens these are 6 N D, as the backward pass multiplies each weight twice,
        once for its own gradient; 4 N D where it does not learn. To that come the head on the actions, and attention.

        Args:
            num_tokens: that go through the model.
            num_pairs: of a token and one that it attends to, itself among them.
            num_actions: tokens that the head predicts.
        """
        products = self.body * num_tokens + self.head * num_actions
        own = 6 * self.adapter * num_tokens if self.adapter else 2 * products
        return 4 * products + own + 12 * self.attention * num_pairs


def work_of(trajectories: Iterable[Trajectory], *, shares_prompts: bool) -> tuple[int, int, int]:
    """Tokens, pairs and actions of `DecoderSize.flops`, without any padding.

    Args:
        trajectories: that are learned from once.
        shares_prompts: a prompt that several begin with is computed once.
    """
    seen: set[bytes] = set()
    num_tokens = num_pairs = num_actions = 0
    for trajectory in trajectories:
        num_actions += trajectory.num_actions
        for prompt, length in prompts_and_lengths(trajectory):
            shared = len(prompt) // 4 if shares_prompts and prompt in seen else 0  # int32
            seen.add(prompt)
            num_tokens += length - shared
            num_pairs += (length * (length + 1) - shared * (shared + 1)) // 2
    return num_tokens, num_pairs, num_actions


def update_flops(learner: Learner, groups: Sequence[Sequence[Trajectory]]) -> float | None:
    """What an update of the policy takes of each process at least: its passes with gradient, nothing computed twice.

    Passes without gradient, for log-probabilities of before the update or of a reference, and a critic of its own are
    not counted, so that a share of the peak is rather too low than too high.

    Args:
        learner: that updates.
        groups: what it learns from.

    Returns:
        None where the model's layers are not known.
    """
    policy, rollout = learner.policy, learner.agent.rollout
    adapter = sum(each.numel() for name, each in policy.module.named_parameters() if ".lora_" in name)
    size = DecoderSize.of(getattr(policy.backbone, "config", None), adapter=adapter)
    if size is None:
        return None
    trajectories = [trajectory for group in groups for trajectory in group if trajectory.is_valid]
    work = work_of(trajectories, shares_prompts=policy.packing is not None)
    return size.flops(*work) * (rollout.epochs if rollout is not None else 1) / learner.ranks.count
