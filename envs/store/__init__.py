"""An online store whose customers the policy serves: tools, a database, written rules, and somebody to talk with."""

from .env import INTENTS, StoreEnv
from .rules import POLICY

__all__ = ["INTENTS", "POLICY", "StoreEnv"]
