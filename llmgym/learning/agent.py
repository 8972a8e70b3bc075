"""The contract of a learning agent: what it learns from, its advantages and its loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum
from typing import Protocol

from torch import Tensor

from ..episode import Trajectory
from ..errors import ConfigError
from ..sampling import SamplingParams
from .action_batch import ActionBatch


class DataKind(StrEnum):
    """What an agent learns from."""

    ROLLOUTS = "rollouts"
    DEMONSTRATIONS = "demonstrations"
    PAIRS = "pairs"


class Need(StrEnum):
    """What the learner computes for an agent before its advantages, without gradient, or must be told, or spare it."""

    OLD_LOGPROBS = "old_logprobs"
    REF_LOGPROBS = "ref_logprobs"
    VALUES = "values"
    ENTROPY = "entropy"
    MAX_ACTIONS = "max_actions"
    """The length of the longest allowed trajectory, which `learner.max_actions` tells."""
    PAID_REWARDS = "paid_rewards"
    """Rewards with no KL penalty in them: for dividing by a group's standard deviation, which blows up to full size
    whatever tells samples apart that were paid the same."""


class Unit(StrEnum):
    """What a micro-batch must not split."""

    TOKEN = "token"
    TRAJECTORY = "trajectory"
    PAIR = "pair"


class Aggregation(Enum):
    """How losses become one number; every denominator is of an optimizer step's batch, never of a micro-batch."""

    TOKEN_MEAN = "token mean"
    """Sum over action tokens / number of action tokens."""
    TRAJECTORY_MEAN = "trajectory mean"
    """Mean over trajectories of the mean over their action tokens."""
    CONSTANT = "constant"
    """Sum over action tokens / (trajectories x `ActionBatch.max_actions`)."""
    PAIR_MEAN = "pair mean"


@dataclass(frozen=True, kw_only=True)
class RolloutSpec:
    """How an online agent wants its rollouts."""

    group_size: int = 1
    """Trajectories for each task."""
    sampling: SamplingParams = field(default_factory=SamplingParams)
    epochs: int = 1
    """Passes over a batch."""
    minibatches: int = 1
    """Optimizer steps in each pass."""
    resample_rounds: int = 0
    """Further collections that may be made to replace the groups that `select` drops; 0: learn from what is left."""

    def __post_init__(self) -> None:
        for name, least in (("group_size", 1), ("epochs", 1), ("minibatches", 1), ("resample_rounds", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} is {getattr(self, name)}, but it must be at least {least}.")

    @property
    def is_on_policy(self) -> bool:
        """True where a batch makes one optimizer step, so that the probability ratio is 1."""
        return self.epochs == 1 and self.minibatches == 1


Group = Sequence[Trajectory]
"""The trajectories sampled for one task."""


@dataclass(frozen=True, eq=False)
class ModelOutputs:
    """What the learner's forward pass gives for the action tokens of a micro-batch; all (B, A)."""

    logprobs_BA: Tensor
    """Log-probability of each action under the current policy, at the sampling temperature."""
    entropy_BA: Tensor | None = None
    """Entropy of the distribution before each action, where needed."""
    values_BA: Tensor | None = None
    """The critic's estimate before each action, where needed."""


class Agent(Protocol):
    """A learning algorithm: advantages, a loss and what they need.

    The order of one step: collect, `select`, the no-gradient passes for `needs`, KL in the reward if so configured,
    `advantages`, then epochs of micro-batches: forward, `loss`, shared reduction, backward; then the update.
    """

    @property
    def data(self) -> DataKind:
        """What it learns from."""

    @property
    def rollout(self) -> RolloutSpec | None:
        """How it wants its rollouts; None for agents that learn offline."""

    @property
    def needs(self) -> frozenset[Need]:
        """What the learner computes for it."""

    @property
    def unit(self) -> Unit:
        """What a micro-batch must not split."""

    @property
    def aggregation(self) -> Aggregation:
        """How its losses become one number."""

    def select(self, groups: Sequence[Group]) -> Sequence[Group]:
        """The groups, or parts of them, to learn from: dynamic sampling, best of K, pairs."""

    def advantages(self, batch: ActionBatch) -> ActionBatch:
        """The batch with `advantages_BA` (and `returns_BA`) set."""

    def loss(self, outputs: ModelOutputs, batch: ActionBatch) -> Mapping[str, Tensor]:
        """Named loss components, each (B, A) for unit TOKEN or (B,) otherwise; they are summed.

        The component that follows the advantages is named "policy", the one that trains the critic "value".
        """

    def diagnostics(self, outputs: ModelOutputs, batch: ActionBatch) -> Mapping[str, Tensor]:
        """Named (B, A) quantities to report, such as which tokens were clipped; without gradient, token mean."""


class BaseAgent(ABC):
    """An `Agent` with the defaults of most: a subclass says what is special about it.

    By default it learns from rollouts, from all groups, with a loss for each token and their mean, and asks the learner
    for nothing but log-probabilities. A subclass writes `loss`, usually `advantages`, and overrides what does not fit.
    Training constructs it with its settings by name.
    """

    data: DataKind = DataKind.ROLLOUTS
    rollout: RolloutSpec | None = RolloutSpec()
    needs: frozenset[Need] = frozenset()
    unit: Unit = Unit.TOKEN
    aggregation: Aggregation = Aggregation.TOKEN_MEAN
    learns_off_policy: bool = True
    """False: it learns something wrong from tokens of older weights, even where its policy loss is weighted for it, so
    training that is not synchronous refuses it. Agents without the attribute count as True."""

    def select(self, groups: Sequence[Group]) -> Sequence[Group]:
        """All groups, whole."""
        return groups

    def advantages(self, batch: ActionBatch) -> ActionBatch:
        """The batch as it is: a loss that needs no advantages."""
        return batch

    @abstractmethod
    def loss(self, outputs: ModelOutputs, batch: ActionBatch) -> Mapping[str, Tensor]:
        """As `Agent.loss`."""

    def diagnostics(self, outputs: ModelOutputs, batch: ActionBatch) -> Mapping[str, Tensor]:  # noqa: ARG002
        """Nothing to report."""
        return {}
