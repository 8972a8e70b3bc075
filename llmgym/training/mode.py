"""How collecting and learning follow each other: one after the other, one step ahead, or all the time."""

from dataclasses import dataclass
from typing import Literal

from ..errors import ConfigError
from ..learning import Agent, CorrectionConfig
from ..learning.agent import Unit

Mode = Literal["synchronous", "one-step-off", "asynchronous"]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How old what is learned from may be."""

    mode: Mode = "synchronous"
    """synchronous: collect, then learn, so each batch is of the newest weights; promises of bits are made here only.
    one-step-off: the next batch is collected while this one is learned from, so it is one update old. asynchronous:
    groups are collected all the time, and learned from as they come."""
    max_staleness: int = 1
    """Asynchronous: updates that may lie between the weights that sampled a token and those that learn from it. No
    group is begun that could not be learned from within them, were all groups equally long."""
    in_flight_updates: bool = True
    """Asynchronous: new weights are taken in the middle of episodes, so that one may hold tokens of several. False: no
    episode is begun until those under way have ended and the weights have changed."""
    stale: Literal["drop", "correct"] = "drop"
    """Asynchronous: what becomes of groups that took longer than `max_staleness` allows. drop: they are left out,
    whole, and counted. correct: they are learned from like the others, weighted by `learner.correction`."""

    def __post_init__(self) -> None:
        if self.max_staleness < 0:
            raise ConfigError(f"training.max_staleness is {self.max_staleness}, but it must be at least 0 updates.")

    @property
    def is_synchronous(self) -> bool:
        """True where every token is sampled with the weights that learn from it."""
        return self.mode == "synchronous"


def default_correction(agent: Agent, config: TrainingConfig) -> CorrectionConfig | None:
    """What is done about another engine or older weights where the run does not say.

    Of older weights: clipped to 0.8 to 1.2. A batch whose weights are only truncated repeats the step that the batch
    before it made already, and so a run collapses at a learning rate that a synchronous one survives, see
    benchmarks/results/training_modes_short.md. Of another engine with the newest weights: truncated at 2.

    They are of each token, or of the geometric mean over a trajectory for losses of whole trajectories, whose products
    vanish or explode with their length. None for agents that have no policy loss to weigh.
    """
    if not getattr(agent, "learns_off_policy", True):
        return None
    level: Literal["token", "geometric"] = "token" if agent.unit is Unit.TOKEN else "geometric"
    if config.is_synchronous:
        return CorrectionConfig(level=level)
    return CorrectionConfig(level=level, action="clip", low=0.8, high=1.2)


def require_mode(config: TrainingConfig, agent: Agent, correction: CorrectionConfig | None) -> None:
    """Refuse a mode in which the agent, or what the run says of corrections, would learn something wrong.

    Raises:
        ConfigError: they do not fit.
    """
    if config.is_synchronous:
        return
    if not getattr(agent, "learns_off_policy", True):
        raise ConfigError(
            f"training.mode is {config.mode!r}, but {type(agent).__name__} says that it learns only from what the "
            "newest weights sampled (learns_off_policy is False). Use training.mode = 'synchronous', or another agent."
        )
    is_off = correction is not None and not correction.enabled
    if config.mode == "asynchronous" and config.stale == "correct" and is_off:
        raise ConfigError(
            "training.stale is 'correct', but learner.correction.enabled is false, so nothing would correct stale "
            "groups. Leave learner.correction.enabled out, or use training.stale = 'drop'."
        )
