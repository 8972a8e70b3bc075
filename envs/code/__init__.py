"""Programming problems, checked by unit tests in a sandbox."""

from .env import CodeEnv
from .public import HumanEvalEnv, MBPPEnv

__all__ = ["CodeEnv", "HumanEvalEnv", "MBPPEnv"]
