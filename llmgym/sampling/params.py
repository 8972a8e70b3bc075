"""How tokens are sampled."""

from dataclasses import dataclass

from ..errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How the next tokens are drawn, and when to stop."""

    max_new_tokens: int = 1024
    """At most so many tokens; the room that is left in the episode may be less."""
    temperature: float = 1.0
    """0 takes the likeliest token; its log-probability is that of the distribution at temperature 1."""
    top_p: float = 1.0
    """Smallest set of likeliest tokens that holds this much probability; 1 keeps all."""
    top_k: int = 0
    """So many of the likeliest tokens; 0 keeps all."""
    stop_token_ids: tuple[int, ...] = ()
    """Tokens that end the completion; the one that did is part of it."""
    stop_strings: tuple[str, ...] = ()
    """Texts that end the completion; only samplers that see text know them."""

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ConfigError(f"max_new_tokens is {self.max_new_tokens}, but at least 1 token must be sampled.")
        if not 0 <= self.temperature < float("inf"):
            raise ConfigError(f"temperature is {self.temperature}. Use 0 for greedy decoding, or a positive number.")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p is {self.top_p}, but it must be above 0 and at most 1, which keeps all tokens.")
        if self.top_k < 0:
            raise ConfigError(f"top_k is {self.top_k}. Use 0 to keep all tokens, or a positive number.")
        if not isinstance(self.stop_strings, tuple) or "" in self.stop_strings:
            raise ConfigError(f"stop_strings is {self.stop_strings!r}. Give a tuple of texts, none of them empty.")

    @property
    def keeps_all_tokens(self) -> bool:
        """True where neither top-p nor top-k cuts the distribution."""
        return self.top_p == 1.0 and self.top_k == 0
