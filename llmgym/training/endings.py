"""When a run ends before its last step: nothing is gained any more, or the policy is being destroyed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from ..errors import ConfigError, DivergenceError
from ..learning import Learner

_SUSPICIOUS_STEPS = 2
"""Exploding steps in a row; a single one may be an odd batch, and the norm is clipped."""
_MIN_STEPS = 10
"""Steps that a gradient's usual norm is known after."""
_WINDOW = 50
"""Newest steps that it is taken from."""


@dataclass(frozen=True, kw_only=True)
class EndingConfig:
    """When a run ends early, and which weights become its model."""

    patience: int = 0
    """Evaluations in a row without a new best held-out success, after which the run ends; 0: it goes on to the end."""
    min_rise: float = 0.0
    """Success that is higher than the best by more than this is a new best."""
    model: Literal["last", "best"] = "last"
    """Weights that become RUN/model: those of the last step, or of the checkpoint with the highest held-out success,
    which is looked for among the steps that were evaluated and saved; see evaluation.every and checkpoint.every."""
    max_norm_growth: float = 1000.0
    """The policy's gradient norm, before clipping, over its median of late: where it is above this twice in a row, the
    run has diverged and stops. inf: only gradients that are not finite stop it."""

    def __post_init__(self) -> None:
        if self.patience < 0:
            raise ConfigError(f"ending.patience is {self.patience}, but it must be at least 0.")
        if not 0 <= self.min_rise < 1:
            raise ConfigError(f"ending.min_rise is {self.min_rise}, but it must be from 0 to below 1.")
        if self.model not in ("last", "best"):
            raise ConfigError(f"ending.model is {self.model!r}, but it must be last or best.")
        if not self.max_norm_growth > 1:
            raise ConfigError(f"ending.max_norm_growth is {self.max_norm_growth}, but it must be above 1.")


def has_plateaued(success: Sequence[float], *, patience: int, min_rise: float) -> bool:
    """True where the last `patience` values brought no new best.

    Args:
        success: of each evaluation, in order.
        patience: 0 stands for never.
        min_rise: a new best is higher than the one before by more than this.
    """
    best, since = -math.inf, 0
    for value in success:
        best, since = (value, 0) if value > best + min_rise else (best, since + 1)
    return 0 < patience <= since


def require_finite_weights(learner: Learner) -> None:
    """Refuse weights that cannot be evaluated.

    Raises:
        DivergenceError: some are not numbers.
    """
    if not learner.has_finite_weights:
        raise DivergenceError(
            "Some weights are not finite numbers any more, so training has diverged. Lower learner.learning_rate or "
            "learner.max_grad_norm, or look for rewards or losses that overflow."
        )


class DivergenceWatch:
    """Looks at gradient norms for the end of a policy.

    Args:
        max_growth: see `EndingConfig.max_norm_growth`.
    """

    def __init__(self, max_growth: float) -> None:
        self._max_growth = max_growth
        self._norms: list[float] = []
        self._num_suspicious = 0

    @property
    def is_suspicious(self) -> bool:
        """True after an exploding or a non-finite step: the weights are not worth a checkpoint now."""
        return self._num_suspicious > 0

    def add(self, metrics: Mapping[str, Any]) -> None:
        """Take the metrics of a step; one that made no optimizer step says nothing.

        Raises:
            DivergenceError: the policy diverges.
        """
        norm = metrics.get("grad_norm")
        if norm is None:
            return
        usual = median(self._norms) if len(self._norms) >= _MIN_STEPS else math.inf
        if math.isfinite(norm) and not norm > self._max_growth * usual > 0:
            self._norms = [*self._norms, norm][-_WINDOW:]
            self._num_suspicious = 0
            return
        self._num_suspicious += 1
        if math.isfinite(norm) and self._num_suspicious >= _SUSPICIOUS_STEPS:
            raise DivergenceError(
                f"The gradient's norm is {norm:.3g}, {norm / usual:,.0f} times its median of {usual:.3g}, for the "
                "second step in a row, so training has diverged. Lower learner.learning_rate or "
                "learner.max_grad_norm, or look for rewards or losses that explode; ending.max_norm_growth is what is "
                "allowed."
            )

    def state_dict(self) -> dict[str, Any]:
        """All that the next verdict depends on."""
        return {"norms": list(self._norms), "num_suspicious": self._num_suspicious}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self._norms, self._num_suspicious = list(state["norms"]), state["num_suspicious"]
