"""The critic: an estimate of the return before each action, from the policy's hidden states or from a model's own."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..episode import Segment, StopReason, Trajectory
from ..errors import ConfigError
from .action_batch import ActionBatch
from .compute import ComputeConfig
from .model import Policy, action_values
from .packed_attention import way_to_pack


@dataclass(frozen=True, kw_only=True)
class CriticConfig:
    """Settings of the critic, which only agents that need values have."""

    kind: Literal["head", "model"] = "head"
    """head: one unit on the policy's hidden states, which costs nothing. model: a copy of the policy's backbone with
    such a head, which learns hidden states for values, at the price of a second model; the policy never feels it.
    Where the policy learns only adapters, so does the copy."""
    learning_rate: float = 1e-5
    """Peak learning rate of the critic's own parameters; it follows the policy's schedule."""
    stop_gradient: bool = True
    """Of a head: the value loss trains the head alone. False: it trains the policy's hidden states too."""
    warmup_updates: int = 0
    """Updates at the beginning in which only the critic learns and the policy stays exactly as it is."""

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise ConfigError(f"learner.critic.learning_rate is {self.learning_rate}, but it must be above 0.")
        if self.kind == "model" and not self.stop_gradient:
            raise ConfigError(
                "learner.critic.stop_gradient is false, but a critic that is its own model shares no hidden states "
                "with the policy. Leave it out, or use kind = 'head'."
            )
        if self.warmup_updates < 0:
            raise ConfigError(f"learner.critic.warmup_updates is {self.warmup_updates}, but it must be at least 0.")


class CriticHead(nn.Module):
    """One linear unit on the hidden state before an action. It begins at 0, so that it begins without a bias.

    Args:
        hidden_size: width of the hidden states.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        # Not nn.Linear, which draws its weights from the global random state, to be overwritten here.
        self.weight = nn.Parameter(torch.zeros(hidden_size))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, hidden: Tensor, *, stop_gradient: bool) -> Tensor:
        """Values, shape (N,), of hidden states, shape (N, hidden_size); in float32."""
        hidden = hidden.detach() if stop_gradient else hidden
        return hidden.to(self.weight.dtype) @ self.weight + self.bias


class CriticModel(nn.Module):
    """A copy of a policy's backbone, and a `CriticHead` on its hidden states; what is frozen in one is so in the other,
    and not copied.

    Args:
        policy: what to copy, as it is now.
        compute: how the copy is run; it is never compiled.
    """

    def __init__(self, policy: Policy, compute: ComputeConfig) -> None:
        super().__init__()
        shared = {id(one): one for one in policy.backbone.parameters() if not one.requires_grad}
        # In evaluation mode like the policy: dropout would make old and new values differ.
        self.backbone = copy.deepcopy(policy.backbone, shared).eval()
        self.head = CriticHead(hidden_size(policy))
        self._attention_shapes, self._compute = policy.attention_shapes, compute

    def forward(self, trajectories: Sequence[Trajectory]) -> Tensor:
        """The value before each action, shape (B, A), zero on padding."""
        head, weight = partial(self.head, stop_gradient=False), next(self.backbone.parameters())
        packing = way_to_pack(self._attention_shapes, self._compute.attention, weight)
        return action_values(self.backbone, trajectories, head, compute=self._compute, packing=packing)


def make_critic(policy: Policy, config: CriticConfig, compute: ComputeConfig | None = None) -> CriticHead | CriticModel:
    """The critic of a policy, on the same device.

    Raises:
        ConfigError: as `hidden_size`.
    """
    critic = (
        CriticModel(policy, compute or ComputeConfig()) if config.kind == "model" else CriticHead(hidden_size(policy))
    )
    return critic.to(policy.device)


def hidden_size(policy: Policy) -> int:
    """Width of a policy's hidden states.

    Raises:
        ConfigError: the model does not say what its output head is.
    """
    head = getattr(policy.module, "get_output_embeddings", lambda: None)()
    if head is None:
        raise ConfigError(
            f"The agent needs a critic, which stands on the model's hidden states, but {type(policy.module).__name__} "
            "has no get_output_embeddings() to tell their size. Use a transformers causal language model, or an agent "
            "with a group baseline, such as 'grpo'."
        )
    return int(head.weight.shape[1])


def rows_cut_from_outside(trajectories: Sequence[Trajectory]) -> list[int]:
    """Rows whose episode would have gone on, and whose policy had no say in that it did not.

    Only a time limit is such an end. Budgets of turns, tokens and context are the policy's own to spend: were the
    critic's hopes paid after them, never finishing would pay.
    """
    return [row for row, trajectory in enumerate(trajectories) if trajectory.stop_reason is StopReason.TIME_LIMIT]


def with_only_the_next_action(trajectory: Trajectory) -> Trajectory:
    """One action after everything that the policy has seen: its value is that of the state an episode was left in.

    Which token the action is does not matter, as an action's value is the estimate before it.
    """
    last = trajectory.segments[-1]
    token_ids = np.append(last.token_ids, last.token_ids[-1:])
    is_action = np.arange(len(token_ids)) == len(last.token_ids)
    return replace(trajectory, segments=(Segment(token_ids, is_action),), turns=())


def explained_variance(values_BA: Tensor, returns_BA: Tensor, mask_BA: Tensor) -> float | None:
    """The share of the returns' variance that the critic accounts for.

        1 - var(returns - values) / var(returns)

    Args:
        values_BA: the critic's estimate before each action, shape (B, A).
        returns_BA: what came of it, shape (B, A).
        mask_BA: True where the token is real, shape (B, A).

    Returns:
        1 for a perfect critic, 0 for one that says the same everywhere, negative for a misleading one; None where
        all returns are equal, so that there is nothing to explain.
    """
    returns = returns_BA[mask_BA].double()
    if len(returns) < 2 or bool(returns.max() == returns.min()):
        return None
    return 1 - float((returns - values_BA[mask_BA].double()).var() / returns.var())


def judge_critic(batch: ActionBatch) -> dict[str, float]:
    """How well the critic knew what came, before it learns from it; empty where that means nothing."""
    if batch.values_BA is None or batch.returns_BA is None:
        return {}
    explained = explained_variance(batch.values_BA, batch.returns_BA, batch.mask_BA)
    return {} if explained is None else {"explained_variance": explained}
