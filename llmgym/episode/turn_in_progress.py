"""What is known of a turn while its episode runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import InvalidAction
from ..messages import AssistantMessage
from ..sampling import KeptTokens
from ..scoring import Score
from .trajectory import Segment, TurnRecord


@dataclass(slots=True)
class TurnInProgress:
    """A turn's place and what is known of it."""

    segment_index: int
    start: int
    stop: int = 0
    """0 while the turn is open."""
    logprobs: list[float] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    kept: list[np.ndarray] = field(default_factory=list)
    message: AssistantMessage | None = None
    score: Score | None = None
    asked_at: float = 0.0
    seconds: float = 0.0
    num_tool_errors: int = 0

    def record(self) -> TurnRecord:
        """The turn as it is kept, once it has a message."""
        assert self.message is not None, "a stopped turn has a message"
        return TurnRecord(
            self.segment_index,
            self.start,
            self.stop,
            self.message,
            self.score,
            seconds=self.seconds,
            num_tool_errors=self.num_tool_errors,
        )


def segment_of(ids: Sequence[int], turns: Sequence[TurnInProgress]) -> Segment:
    """A segment from its ids and the turns in it, all of which are stopped.

    Log-probabilities and versions are kept where every sampled token has them.
    """
    length = len(ids)
    mask, logprobs = np.zeros(length, dtype=bool), np.zeros(length, dtype=np.float32)
    versions = np.full(length, -1, dtype=np.int32)
    is_sampled = bool(turns) and all(t.stop - t.start == len(t.logprobs) == len(t.versions) for t in turns)
    for turn in turns:
        mask[turn.start : turn.stop] = True
        if is_sampled:
            logprobs[turn.start : turn.stop] = turn.logprobs
            versions[turn.start : turn.stop] = turn.versions
    kept = KeptTokens.from_rows([row for turn in turns for row in turn.kept])
    token_ids = np.array(ids, dtype=np.int32)
    return Segment(token_ids, mask, logprobs if is_sampled else None, versions if is_sampled else None, kept)


def require_ids(ids: Sequence[int], *, room: int, vocab_size: int) -> None:
    """What a policy may add to a turn.

    Raises:
        InvalidAction: there is no id, there are more than `room`, or one is outside the vocabulary.
    """
    if not ids:
        raise InvalidAction("The action holds no id. A turn has at least one, its end token.")
    if len(ids) > room:
        raise InvalidAction(
            f"The action has {len(ids)} ids, but only {room} fit the turn's budgets. "
            'info["max_new_tokens"] says how many before each turn.'
        )
    if min(ids) < 0 or max(ids) >= vocab_size:
        wrong = next(token for token in ids if not 0 <= token < vocab_size)
        raise InvalidAction(f"{wrong} is not a token id; ids are 0 to {vocab_size - 1}.")
