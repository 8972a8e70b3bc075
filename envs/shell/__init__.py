"""Generated tasks in a file system."""

from .env import ShellEnv
from .exercise import Exercise
from .families import ABOUT_METADATA, FAMILIES

__all__ = ["ABOUT_METADATA", "FAMILIES", "Exercise", "ShellEnv"]
