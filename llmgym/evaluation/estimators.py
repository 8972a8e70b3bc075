"""Rates and means with intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from ..errors import ConfigError

Z_95 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def wilson_interval(successes: int, trials: int) -> Estimate:
    """Rate of successes in independent trials, with its score interval.

        (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)

    Raises:
        ConfigError: there is no trial, or there are more successes than trials.

    Source:
        Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if not 0 <= successes <= trials or trials == 0:
        raise ConfigError(f"{successes} successes in {trials} trials give no rate. Pass at least one trial.")
    p, z2 = successes / trials, Z_95**2
    centre = (p + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z_95 * math.sqrt(p * (1 - p) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    # Both ends are exact at the ends, where rounding would leave a speck.
    return Estimate(p, centre - half if successes else 0.0, centre + half if successes < trials else 1.0)


def clustered_mean(samples: Sequence[Sequence[float]]) -> Estimate:
    """Mean of per-task means; the samples of one task are not independent, so tasks are what is counted.

    The interval is normal, mean -+ z s / sqrt(n) over the n task means with sample deviation s; with one task it is
    the whole line.

    Args:
        samples: values of each task, at least one a task.

    Raises:
        ConfigError: there is no task, or one without a value.
    """
    if not samples or not all(samples):
        raise ConfigError("A mean needs at least one task, and every task at least one value.")
    means = [math.fsum(values) / len(values) for values in samples]
    mean = math.fsum(means) / len(means)
    if len(means) == 1:
        return Estimate(mean, -math.inf, math.inf)
    variance = math.fsum((value - mean) ** 2 for value in means) / (len(means) - 1)
    half = Z_95 * math.sqrt(variance / len(means))
    return Estimate(mean, mean - half, mean + half)
