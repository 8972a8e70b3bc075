"""Budgets of an episode and how its turns are read; the reasons why it stopped."""

from dataclasses import dataclass
from enum import StrEnum

from ..errors import ConfigError


class StopReason(StrEnum):
    """Why an episode is over."""

    ANSWERED = "answered"
    """The task ended: the environment said so."""
    TURN_BUDGET = "turn_budget"
    """`Limits.turns` turns were taken."""
    TOKEN_BUDGET = "token_budget"
    """`Limits.turn_tokens` or `Limits.episode_tokens` were sampled."""
    CONTEXT_FULL = "context_full"
    """`Limits.context_tokens` leaves no room for another sampled token."""
    TIME_LIMIT = "time_limit"
    """`Limits.seconds` are over, or an outside limit of the world's own."""
    PARSE_FAILURE = "parse_failure"
    """A turn could not be read, and the environment is set to end there."""
    ENV_ERROR = "env_error"
    """Our machinery failed; the episode is not valid."""
    ABORTED = "aborted"
    """Nobody finished it."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Budgets of an episode.

    Checked in this order. After each sampled token: the end token or a stop string closes the turn and the
    environment answers, even on the last token of a budget; else `turn_tokens`, `episode_tokens` and
    `context_tokens` may cut the turn, which then is not scored. After each answer that does not end the task:
    `turns`, `episode_tokens`, `context_tokens` with the answer's tokens counted, `seconds`.
    """

    turns: int = 16
    """Turns of the policy."""
    turn_tokens: int = 1024
    """Sampled tokens of one turn, its end token included."""
    episode_tokens: int = 16384
    """Sampled tokens of all turns."""
    context_tokens: int = 4096
    """Tokens of one segment, prompt and answers included: the model's context."""
    seconds: float | None = None
    """Wall time since `reset`; checked between turns, and by the collector while the environment answers. None: no
    limit."""

    @property
    def max_actions(self) -> int:
        """Sampled tokens of the longest episode that `turns`, `turn_tokens` and `episode_tokens` allow."""
        return min(self.episode_tokens, self.turns * self.turn_tokens)

    def __post_init__(self) -> None:
        for name in ("turns", "turn_tokens", "episode_tokens", "context_tokens"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ConfigError(f"Limits.{name} is {value!r}, but it must be a whole number of at least 1.")
        if self.seconds is None:
            return
        if not isinstance(self.seconds, int | float) or isinstance(self.seconds, bool) or not self.seconds > 0:
            raise ConfigError(f"Limits.seconds is {self.seconds!r}, but it must be above 0, or None for no limit.")


@dataclass(frozen=True, kw_only=True)
class EpisodeSettings:
    """How turns are read and when they end; the same for every episode of an environment."""

    limits: Limits
    tool_format: str = "tag"
    """Form of tool calls: "tag" or "hermes"."""
    malformed_call: str = "answer"
    """What follows a call that cannot be read: the environment's "answer", or the "end" of the episode."""
    stop_strings: tuple[str, ...] = ()
    """Texts that close a turn beside the end token."""

    def __post_init__(self) -> None:
        if self.malformed_call not in ("answer", "end"):
            raise ConfigError(f'malformed_call is {self.malformed_call!r}, but it must be "answer" or "end".')
        if "" in self.stop_strings:
            raise ConfigError("stop_strings holds an empty text, which would end each turn at once. Leave it out.")
