"""What a run makes of a batch that was sampled, before it learns from it: metrics, and who hears what is odd."""

from dataclasses import dataclass
from typing import Any

from ..learning.update_metrics import describe_groups
from ..progress import RunProgress
from ..rollout import groups_of
from .batch import Batch
from .describe import describe_by_env, describe_episodes
from .metrics import MetricsLog
from .parts import RunParts
from .quarantine import Quarantine
from .staleness import describe_staleness
from .telling import LongPrompts


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchReport:
    """Describes batches; quarantine and curriculum hear of them, and people of what is odd."""

    parts: RunParts
    quarantine: Quarantine
    long_prompts: LongPrompts
    full_reward: float
    is_synchronous: bool
    log: MetricsLog
    progress: RunProgress

    def metrics(self, step: int, batch: Batch) -> dict[str, Any]:
        """Of the batch of a step."""
        for name in self.quarantine.record(batch.drawn):
            problem = self.quarantine.left_out[name]
            self.log.log("quarantine", step, {"env": name, "problem": problem})
            self.progress.line(f"step {step}: QUARANTINE: {name} is left out, as it keeps failing: {problem}")
        metrics = describe_episodes(batch.drawn, self.full_reward) | describe_groups(list(groups_of(batch.drawn)))
        metrics |= {
            "num_resample_rounds": batch.num_rounds,
            "num_dropped_groups": batch.num_dropped_groups,
            "num_long_prompts": self.long_prompts.count(step, batch.drawn),
            "is_skipped": int(not batch.groups),
        }
        if not self.is_synchronous:
            learned = [trajectory for group in batch.groups for trajectory in group]
            metrics |= describe_staleness(learned, step - 1) | {"num_dropped_stale": batch.num_dropped_stale}
        if not batch.groups:
            self.progress.line(
                f"step {step}: nothing to learn from, as the agent dropped all {batch.num_drawn_groups} groups "
                f"(rounds: {1 + batch.num_rounds}); the step is skipped."
            )
        return metrics | self._metrics_by_env(batch)

    def _metrics_by_env(self, batch: Batch) -> dict[str, Any]:
        """Where there are several environments; the weights that their tasks were drawn by, before the curriculum's."""
        if len(self.parts.collector.pools) == 1:
            return {}
        metrics: dict[str, Any] = {}
        mixture, curriculum = self.parts.mixture, self.parts.curriculum
        weights = mixture.weights
        for name, figures in describe_by_env(batch.drawn, self.full_reward).items():
            metrics |= {f"env/{name}/{key}": value for key, value in figures.items()}
            if curriculum is not None and "success" in figures:
                num_valid = int(figures["num_episodes"] - figures["num_invalid"])
                curriculum.record(name, figures["success"], num_valid)
        if curriculum is not None:
            mixture.weights = curriculum.weights()
        return metrics | {f"env/{name}/weight": weight for name, weight in weights.items()}
