"""Games told in text: each turn's last line is the move."""

from .frozen_lake import FrozenLakeEnv
from .sokoban import SokobanEnv
from .wordle import WordleEnv

__all__ = ["FrozenLakeEnv", "SokobanEnv", "WordleEnv"]
