"""What an agent asks for and a learner has: combinations that cannot work are refused before anything runs."""

from __future__ import annotations

from collections.abc import Iterable

from ..episode import Trajectory
from ..errors import ConfigError
from .agent import Agent, Aggregation, Need, Unit
from .optimization import LearnerConfig


def require_feasible(agent: Agent, config: LearnerConfig) -> None:
    """Refuse an agent that needs what a learner with these settings does not have.

    Raises:
        ConfigError: it does.
    """
    asks_for_limit = agent.aggregation is Aggregation.CONSTANT or Need.MAX_ACTIONS in agent.needs
    if asks_for_limit and config.max_actions is None:
        raise ConfigError(
            f"{type(agent).__name__} measures trajectories by the length of the longest allowed one, but "
            "learner.max_actions is not set. Set it to the episode's token limit."
        )
    if agent.rollout is None and (config.kl is not None or config.correction_in_use is not None):
        raise ConfigError(
            f"learner.kl and learner.correction are for tokens that the policy sampled, but {type(agent).__name__} "
            "learns offline. Leave them out."
        )
    if Need.PAID_REWARDS in agent.needs and config.kl is not None and config.kl.placement == "reward":
        raise ConfigError(
            f"learner.kl puts the penalty in the reward, but {type(agent).__name__} divides by the standard deviation "
            "of a group: where samples were paid the same, the penalty alone would be blown up to the size of a whole "
            "reward. Use placement = 'loss' with the estimator 'k3' or 'k2', or the agent with scale_by_std = false."
        )
    correction = config.correction_in_use
    if correction is not None and not getattr(agent, "learns_off_policy", True):
        raise ConfigError(
            f"learner.correction is set, but {type(agent).__name__} says that it learns only from what the newest "
            "weights sampled (learns_off_policy is False). Leave it out."
        )
    if agent.unit is not Unit.TOKEN and correction is not None and correction.level == "token":
        raise ConfigError(
            f"learner.correction has the level 'token', but {type(agent).__name__} has one loss for a whole "
            f"{agent.unit}. Use the level 'sequence' or 'geometric'."
        )


def require_temperature(agent: Agent, trajectories: Iterable[Trajectory]) -> None:
    """Refuse trajectories of another distribution than the agent learns.

    Raises:
        ConfigError: one was sampled at another temperature.
    """
    if agent.rollout is None:
        return
    expected = agent.rollout.sampling.temperature
    for trajectory in trajectories:
        if trajectory.sampling is not None and trajectory.sampling.temperature != expected:
            raise ConfigError(
                f"A trajectory (task {trajectory.task_key!r}) was sampled at temperature "
                f"{trajectory.sampling.temperature}, but the agent learns at {expected}. Sample with the agent's "
                "`rollout.sampling`, so that both mean the same distribution."
            )
