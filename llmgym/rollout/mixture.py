"""Which task of which environment comes next."""

from collections.abc import Mapping
from typing import Any

from ..episode import Task, TaskSource
from ..errors import ConfigError
from .cursor import TaskCursor


class TaskMixture:
    """Hands out tasks of several environments in shares that follow weights.

    Each time every environment is credited its share of a task, and the one with the most credit pays for a whole one.
    So after n tasks of unchanged weights an environment is less than one task ahead of n times its share, whatever n.
    The tasks of each come in the order of a `TaskCursor`.

    Args:
        sources: the tasks by name of their environment.
        weights: by the same names, above 0, on any scale; may be set anew at any time.
        seed: decides the orders of tasks.

    Raises:
        ConfigError: there is no source, or weights are not one number above 0 for each.
    """

    def __init__(self, sources: Mapping[str, TaskSource], weights: Mapping[str, float], *, seed: int) -> None:
        if not sources:
            raise ConfigError("A mixture needs at least one environment.")
        self._cursors = {
            name: TaskCursor(source, seed=seed + index) for index, (name, source) in enumerate(sources.items())
        }
        self._credits = dict.fromkeys(sources, 0.0)
        self._left_out: set[str] = set()
        self.weights = weights

    @property
    def weights(self) -> Mapping[str, float]:
        """By name; they sum to 1."""
        return self._weights

    @weights.setter
    def weights(self, weights: Mapping[str, float]) -> None:
        if weights.keys() != self._cursors.keys() or not all(0 < weight < float("inf") for weight in weights.values()):
            raise ConfigError(
                f"The weights are {dict(weights)}, but they must be one finite number above 0 for each of "
                f"{', '.join(self._cursors)}."
            )
        total = sum(weights.values())
        self._weights = {name: weights[name] / total for name in self._cursors}

    def next(self) -> tuple[str, Task]:
        """The name of an environment, and its next task."""
        shares = {name: weight for name, weight in self._weights.items() if name not in self._left_out}
        total = sum(shares.values())
        for name, weight in shares.items():
            self._credits[name] += weight / total
        chosen = max(shares, key=self._credits.__getitem__)
        self._credits[chosen] -= 1
        return chosen, self._cursors[chosen].next()

    def leave_out(self, name: str) -> None:
        """Hand out no task of an environment from now on; its share goes to the others.

        Raises:
            ConfigError: there is no other.
        """
        if self._left_out | {name} >= self._cursors.keys():
            raise ConfigError(f"{name} cannot be left out, as no other environment has tasks.")
        self._left_out.add(name)

    def cursor(self, name: str) -> TaskCursor:
        """That of one environment; what it hands out itself is credited to nobody."""
        return self._cursors[name]

    def state_dict(self) -> dict[str, Any]:
        """Positions and credits: with weights and seed, all that the next task depends on."""
        positions = {name: cursor.position for name, cursor in self._cursors.items()}
        return {"positions": positions, "credits": dict(self._credits), "left_out": sorted(self._left_out)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`.

        Raises:
            ConfigError: it is of other environments.
        """
        if state["positions"].keys() != self._cursors.keys():
            raise ConfigError(
                f"The state is of the environments {', '.join(state['positions'])}, but these are "
                f"{', '.join(self._cursors)}. Go on with the environments that the run began with."
            )
        self._credits, self._left_out = dict(state["credits"]), set(state["left_out"])
        for name, position in state["positions"].items():
            self._cursors[name].position = position


def whole_shares(weights: Mapping[str, float], total: int) -> dict[str, int]:
    """`total` divided in the shares of `weights`, which sum to 1, so that no part is a whole one off its share."""
    ends, parts, given = 0.0, {}, 0
    for name, weight in weights.items():
        ends += weight
        parts[name] = round(ends * total) - given
        given += parts[name]
    return parts
