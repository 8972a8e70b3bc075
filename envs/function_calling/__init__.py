"""Function calls checked by structure: the Berkeley Function Calling Leaderboard, and generated requests."""

from .env import FunctionCallingEnv

__all__ = ["FunctionCallingEnv"]
