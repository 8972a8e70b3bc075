"""How a collection goes, in a line that people read while it runs."""

import time
from collections.abc import Callable

from ..episode import Trajectory


class Tally:
    """Counts finished episodes.

    Args:
        clock: seconds, for the speed.
    """

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._began_at = clock, clock()
        self.num_episodes = self.num_turns = self.num_tokens = self.num_invalid = self.num_retries = 0
        self.env_seconds = 0.0
        """Time that environments, with their tools and verifiers, took to answer; of several at once, the sum."""

    def add(self, trajectory: Trajectory) -> None:
        """Count one more."""
        self.num_episodes += 1
        self.num_turns += len(trajectory.turns)
        self.num_tokens += trajectory.num_actions
        self.num_invalid += not trajectory.is_valid
        self.num_retries += trajectory.num_retries
        self.env_seconds += sum(turn.seconds for turn in trajectory.turns)

    def __str__(self) -> str:
        seconds = max(self._clock() - self._began_at, 1e-9)
        parts = [
            counted(self.num_turns, "turn"),
            f"{self.num_tokens / seconds:,.0f} tokens/s",
            f"tools and verifiers {self.env_seconds:.1f} s",
        ]
        parts += [f"{self.num_invalid} invalid"] * (self.num_invalid > 0)
        parts += [f"{self.num_retries} retried"] * (self.num_retries > 0)
        return ", ".join(parts)


def counted(count: int, name: str) -> str:
    """As in "1 turn" and "1,200 turns"."""
    return f"{count:,} {name}{'s' * (count != 1)}"
