"""Mathematics problems, generated or from a data set, and the verifier of their answers."""

from .env import GSM8KEnv, MATHEnv, MathEnv
from .families import FAMILIES
from .verifier import MathVerifier

__all__ = ["FAMILIES", "GSM8KEnv", "MATHEnv", "MathEnv", "MathVerifier"]
