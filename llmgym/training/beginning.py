"""The cold start of a run: demonstrations of all its environments, and learning from them."""

from collections.abc import Mapping
from dataclasses import replace

from ..episode import Trajectory
from ..progress import RunProgress
from ..rollout import whole_shares
from .cold_start import make_demonstrations, run_cold_start
from .config import RunConfig
from .metrics import MetricsLog
from .parts import RunParts
from .together import MakeLearner


def begin_with_demonstrations(
    run: RunConfig, parts: RunParts, *, make_learner: MakeLearner, log: MetricsLog, progress: RunProgress
) -> None:
    """Teach the policy what the run's `cold_start` says; nothing where there is none."""
    config = run.cold_start
    if config is None:
        return
    demonstrations = list[Trajectory]()
    with progress.phase("demonstrations", config.num_demonstrations) as phase:
        for name, count in whole_shares(parts.mixture.weights, config.num_demonstrations).items():
            env, cursor = parts.collector.pool(name).example, parts.mixture.cursor(name)
            for demonstration in make_demonstrations(
                env, cursor, replace(config, num_demonstrations=count), seed=run.seed
            ):
                demonstrations.append(demonstration)
                phase.advance()
    with progress.phase("cold start", config.steps) as phase:

        def on_step(step: int, metrics: Mapping[str, float]) -> None:
            log.log("cold_start", step, metrics)
            phase.advance(f"loss {metrics['loss']:.3f}")

        run_cold_start(parts.policy, demonstrations, config, seed=run.seed, on_step=on_step, make_learner=make_learner)
