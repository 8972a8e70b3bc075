"""Environments that keep failing for reasons of their own: they are left out, or the run stops."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..episode import Trajectory
from ..errors import ConfigError, InfrastructureError
from ..rollout import TaskMixture, has_too_long_prompt


@dataclass(frozen=True, kw_only=True)
class QuarantineConfig:
    """What becomes of an environment whose episodes fail again and again.

    A failed episode is never learned from, whatever is set here.
    """

    after: int = 32
    """Episodes of one environment that failed in a row, further attempts included, before something is done."""
    action: Literal["leave_out", "stop"] = "leave_out"
    """leave_out: no task of it is handed out any more, and the others take its share; the run stops where there is no
    other. stop: the run stops."""

    def __post_init__(self) -> None:
        if self.after < 1:
            raise ConfigError(f"quarantine.after is {self.after}, but it must be at least 1 episode.")
        if self.action not in ("leave_out", "stop"):
            raise ConfigError(f"quarantine.action is {self.action!r}, but it must be leave_out or stop.")


class Quarantine:
    """Counts the failures of each environment, in the order of its episodes.

    Args:
        config: when to do what.
        mixture: hands out the tasks.
    """

    def __init__(self, config: QuarantineConfig, mixture: TaskMixture) -> None:
        self._config, self._mixture = config, mixture
        self._num_failed: dict[str, int] = {}
        self.left_out: dict[str, str] = {}
        """What was wrong at last, by the name of each environment that is left out."""

    def record(self, trajectories: Sequence[Trajectory]) -> list[str]:
        """Take a batch of a run; returns the names of environments that are left out from now on.

        Raises:
            InfrastructureError: as configured, or as no other environment is left.
        """
        new = []
        for trajectory in trajectories:
            name = trajectory.metadata["env"]
            # A prompt that is too long is the task's fault, which other tasks of the environment need not share.
            has_failed = not trajectory.is_valid and not has_too_long_prompt(trajectory)
            self._num_failed[name] = self._num_failed.get(name, 0) + 1 if has_failed else 0
            if self._num_failed[name] >= self._config.after and name not in self.left_out:
                self._leave_out(name, trajectory.metadata.get("problem", "no reason was given"))
                new.append(name)
        return new

    def _leave_out(self, name: str, problem: str) -> None:
        told = f"{self._num_failed[name]} episodes of {name} in a row failed for reasons of its own, at last: {problem}"
        if self._config.action == "stop":
            raise InfrastructureError(f"{told} Mend it, then go on.")
        try:
            self._mixture.leave_out(name)
        except ConfigError as error:
            raise InfrastructureError(
                f"{told} No other environment is left. Mend it, then go on with the run."
            ) from error
        self.left_out[name] = problem

    def state_dict(self) -> dict[str, Any]:
        """All that the next batch depends on; the mixture keeps for itself what it leaves out."""
        return {"num_failed": dict(self._num_failed), "left_out": dict(self.left_out)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self._num_failed, self.left_out = dict(state["num_failed"]), dict(state["left_out"])
