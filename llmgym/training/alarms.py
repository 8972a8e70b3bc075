"""Alarms: what goes wrong in training without an error, seen in the course of the metrics.

Each is a function of the history, with its thresholds in `AlarmsConfig`. "Now" is the mean of the last `window` steps,
"at the start" that of the first; what compares the two waits until there are twice as many.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..errors import ConfigError

Rows = Sequence[Mapping[str, Any]]
"""Lines of `metrics.jsonl` of one phase, in order."""

_SUCCESS = ("success", "success_low", "success_high")
_WATCHED = {"step", "reward", *_SUCCESS, "entropy", "mean_action_tokens", "repetition", "old_kl", "zero_variance_share"}
"""What is kept of each step: all of it would fill the memory of a long run."""
_SHARES = ("entropy_share", "enough_success", "success_rise", "fallen_share", "no_signal_share", "repetition_share")


@dataclass(frozen=True, kw_only=True)
class AlarmsConfig:
    """Thresholds of the alarms."""

    enabled: bool = True
    """False: none is given."""
    window: int = 5
    """Steps whose metrics are averaged."""
    entropy_share: float = 0.1
    """Entropy below this share of that at the start has collapsed, unless success is enough or rose in the last
    window: then the policy has become sure, and rightly so."""
    length_factor: float = 2.0
    """Answers longer than at the start by this factor have run away, unless success rose with them."""
    enough_success: float = 0.9
    """Success that leaves little to learn."""
    success_rise: float = 0.05
    """Success that is higher by this much rose."""
    fallen_share: float = 0.5
    """Success below this share of the best so far, and beyond its interval, has fallen."""
    max_old_kl: float = 0.1
    """Steps are too large where the optimizer steps on a batch take the policy further than this from the one that
    sampled it, in nats a token, mean over the steps, twice in a row. Runs that learn stay far below."""
    no_signal_share: float = 0.95
    """Where at least this share of groups has equal rewards, and success is not enough, there is nothing to learn."""
    repetition_share: float = 0.5
    """Answers of which more than this share repeats itself go round in circles."""
    reward_rise: float = 0.02
    """Training reward that rose by more than this, while held-out success fell beyond its intervals, was hacked."""

    def __post_init__(self) -> None:
        if self.window < 1:
            raise ConfigError(f"alarms.window is {self.window}, but it must be at least 1 step.")
        if self.length_factor <= 1:
            raise ConfigError(f"alarms.length_factor is {self.length_factor}, but it must be above 1.")
        if not self.max_old_kl > 0:
            raise ConfigError(f"alarms.max_old_kl is {self.max_old_kl}, but it must be above 0; inf switches it off.")
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"alarms.{name} is {getattr(self, name)}, but it is a share from 0 to 1.")


@dataclass(frozen=True)
class Alarm:
    """Something to look at."""

    step: int
    name: str
    text: str


def entropy_collapse(train: Rows, _: Rows, config: AlarmsConfig) -> str | None:
    """The policy has stopped to explore, does not yet succeed, and gets no better."""
    entropy, success = _start_and_now(train, "entropy", config), _start_and_now(train, "success", config)
    if entropy is None or success is None or success[1] >= config.enough_success:
        return None
    before = _mean(train[-2 * config.window : -config.window], "success")
    if entropy[1] >= config.entropy_share * entropy[0] or success[1] - (before or 0.0) >= config.success_rise:
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


def success_fall(train: Rows, evaluations: Rows, config: AlarmsConfig) -> str | None:
    """The policy no longer does what it could: held-out tasks, or those of training where they stayed the same."""
    if not train or reward_hacking(train, evaluations, config) is not None:  # which says more about it
        return None
    same_tasks = train if _env_weights(train[0]) == _env_weights(train[-1]) else []  # a curriculum's may be harder
    for tasks, rows, window in (("held-out", evaluations, 1), ("training", same_tasks, config.window)):
        success, high = _values(rows, "success"), _values(rows[-window:], "success_high")
        if len(success) < max(2 * window, len(rows)) or len(high) < window:
            continue
        best = float(sliding_window_view(success[:-window], window).mean(axis=1).max())
        if max(success[-window:]) < config.fallen_share * best and max(high) < best:
            return (
                f"success fell: {np.mean(success[-window:]):.2f} on {tasks} tasks, {best:.2f} at best. Lower the "
                "learning rate, and go back to the model of before."
            )
    return None


def large_steps(train: Rows, _: Rows, config: AlarmsConfig) -> str | None:
    """The optimizer steps on a batch leave the policy that sampled it far behind."""
    distances = _values(train[-2:], "old_kl")
    if len(distances) < 2 or min(distances) <= config.max_old_kl:
        return None
    return (
        f"steps are too large: those on one batch take the policy {distances[-1]:.2g} nats a token away from the one "
        "that sampled it. Lower learner.learning_rate, agent.minibatches or agent.epochs."
    )


def no_signal(train: Rows, _: Rows, config: AlarmsConfig) -> str | None:
    """Hardly a group has rewards that differ, and not because all is solved."""
    shares, success = _values(train[-config.window :], "zero_variance_share"), _mean(train[-config.window :], "success")
    if len(shares) < config.window or np.mean(shares) < config.no_signal_share:
        return None
    if success is None or success >= config.enough_success:
        return None
    return (
        f"nothing to learn from: {np.mean(shares):.0%} of groups have equal rewards, with success at {success:.2f}. "
        "Begin with a model that succeeds now and then, choose other tasks, or sample more for each."
    )


ALARMS: Mapping[str, Callable[[Rows, Rows, AlarmsConfig], str | None]] = {
    "entropy_collapse": entropy_collapse,
    "length_runaway": length_runaway,
    "repetition": repetition,
    "reward_hacking": reward_hacking,
    "success_fall": success_fall,
    "large_steps": large_steps,
    "no_signal": no_signal,
}
"""By name; each takes the rows of training and of sampled evaluations, and says what is wrong, or None."""


def _watched(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name in _WATCHED or _is_env_weight(name)}


def _is_env_weight(name: str) -> bool:
    return name.startswith("env/") and name.endswith("/weight")


def _values(rows: Rows, name: str) -> list[float]:
    return [float(row[name]) for row in rows if row.get(name) is not None and np.isfinite(row[name])]


def _mean(rows: Rows, name: str) -> float | None:
    values = _values(rows, name)
    return float(np.mean(values)) if values else None


def _env_weights(row: Mapping[str, Any]) -> list[float]:
    return [value for name, value in row.items() if _is_env_weight(name)]


def _start_and_now(rows: Rows, name: str, config: AlarmsConfig) -> tuple[float, float] | None:
    start, now = _mean(rows[: config.window], name), _mean(rows[-config.window :], name)
    return None if start is None or now is None or len(rows) < 2 * config.window else (start, now)


def _reward_at(train: Rows, step: int, config: AlarmsConfig) -> float | None:
    """Mean reward of the window that ends at `step`; at the very start, of the first one."""
    until = [row for row in train if row["step"] <= max(step, config.window)]
    return _mean(until[-config.window :], "reward")


@dataclass
class AlarmWatch:
    """Looks at a run after each step; what goes on is told once, and again when it comes back after a window."""

    config: AlarmsConfig
    train: list[Mapping[str, Any]] = field(default_factory=list)
    evaluations: list[Mapping[str, Any]] = field(default_factory=list)
    _last_steps: dict[str, int] = field(default_factory=dict)

    def state_dict(self) -> dict[str, Any]:
        """When each alarm last went on; the metrics themselves are in `metrics.jsonl`."""
        return {"last_steps": dict(self._last_steps)}

    def load_state_dict(self, state: Mapping[str, Any], train: Rows, evaluations: Rows) -> None:
        """Go on from a `state_dict` and the lines of `metrics.jsonl` until then."""
        self._last_steps = dict(state["last_steps"])
        self.train, self.evaluations = list(map(_watched, train)), list(map(_watched, evaluations))

    def add_step(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Take the metrics of a training step."""
        self.train.append(_watched({"step": step, **metrics}))

    def add_evaluation(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Take the figures of an evaluation, sampled as in training."""
        self.evaluations.append(_watched({"step": step, **metrics}))

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
