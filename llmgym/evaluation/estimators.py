"""Rates and means with intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

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

    @property
    def percent(self) -> str:
        """As text, in per cent: "42.2 % [37.9, 46.6]"."""
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"

    def to_json(self) -> dict[str, Any]:
        """The value and its interval, null at an end that is open."""
        return {"value": self.value, "interval": [end if math.isfinite(end) else None for end in (self.low, self.high)]}


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
    return _wilson(successes / trials, trials)


def _wilson(p: float, trials: float) -> Estimate:
    z2 = Z_95**2
    centre = (p + z2 / (2 * trials)) / (1 + z2 / trials)
    half = Z_95 * math.sqrt(p * (1 - p) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    # Both ends are exact at the ends, where rounding would leave a speck.
    return Estimate(p, centre - half if p > 0 else 0.0, centre + half if p < 1 else 1.0)


def clustered_share(shares: Sequence[float], *, num_samples: int) -> Estimate:
    """Mean of per-task shares; the samples of one task are not independent, so tasks are what is counted.

    Wilson's interval at the number of independent trials that would vary as much,

        n_eff = n p (1-p) / v,

    over the n shares with mean p and variance v (of n, not n - 1). At one sample a task n_eff = n, the plain Wilson
    interval; it is never less. Where all shares are equal, v says nothing, and the interval is that of n trials.

    Args:
        shares: of each task, in [0, 1].
        num_samples: in all tasks together; n_eff is at most that.

    Raises:
        ConfigError: there is no task.

    Source:
        The modified Wilson interval of Dean and Pagano 2015, "Evaluating confidence interval methods for binomial
        proportions in clustered surveys".
    """
    if not shares:
        raise ConfigError("A share needs at least one task.")
    n = len(shares)
    p = math.fsum(shares) / n
    if min(shares) == max(shares):
        return _wilson(shares[0], n)
    variance = math.fsum((share - p) ** 2 for share in shares) / n
    return _wilson(p, min(num_samples, n * p * (1 - p) / variance))


def pass_at_k(num_samples: int, num_successes: int, k: int) -> float:
    """Chance that at least one of k samples of a task succeeds, without bias from n >= k samples of which c did.

        1 - C(n - c, k) / C(n, k)

    Raises:
        ConfigError: there are fewer than k samples, fewer than none, or more successes than samples.

    Source:
        Chen et al. 2021, arXiv:2107.03374.
    """
    if not 0 <= num_successes <= num_samples or not 1 <= k <= num_samples:
        raise ConfigError(
            f"{num_successes} successes in {num_samples} samples give no pass@{k}. Pass at least {max(k, 1)} samples."
        )
    return 1 - math.comb(num_samples - num_successes, k) / math.comb(num_samples, k)


def majority_share(answers: Sequence[str | None], successes: Sequence[bool]) -> float:
    """Chance that the answer given most often is right; of several as frequent ones each is as likely to be taken.

    Answers are the same where their texts are. A sample without an answer (None) has no vote; without any vote, 0.
    Where verdicts on one text differ, as they may where more than the answer is paid, their mean counts.

    Args:
        answers: that each sample of a task gave.
        successes: whether each was a success.
    """
    verdicts: dict[str, list[bool]] = {}
    for answer, success in zip(answers, successes, strict=True):
        if answer is not None:
            verdicts.setdefault(answer, []).append(success)
    most = max(map(len, verdicts.values()), default=0)
    tied = [sum(votes) / most for votes in verdicts.values() if len(votes) == most]
    return sum(tied) / len(tied) if tied else 0.0


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
