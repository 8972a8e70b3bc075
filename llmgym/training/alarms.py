"""Alarms: what goes wrong in training without an error, seen in the course of the metrics.

Each is a function of the history, with its thresholds in `AlarmsConfig`. "Now" is the mean of the last `window` steps,
"at the start" that of the first; before there are twice as many, only repetition is looked for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import ConfigError

Rows = Sequence[Mapping[str, Any]]
"""Lines of `metrics.jsonl` of one phase, in order."""


@dataclass(frozen=True, kw_only=True)
class AlarmsConfig:
    """Thresholds of the alarms."""

    enabled: bool = True
    """False: none is given."""
    window: int = 5
    """Steps whose metrics are averaged."""
    entropy_share: float = 0.1
    """Entropy below this share of that at the start has collapsed, ..."""
    enough_success: float = 0.9
    """... unless the policy succeeds this often: then it has become sure, and rightly so."""
    length_factor: float = 2.0
    """Answers longer than at the start by this factor have run away, ..."""
    success_rise: float = 0.05
    """... unless success rose by this much with them."""
    repetition_share: float = 0.5
    """Answers of which more than this share repeats itself go round in circles."""
    reward_rise: float = 0.02
    """Training reward that rose by more than this, while held-out success fell beyond its intervals, was hacked."""

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ConfigError(f"alarms.window is {self.window}, but it must be at least 1 step.")
        if self.length_factor <= 1:
            raise ConfigError(f"alarms.length_factor is {self.length_factor}, but it must be above 1.")
        for name in ("entropy_share", "enough_success", "success_rise", "repetition_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"alarms.{name} is {getattr(self, name)}, but it is a share from 0 to 1.")


@dataclass(frozen=True)
class Alarm:
    """Something to look at."""

    step: int
    name: str
    text: str


def entropy_collapse(train: Rows, _: Rows, config: AlarmsConfig) -> str | None:
    """The policy has stopped to explore, and does not yet succeed."""
    entropy, success = _start_and_now(train, "entropy", config), _start_and_now(train, "success", config)
    if entropy is None or success is None or success[1] >= config.enough_success:
        return None
    if entropy[1] >= config.entropy_share * entropy[0]:
        return None
    return (
        f"entropy collapsed: {entropy[1]:.3g} nats a token, {entropy[0]:.3g} at the start, with success at "
        f"{success[1]:.2f}. Lower the learning rate, raise clip_high, or add a KL penalty."
    )


def length_runaway(train: Rows, _: Rows, config: AlarmsConfig) -> str | None:
    """Answers grow, and are no better for it."""
    length = _start_and_now(train, "mean_action_tokens", config)
    success = _start_and_now(train, "success", config)
    if length is None or success is None or success[1] - success[0] >= config.success_rise:
        return None
    if length[1] <= config.length_factor * length[0]:
        return None
    return (
        f"length runs away: {length[1]:.0f} tokens an episode, {length[0]:.0f} at the start, with success "
        f"{success[0]:.2f} then and {success[1]:.2f} now. Aggregate by token or constant, or shape overlong rewards."
    )


def repetition(train: Rows, _: Rows, config: AlarmsConfig) -> str | None:
    """Answers go round in circles."""
    shares = _values(train, "repetition")[-config.window :]
    if len(shares) < config.window or np.mean(shares) <= config.repetition_share:
        return None
    return (
        f"answers repeat themselves: {np.mean(shares):.0%} of their n-grams were there before. Read some in "
        "trajectories/; lower the learning rate, or add a KL penalty."
    )


def reward_hacking(train: Rows, evaluations: Rows, config: AlarmsConfig) -> str | None:
    """The reward of training rises while held-out success falls.

    The last evaluation is compared with the best before it; its interval must lie wholly below.
    """
    if len(evaluations) < 2:
        return None
    *earlier, last = evaluations
    best = max(earlier, key=lambda row: row["success"])
    if last["success_high"] >= best["success_low"]:
        return None
    then, now = (_reward_at(train, row["step"], config) for row in (best, last))
    if then is None or now is None or now - then <= config.reward_rise:
        return None
    return (
        f"reward rose from {then:.3f} to {now:.3f} while held-out success fell from {best['success']:.3f} (step "
        f"{best['step']}) to {last['success']:.3f}. The policy may have found what the verifier pays for without "
        "solving the task: read trajectories of both."
    )


ALARMS: Mapping[str, Callable[[Rows, Rows, AlarmsConfig], str | None]] = {
    "entropy_collapse": entropy_collapse,
    "length_runaway": length_runaway,
    "repetition": repetition,
    "reward_hacking": reward_hacking,
}
"""By name; each takes the rows of training and of sampled evaluations, and says what is wrong, or None."""


def _values(rows: Rows, name: str) -> list[float]:
    return [float(row[name]) for row in rows if row.get(name) is not None and np.isfinite(row[name])]


def _start_and_now(rows: Rows, name: str, config: AlarmsConfig) -> tuple[float, float] | None:
    values = _values(rows, name)
    if len(values) < 2 * config.window:
        return None
    return float(np.mean(values[: config.window])), float(np.mean(values[-config.window :]))


def _reward_at(train: Rows, step: int, config: AlarmsConfig) -> float | None:
    """Mean reward of the window that ends at `step`; at the very start, of the first one."""
    until = [row for row in train if row["step"] <= max(step, config.window)]
    values = _values(until, "reward")[-config.window :]
    return float(np.mean(values)) if values else None


@dataclass
class AlarmWatch:
    """Looks at a run after each step; what goes on is told once, and again when it comes back after a window."""

    config: AlarmsConfig
    train: list[Mapping[str, Any]] = field(default_factory=list)
    evaluations: list[Mapping[str, Any]] = field(default_factory=list)
    _last_steps: dict[str, int] = field(default_factory=dict)

    def add_step(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Take the metrics of a training step."""
        self.train.append({"step": step, **metrics})

    def add_evaluation(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Take the figures of an evaluation, sampled as in training."""
        self.evaluations.append({"step": step, **metrics})

    def ring(self, step: int) -> list[Alarm]:
        """The alarms that begin at `step`."""
        alarms = []
        for name, find in ALARMS.items() if self.config.enabled else ():
            text = find(self.train, self.evaluations, self.config)
            if text is not None:
                last = self._last_steps.get(name)
                if last is None or step - last > self.config.window:
                    alarms.append(Alarm(step, name, text))
                self._last_steps[name] = step
        return alarms
