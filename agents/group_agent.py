"""What GRPO and its relatives have in common: all but the loss."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmgym.errors import ConfigError
from llmgym.learning import ActionBatch, Aggregation, BaseAgent, Group, Need, RolloutSpec
from llmgym.learning.advantages import group_advantages, rewards_differ
from llmgym.learning.masking import spread
from llmgym.learning.overlong import charge, overlong_penalty, without_truncated
from llmgym.sampling import SamplingParams
from llmgym.settings import one_config


@dataclass(frozen=True, kw_only=True)
class GroupConfig:
    """Settings of an agent whose baseline is a group's mean."""

    group_size: int = 8
    """Samples for each task; at least 2."""
    scale_by_std: bool = True
    """Divide advantages by the standard deviation of the group's rewards."""
    aggregation: Aggregation = Aggregation.TOKEN_MEAN
    """How losses become one number. Where that is a constant, it is `learner.max_actions`, which a run sets to the
    token limit."""
    drop_equal_groups: bool = False
    """Dynamic sampling: learn only from groups whose rewards differ."""
    resample_rounds: int = 0
    """Further collections that may be made to replace the dropped groups."""
    overlong_buffer: float = 0.0
    """The last part of the token limit, as a share of it, in which each token costs reward; 0: none. The limit is
    `learner.max_actions`, the same for all environments of a run."""
    overlong_penalty: float = 1.0
    """Reward that is taken off at the limit, where there is a buffer."""
    mask_truncated: bool = False
    """Overlong filtering: no policy gradient from trajectories that a budget ended."""
    epochs: int = 1
    """Passes over a batch."""
    minibatches: int = 1
    """Optimizer steps in each pass, each at the whole learning rate: the more there are, the lower it should be."""
    temperature: float = 1.0
    """Of sampling, and of the policy that learns."""
    top_p: float = 1.0
    """Sample from the smallest set of likeliest tokens that holds this much probability; 1: from all."""
    top_k: int = 0
    """Sample from so many of the likeliest tokens; 0: from all."""

    def __post_init__(self) -> None:
        if self.group_size < 2:
            raise ConfigError(
                f"group_size is {self.group_size}, but a group baseline needs at least 2 samples for each task. "
                "Set group_size=2 or more."
            )
        if self.resample_rounds > 0 and not self.drop_equal_groups:
            raise ConfigError(
                f"resample_rounds is {self.resample_rounds}, but no group is ever dropped that could be replaced. Set "
                "drop_equal_groups=true, or leave it out."
            )
        if not 0 <= self.overlong_buffer <= 1:
            raise ConfigError(
                f"overlong_buffer is {self.overlong_buffer}, but it is a share of the token limit. Use 0 to 1."
            )
        if self.overlong_penalty < 0:
            raise ConfigError(f"overlong_penalty is {self.overlong_penalty}, but length must not pay. Use 0 or more.")
        if self.temperature <= 0:
            raise ConfigError(f"temperature is {self.temperature}, but a group of greedy samples is one sample.")


class GroupAgent(BaseAgent):
    """An agent whose baseline is a group's mean; a subclass writes the loss.

    Args:
        config: all settings; or give them by name, e.g. `GRPO(group_size=4)`.

    Raises:
        ConfigError: a setting is misspelt or out of range.
    """

    config_class: type[GroupConfig]

    def __init__(self, config: GroupConfig | None = None, **settings: Any) -> None:
        self.config = one_config(self.config_class, config, settings, where="agent")
        self.aggregation = self.config.aggregation
        self.rollout = RolloutSpec(
            group_size=self.config.group_size,
            sampling=SamplingParams(
                temperature=self.config.temperature, top_p=self.config.top_p, top_k=self.config.top_k
            ),
            epochs=self.config.epochs,
            minibatches=self.config.minibatches,
            resample_rounds=self.config.resample_rounds,
        )
        token_limit = {Need.MAX_ACTIONS} if self.config.overlong_buffer > 0 else set()
        paid_rewards = {Need.PAID_REWARDS} if self.config.scale_by_std else set()
        self.needs = frozenset({Need.OLD_LOGPROBS} | token_limit | paid_rewards)

    def select(self, groups: Sequence[Group]) -> Sequence[Group]:
        """All groups, or those whose rewards differ, as the environment paid them."""
        if not self.config.drop_equal_groups:
            return groups
        return [group for group in groups if rewards_differ([trajectory.reward for trajectory in group])]

    def advantages(self, batch: ActionBatch) -> ActionBatch:
        config = self.config
        if config.overlong_buffer > 0:
            cost_B = overlong_penalty(
                batch.mask_BA,
                max_actions=batch.max_actions,
                buffer=config.overlong_buffer,
                penalty=config.overlong_penalty,
            )
            batch = charge(batch, cost_B)
        advantage_B = group_advantages(batch.reward_B, batch.group_B, scale_by_std=config.scale_by_std)
        advantages_BA = spread(advantage_B, batch.mask_BA)
        if config.mask_truncated:
            advantages_BA = without_truncated(advantages_BA, batch.required("is_truncated_B"))
        return batch.replace(advantages_BA=advantages_BA)
