"""Environments times a sampler gives trajectories; trajectories on disk."""

from .collect import Collector, OnEpisode, collect, groups_of, has_too_long_prompt, make_collector
from .cursor import TaskCursor
from .demonstrate import demonstrate
from .env_pool import EnvPool
from .mixture import TaskMixture, whole_shares
from .plan import EpisodePlan, plan_groups
from .rescore import Rescored, Verdict, rescore
from .store import load_trajectories, save_trajectories
from .tally import Tally

__all__ = [
    "Collector",
    "EnvPool",
    "EpisodePlan",
    "OnEpisode",
    "Rescored",
    "Tally",
    "TaskCursor",
    "TaskMixture",
    "Verdict",
    "collect",
    "demonstrate",
    "groups_of",
    "has_too_long_prompt",
    "load_trajectories",
    "make_collector",
    "plan_groups",
    "rescore",
    "save_trajectories",
    "whole_shares",
]
