"""What a verifier returns."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import VerifierError
from ..messages import AssistantMessage


@dataclass(frozen=True, kw_only=True)
class Score:
    """A reward with its explanation.

    Raises:
        VerifierError: the reward is no finite number. So a verifier that fails so fails an episode, and no run.
    """

    reward: float
    is_valid: bool = True
    """False: our machinery failed, and the reward means nothing."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Each part of the reward by name, before weighting."""
    extracted: str | None = None
    """The answer found in the policy's text."""
    expected: str | None = None
    """The reference answer. Never shown before the episode ended."""
    reason: str = ""
    """Why the reward is what it is."""

    def __post_init__(self) -> None:
        if not -float("inf") < self.reward < float("inf"):
            raise VerifierError(f"A verifier gave the reward {self.reward}, but a reward is a finite number.")
        object.__setattr__(self, "reward", float(self.reward))  # NumPy's float32 is no float, and JSON refuses it

    def to_json(self) -> dict[str, Any]:
        """The score as plain JSON values."""
        return {
            "reward": self.reward,
            "is_valid": self.is_valid,
            "parts": {name: float(part) for name, part in self.parts.items()},
            "extracted": self.extracted,
            "expected": self.expected,
            "reason": self.reason,
        }


Verifier = Callable[[AssistantMessage, Any], Score | Awaitable[Score]]
"""A pure check of a policy's message against a task (`llmgym.Task`). Raises `VerifierError` where it fails itself."""
