"""Questions that are answered by searching in documents, made up or one's own."""

from .env import SearchQAEnv
from .families import FAMILIES

__all__ = ["FAMILIES", "SearchQAEnv"]
