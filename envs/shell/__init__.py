"""Generated tasks in a file system."""

from .env import ShellEnv
from .exercise import Exercise
from .families import FAMILIES

__all__ = ["FAMILIES", "Exercise", "ShellEnv"]
