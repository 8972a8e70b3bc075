"""The best way through an environment that tells all its transitions in a table, and leaves nothing to chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Table = Mapping[int, Mapping[int, Sequence[tuple[float, int, float, bool]]]]
"""`P` of Gymnasium's toy texts: state, action, and what may follow: (probability, next state, reward, is the end)."""


@dataclass(frozen=True, eq=False)
class BestPlay:
    """What can be earned from each of S states in episodes that end, and how."""

    return_S: np.ndarray
    """The best sum of rewards; minus infinity where no episode ends."""
    action_S: np.ndarray
    next_SA: np.ndarray
    is_end_SA: np.ndarray

    def actions(self, state: int) -> list[int]:
        """Actions that earn the best return of a state, to the end."""
        actions: list[int] = []
        is_end = False
        while not is_end:
            action = int(self.action_S[state])
            actions.append(action)
            is_end, state = bool(self.is_end_SA[state, action]), int(self.next_SA[state, action])
        return actions


def best_play(table: Any) -> BestPlay | None:
    """The best episodes that a table allows; None where it is none, leaves something to chance, or has no best.

        V(s) = max_a r(s, a) + (0 at the end, else V(s'))

    swept from minus infinity, so that only episodes that end count. After as many sweeps as there are states nothing
    changes any more, unless rewards can be collected in a circle. Only a better value changes an action, so following
    the actions is no circle either.
    """
    if not isinstance(table, Mapping) or not table or set(table) != set(range(len(table))):
        return None
    rows = [[outcomes for _, outcomes in sorted(table[state].items())] for state in range(len(table))]
    if len({len(row) for row in rows}) != 1 or any(len(outcomes) != 1 for row in rows for outcomes in row):
        return None
    next_SA = np.array([[int(outcomes[0][1]) for outcomes in row] for row in rows])
    reward_SA = np.array([[float(outcomes[0][2]) for outcomes in row] for row in rows])
    is_end_SA = np.array([[bool(outcomes[0][3]) for outcomes in row] for row in rows])

    return_S, action_S = np.full(len(rows), -np.inf), np.zeros(len(rows), dtype=np.int64)
    for _ in range(len(rows) + 1):
        value_SA = reward_SA + np.where(is_end_SA, 0.0, return_S[next_SA])
        is_better_S = value_SA.max(1) > return_S
        if not is_better_S.any():
            return BestPlay(return_S, action_S, next_SA, is_end_SA)
        action_S = np.where(is_better_S, value_SA.argmax(1), action_S)
        return_S = np.maximum(return_S, value_SA.max(1))
    return None
