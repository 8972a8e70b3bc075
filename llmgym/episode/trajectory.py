"""What is kept of an episode: the tokens that the model really saw, and what each turn earned."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..messages import AssistantMessage
from ..sampling import KeptTokens, SamplingParams
from ..scoring import Score
from .limits import StopReason


class Role(StrEnum):
    """What a trajectory is for."""

    ROLLOUT = "rollout"
    DEMONSTRATION = "demonstration"
    CHOSEN = "chosen"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One contiguous sequence that the model really saw; T tokens."""

    token_ids: np.ndarray
    """int32[T]."""
    action_mask: np.ndarray
    """bool[T], True where the policy sampled the token. Each sampled token is an action in exactly one segment."""
    sampling_logprobs: np.ndarray | None = None
    """float32[T] of the distribution sampled from, 0 where not sampled; None for demonstrations."""
    weight_version: np.ndarray | None = None
    """int32[T], -1 where not sampled."""
    kept_tokens: KeptTokens | None = None
    """The support left by top-p or top-k for each action token, where used."""

    def __post_init__(self) -> None:
        for name in ("action_mask", "sampling_logprobs", "weight_version"):
            array = getattr(self, name)
            if array is not None and array.shape != self.token_ids.shape:
                raise ShapeError(
                    f"{name} has shape {array.shape} but token_ids has {self.token_ids.shape}. "
                    "Pass one entry per token of the segment, the prompt's included."
                )
        if self.kept_tokens is not None and len(self.kept_tokens.offsets) != self.num_actions + 1:
            raise ShapeError(
                f"kept_tokens has {len(self.kept_tokens.offsets) - 1} rows, but the segment has {self.num_actions} "
                "sampled tokens. Pass the kept ids of each of them."
            )

    @property
    def num_actions(self) -> int:
        """Number of sampled tokens."""
        return int(self.action_mask.sum())


@dataclass(frozen=True, slots=True, eq=False)
class TurnRecord:
    """One turn of the policy."""

    segment_index: int
    start: int
    """First position of the turn's sampled tokens in its segment."""
    stop: int
    """One past the last."""
    message: AssistantMessage
    score: Score | None
    """What the turn earned; None where it was not scored."""
    seconds: float = 0.0
    """Wall time that the environment took to answer."""
    num_tool_errors: int = 0
    """Calls of the turn that failed by the policy's fault."""

    @property
    def reward(self) -> float:
        """The turn's reward, paid on its last token; 0 where it was not scored, or our machinery failed."""
        return self.score.reward if self.score is not None and self.score.is_valid else 0.0


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Trajectory:
    """One episode, complete: what the learner trains on and what is stored."""

    segments: tuple[Segment, ...]
    turns: tuple[TurnRecord, ...]
    reward: float
    """Sum of the turns' rewards."""
    terminated: bool
    """The task ended."""
    truncated: bool
    """A budget ended."""
    stop_reason: StopReason
    is_valid: bool = True
    """False: our machinery failed; the learner leaves it out."""
    env_id: str = ""
    task_key: str = ""
    seed: int = 0
    group_id: int = 0
    """Trajectories of one group share it; prompts are never compared."""
    sample_index: int = 0
    """Place within the group."""
    parent: tuple[int, int] | None = None
    """(trajectory, token) that this one was forked from."""
    role: Role = Role.ROLLOUT
    sampling: SamplingParams | None = None
    metadata: Mapping[str, Any]

    @property
    def num_actions(self) -> int:
        """Number of sampled tokens in all segments."""
        return sum(segment.num_actions for segment in self.segments)

    @property
    def num_retries(self) -> int:
        """How often it was begun anew because our machinery had failed."""
        return int(self.metadata.get("attempts", 1)) - 1

    def action_rewards(self) -> np.ndarray:
        """float64[num_actions]: each turn's reward on its last sampled token."""
        rewards = np.zeros(self.num_actions)
        end = 0
        for turn in self.turns:
            end += turn.stop - turn.start
            if end:
                rewards[end - 1] += turn.reward
        return rewards
