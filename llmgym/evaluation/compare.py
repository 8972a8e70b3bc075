"""Whether one policy is better than another on the same tasks."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ConfigError
from ..rollout import groups_of
from .estimators import Z_95, Estimate, clustered_mean
from .result import Evaluation

_MOST_ENUMERATED = 16
_NUM_DRAWN = 99_999
_BISECTIONS = 100


@dataclass(frozen=True)
class Comparison:
    """The second of two evaluations against the first, on the tasks of both; values are means of a task."""

    values: Mapping[str, tuple[float, float]]
    """Of the first and the second, by task key."""
    only_first: tuple[str, ...]
    """Keys of tasks that the second did not try, or has no valid episode of."""
    only_second: tuple[str, ...]
    difference: Estimate
    """Mean of second - first."""
    p_value: float
    """Two-sided, of the hypothesis that both are as good."""
    method: str
    """How interval and p-value were computed."""

    @property
    def changed(self) -> dict[str, tuple[float, float]]:
        """The tasks whose values differ, what became worse first."""
        pairs = {key: pair for key, pair in self.values.items() if pair[0] != pair[1]}
        return dict(sorted(pairs.items(), key=lambda entry: entry[1][1] - entry[1][0]))


def compare_success(first: Evaluation, second: Evaluation) -> Comparison:
    """Shares of successes of two evaluations, paired by task."""
    return _compare(_successes(first), _successes(second))


def compare_reward(first: Evaluation, second: Evaluation) -> Comparison:
    """Mean rewards of two evaluations, paired by task."""
    return _compare(_rewards(first), _rewards(second))


def _compare(first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]]) -> Comparison:
    values = {key: (_mean(first[key]), _mean(second[key])) for key in first if key in second}
    if not values:
        raise ConfigError(
            f"None of the {len(first)} and {len(second)} tasks is in both, so there is nothing to compare. Evaluate "
            "both on the same split of the same environment."
        )
    differences = [after - before for before, after in values.values()]
    if {value for pair in values.values() for value in pair} <= {0.0, 1.0}:
        gained, lost = differences.count(1.0), differences.count(-1.0)
        difference = tango_interval(gained, lost, len(values))
        p_value, method = mcnemar_test(gained, lost), "exact McNemar test, Tango's score interval"
    else:
        difference = clustered_mean([[difference] for difference in differences])
        p_value, method = sign_flip_test(differences), "paired sign-flip test and normal interval of task means"
    return Comparison(
        values=values,
        only_first=tuple(key for key in first if key not in second),
        only_second=tuple(key for key in second if key not in first),
        difference=difference,
        p_value=p_value,
        method=method,
    )


def mcnemar_test(gained: int, lost: int) -> float:
    """Two-sided p-value that of the pairs that differ, either kind is as likely: twice a binomial tail, at most 1.

    Args:
        gained: pairs in which only the second succeeded.
        lost: pairs in which only the first did.

    Source:
        McNemar 1947, "Note on the sampling error of the difference between correlated proportions or percentages",
        in its exact form.
    """
    total = gained + lost
    tail, patterns = 0, 1
    for k in range(min(gained, lost) + 1):
        tail += patterns  # C(total, k) of them have k of the rarer kind
        patterns = patterns * (total - k) // (k + 1)
    p_value: float = min(1.0, 2 * tail / 2**total)
    return p_value


def tango_interval(gained: int, lost: int, num_pairs: int) -> Estimate:
    """Difference of two paired shares, (gained - lost) / n, with its score interval.

    Its ends are the differences d at which the score statistic is -+ z,

        (b - c - n d) / sqrt(n (2 q + d (1 - d))),

    with b gained and c lost of n pairs, and q the likeliest share of lost pairs given d.

    Raises:
        ConfigError: there are no pairs, or fewer than differ.

    Source:
        Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
        design".
    """
    if num_pairs < 1 or min(gained, lost) < 0 or gained + lost > num_pairs:
        raise ConfigError(f"{gained} gained and {lost} lost of {num_pairs} pairs cannot be.")
    value = (gained - lost) / num_pairs
    ends = []
    for bound in (-1.0, 1.0):
        inside, outside = value, bound
        for _ in range(_BISECTIONS):
            middle = (inside + outside) / 2
            if abs(_tango_statistic(gained, lost, num_pairs, middle)) <= Z_95:
                inside = middle
            else:
                outside = middle
        ends.append(inside)
    return Estimate(value, *ends)


def _tango_statistic(gained: int, lost: int, n: int, d: float) -> float:
    b = (2 * n - gained + lost) * d - gained - lost
    c = -lost * d * (1 - d)
    q = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    variance = n * (2 * q + d * (1 - d))
    distance = gained - lost - n * d
    if variance > 0:
        return distance / math.sqrt(variance)
    return math.copysign(math.inf, distance) if distance else 0.0


def sign_flip_test(differences: Sequence[float]) -> float:
    """Two-sided p-value that each difference might as well have had the other sign.

    The share of sign patterns whose sum is as far from 0 as the one seen: of all patterns up to 16 differences that
    are not 0, else of 99,999 drawn by a fixed seed, the one seen counted too.

    Source:
        Fisher 1935, "The Design of Experiments"; one counted too: Phipson and Smyth 2010, arXiv:1603.05766.
    """
    sizes = np.abs([difference for difference in differences if difference != 0])
    seen = abs(math.fsum(differences)) - 1e-9 * float(sizes.sum())  # as far, whatever the order of adding
    if len(sizes) <= _MOST_ENUMERATED:
        sums = [abs(math.fsum(signs * sizes)) for signs in itertools.product((-1.0, 1.0), repeat=len(sizes))]
        return sum(total >= seen for total in sums) / len(sums)
    rng = np.random.default_rng(0)
    as_far = 0
    for start in range(0, _NUM_DRAWN, 1000):
        signs = rng.choice((-1.0, 1.0), size=(min(1000, _NUM_DRAWN - start), len(sizes)))
        as_far += int((np.abs(signs @ sizes) >= seen).sum())
    return (1 + as_far) / (1 + _NUM_DRAWN)


def _successes(evaluation: Evaluation) -> dict[str, list[float]]:
    return {
        group[0].task_key: [float(evaluation.is_success(trajectory)) for trajectory in group]
        for group in groups_of(evaluation.valid)
    }


def _rewards(evaluation: Evaluation) -> dict[str, list[float]]:
    return {group[0].task_key: [trajectory.reward for trajectory in group] for group in groups_of(evaluation.valid)}


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
