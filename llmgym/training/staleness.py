"""How old tokens are: updates between the weights that sampled them and those that learn from them."""

from collections.abc import Sequence

import numpy as np

from ..episode import Trajectory


def token_staleness(trajectories: Sequence[Trajectory], version: int) -> np.ndarray:
    """Updates from each sampled token to the weights of `version`, int64, where its sampler told its version."""
    parts = [
        version - segment.weight_version[segment.action_mask].astype(np.int64)
        for trajectory in trajectories
        for segment in trajectory.segments
        if segment.weight_version is not None
    ]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def oldest(trajectories: Sequence[Trajectory], version: int) -> int:
    """Staleness of the oldest token; 0 where nothing is known of any."""
    return int(token_staleness(trajectories, version).max(initial=0))


def describe_staleness(trajectories: Sequence[Trajectory], version: int) -> dict[str, float]:
    """staleness_mean and staleness_max over the sampled tokens; empty where nothing is known of any."""
    ages = token_staleness(trajectories, version)
    return {"staleness_mean": float(ages.mean()), "staleness_max": float(ages.max())} if len(ages) else {}
