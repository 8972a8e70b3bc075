"""What people are told while a run collects."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ..episode import Trajectory
from ..progress import Phase, RunProgress
from ..rollout import Collector, Tally, has_too_long_prompt
from ..rollout.tally import counted


def episode_teller(phase: Phase, step: int) -> Callable[[Trajectory], None]:
    """Tells how the collection of a step goes."""
    tally = Tally()

    def tell(trajectory: Trajectory) -> None:
        tally.add(trajectory)
        phase.show(f"step {step}: {counted(tally.num_episodes, 'episode')}, {tally}")

    return tell


class NewCounts:
    """What came to the `counts` of a collector since it was last asked for."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._before: Mapping[str, int] = {}

    def take(self) -> dict[str, int]:
        """By metric."""
        before, self._before = self._before, dict(self._collector.counts)
        return {name: count - before.get(name, 0) for name, count in self._before.items()}


@dataclass
class LongPrompts:
    """Counts episodes that could not begin; the first time, people are told of one."""

    progress: RunProgress
    has_warned: bool = False

    def count(self, step: int, trajectories: Sequence[Trajectory]) -> int:
        """How many of `trajectories` could not begin."""
        too_long = [trajectory for trajectory in trajectories if has_too_long_prompt(trajectory)]
        if too_long and not self.has_warned:
            self.has_warned = True
            self.progress.line(
                f"step {step}: episodes left out for their long prompts: {len(too_long)} of {len(trajectories)} "
                f"(later ones are counted in metrics.jsonl). {too_long[0].metadata['problem']}"
            )
        return len(too_long)
