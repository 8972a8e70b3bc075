"""The evaluations of a run on held-out tasks."""

from dataclasses import dataclass

from ..evaluation import Evaluation
from ..progress import RunProgress
from ..rollout import OnEpisode, plan_groups
from ..sampling import SamplingParams
from .alarms import AlarmWatch
from .describe import describe_by_env
from .metrics import MetricsLog
from .parts import RunParts
from .telling import LongPrompts

_GREEDY = SamplingParams(temperature=0.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOut:
    """The held-out tasks of all environments, and who hears how the policy does on them."""

    parts: RunParts
    sampling: SamplingParams
    """As in training."""
    seed: int
    full_reward: float
    log: MetricsLog
    alarms: AlarmWatch
    long_prompts: LongPrompts
    progress: RunProgress

    @property
    def num_tasks(self) -> int:
        """Of one decoding."""
        return len(self.parts.held_out)

    async def evaluate(
        self, step: int, on_episode: OnEpisode | None = None, *, phase: str = "evaluation"
    ) -> dict[str, Evaluation]:
        """By decoding: sampled as in training, and greedy; told as a `phase`, alarms hear of evaluations alone."""
        collector = self.parts.collector
        names, tasks = [name for name, _ in self.parts.held_out], [task for _, task in self.parts.held_out]
        plans = plan_groups(tasks, group_size=1, seed=(self.seed,), envs=names)
        results: dict[str, Evaluation] = {}
        for decoding, sampling in (("sampled", self.sampling), ("greedy", _GREEDY)):
            trajectories = await collector.run(plans, sampling, on_episode=on_episode)
            self.long_prompts.count(step, trajectories)
            results[decoding] = Evaluation(tuple(trajectories), self.full_reward)
            summary = results[decoding].summary()
            if len(collector.pools) > 1:
                for name, figures in describe_by_env(trajectories, self.full_reward).items():
                    summary |= {f"env/{name}/{key}": value for key, value in figures.items()}
            self.log.log(phase, step, {"decoding": decoding, **summary})
        if phase == "evaluation":
            self.alarms.add_evaluation(step, results["sampled"].summary())
        shown = "  ".join(f"{decoding} {result.success}" for decoding, result in results.items())
        self.progress.line(f"step {step}: held-out success  {shown}")
        return results
