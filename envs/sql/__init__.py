"""Questions over SQLite databases, answered by queries that are run, or by values."""

from .env import SQLEnv
from .families import FAMILIES

__all__ = ["FAMILIES", "SQLEnv"]
