"""Budgets of an episode and how its turns are read; the reasons why it stopped."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from ..errors import ConfigError
from ..messages import AssistantMessage, Tokenizer, TurnParser, TurnStyle
from ..scoring import Score


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
    tool_format: str = "auto"
    """Form of turns with tool calls, by its name; "auto": that of the chat template, else one that fits the tools."""
    reasoning: str = "auto"
    """Whether turns "think" in a block before they speak, or "none" does; "auto": as in the chat template."""
    malformed_call: str = "answer"
    """What follows a call that cannot be read: the environment's "answer", or the "end" of the episode."""
    malformed_penalty: float = 0.0
    """Taken from the reward of a turn in which a call cannot be read."""
    style: TurnStyle = field(default_factory=TurnStyle)
    """How the chat template writes turns."""
    stop_strings: tuple[str, ...] = ()
    """Texts that close a turn beside the end token."""

    def __post_init__(self) -> None:
        if self.malformed_call not in ("answer", "end"):
            raise ConfigError(f'malformed_call is {self.malformed_call!r}, but it must be "answer" or "end".')
        if self.reasoning not in ("auto", "none", "think"):
            raise ConfigError(f'reasoning is {self.reasoning!r}, but it must be "auto", "none" or "think".')
        if not 0 <= self.malformed_penalty < float("inf"):
            raise ConfigError(
                f"malformed_penalty is {self.malformed_penalty}, but it is taken from a reward, so it must be a number "
                "of at least 0."
            )
        if "" in self.stop_strings:
            raise ConfigError("stop_strings holds an empty text, which would end each turn at once. Leave it out.")

    def parser(self, tools: Sequence[Mapping[str, Any]], tokenizer: Tokenizer) -> TurnParser:
        """What reads the turns of an episode.

        Args:
            tools: schemas of the tools there are.
            tokenizer: of the turns.
        """
        return self.style.parser(self.tool_format, self.reasoning, tools, tokenizer)

    def penalized(self, score: Score | None, message: AssistantMessage) -> Score | None:
        """The score of a turn, less the penalty where a call in it cannot be read."""
        if not self.malformed_penalty or not message.malformed_calls or (score is not None and not score.is_valid):
            return score
        score = score or Score(reward=0.0, reason=f"a tool call cannot be read: {message.malformed_calls[0].problem}")
        return replace(score, reward=score.reward - self.malformed_penalty)
