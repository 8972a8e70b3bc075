"""Environments times a sampler gives trajectories; trajectories on disk."""

from .collect import Collector, EpisodePlan, collect, groups_of, plan_groups
from .cursor import TaskCursor

__all__ = ["Collector", "EpisodePlan", "TaskCursor", "collect", "groups_of", "plan_groups"]
