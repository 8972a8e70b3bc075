"""Mathematics problems, generated or from a data set, and the verifier of their answers."""

from .comparison import Outcome, Verdict
from .env import GSM8KEnv, MATHEnv, MathEnv
from .families import FAMILIES
from .python_env import MathPythonEnv
from .verifier import MathVerifier, check

__all__ = ["FAMILIES", "GSM8KEnv", "MATHEnv", "MathEnv", "MathPythonEnv", "MathVerifier", "Outcome", "Verdict", "check"]
