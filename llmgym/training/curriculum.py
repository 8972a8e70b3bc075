"""A curriculum: the weights of a mixture's environments follow how well the policy does in each."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class CurriculumConfig:
    """Settings of the curriculum: environments that are neither mastered nor hopeless come more often."""

    target: float = 0.5
    """The success rate that is preferred: rewards of a group differ most there."""
    width: float = 0.2
    """How far from `target` the preference falls to 0.61 (one standard deviation of a bell)."""
    floor: float = 0.2
    """Share of the tasks that is handed out by the configured weights, whatever the success, so that none starves."""
    half_life: float = 200.0
    """Episodes of an environment after which a success counts half in its running rate."""

    def __post_init__(self) -> None:
        if not 0 <= self.target <= 1:
            raise ConfigError(f"curriculum.target is {self.target}, but a success rate is from 0 to 1.")
        if not 0 < self.floor <= 1:
            raise ConfigError(f"curriculum.floor is {self.floor}, but it must be above 0, or some would starve, to 1.")
        for name in ("width", "half_life"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"curriculum.{name} is {getattr(self, name)}, but it must be a number above 0.")


def curriculum_weights(
    weights: Mapping[str, float], success: Mapping[str, float], *, target: float, width: float, floor: float
) -> dict[str, float]:
    """Weights that sum to 1, for environments with these running success rates.

        preference_i = exp(-((success_i - target) / width)^2 / 2)
        w_i' = floor * w_i / sum(w) + (1 - floor) * w_i * preference_i / sum(w * preference)

    Args:
        weights: as configured, above 0.
        success: running success rate of each environment; one that was never tried is left out, and preferred as if it
            were at the target.
        target: the preferred rate.
        width: of the preference, in success rate.
        floor: least share of its configured weight that an environment keeps.
    """
    logs = {name: -(((success.get(name, target) - target) / width) ** 2) / 2 for name in weights}
    highest = max(logs.values())  # far from the target all preferences would round to 0
    preferred = {name: weight * math.exp(logs[name] - highest) for name, weight in weights.items()}
    total, total_preferred = sum(weights.values()), sum(preferred.values())
    return {
        name: floor * weight / total + (1 - floor) * preferred[name] / total_preferred
        for name, weight in weights.items()
    }


class Curriculum:
    """Keeps the running success rates, and the weights that follow from them.

    Args:
        config: its settings.
        weights: of the environments, as configured.
    """

    def __init__(self, config: CurriculumConfig, weights: Mapping[str, float]) -> None:
        self.config, self._configured = config, dict(weights)
        self.success: dict[str, float] = {}
        """Running success rate of each environment that was tried."""

    def record(self, name: str, success: float, num_episodes: int) -> None:
        """Take the share of successes among the newest episodes of an environment."""
        if num_episodes:
            kept = 0.5 ** (num_episodes / self.config.half_life)
            self.success[name] = kept * self.success.get(name, success) + (1 - kept) * success

    def weights(self) -> dict[str, float]:
        """The weights of now."""
        config = self.config
        return curriculum_weights(
            self._configured, self.success, target=config.target, width=config.width, floor=config.floor
        )

    def state_dict(self) -> dict[str, Any]:
        """All that the weights depend on beside the settings."""
        return {"success": dict(self.success)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.success = dict(state["success"])
