"""Environments times a sampler gives trajectories; trajectories on disk."""

from .collect import Collector, EpisodePlan, collect, groups_of, plan_groups
from .cursor import TaskCursor
from .demonstrate import demonstrate
from .env_pool import EnvPool
from .rescore import Rescored, Verdict, rescore
from .store import load_trajectories, save_trajectories

__all__ = [
    "Collector",
    "EnvPool",
    "EpisodePlan",
    "Rescored",
    "TaskCursor",
    "Verdict",
    "collect",
    "demonstrate",
    "groups_of",
    "load_trajectories",
    "plan_groups",
    "rescore",
    "save_trajectories",
]
