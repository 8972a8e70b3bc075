"""tau-bench: customer service with tools, a database, a written policy and a user."""

from .env import TauAirlineEnv, TauRetailEnv

__all__ = ["TauAirlineEnv", "TauRetailEnv"]
