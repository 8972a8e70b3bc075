"""Rewards of several parts: weights, gates and ensembles over verifiers."""

import asyncio
import inspect
import math
from collections.abc import Awaitable, Generator, Mapping, Sequence
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any

from ..errors import ConfigError, VerifierError
from ..messages import AssistantMessage
from .score import Score, Verifier


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a rubric."""

    name: str
    """In `Score.parts`, where the reward of the part is found before weighting."""
    verifier: Verifier
    """What judges it."""
    weight: float = 1.0
    """Times the reward of the part; below 0 it is a penalty, at 0 it is only shown."""
    opens_at: float | None = None
    """A number makes the part a gate: below it the whole reward is 0, and nothing but the other gates is judged. Beside
    penalties that is a way out: a policy may close a gate to escape them."""

    def __post_init__(self) -> None:
        if not self.name or "." in self.name or not callable(self.verifier):
            raise ConfigError(
                f"A part needs a name without a dot, and a verifier, but has {self.name!r} and {self.verifier!r:.60}."
            )
        if not (math.isfinite(self.weight) and math.isfinite(self.opens_at or 0.0)):
            raise ConfigError(
                f"The part {self.name!r} has weight {self.weight} and opens_at {self.opens_at}, but they are finite "
                "numbers."
            )


class Rubric:
    """A verifier that sums up others: reward = sum of weight x part.

    Gates are judged first, and all others only where every gate is open. The `Score` shows each part that was judged,
    and the parts of a part as "part.name". Where any verifier gives an invalid score, the score is invalid: what is
    missing is neither nought nor the mean of the others. An error that a verifier raises is raised.

    A call gives a `Score`, or an awaitable of one where a verifier is asynchronous; those are awaited side by side.

    Args:
        parts: in the order in which they are shown.

    Raises:
        ConfigError: there is no part, or two have one name.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        names = [part.name for part in parts]
        if not parts or len(set(names)) < len(names):
            raise ConfigError(f"A rubric needs one part or more with different names, but they are {names}.")
        self.parts = tuple(parts)

    def __call__(self, message: AssistantMessage, task: Any) -> Score | Awaitable[Score]:
        return _driven(self._judged(message, task))

    def _judged(self, message: AssistantMessage, task: Any) -> "_Steps":
        scores: dict[str, Score] = {}
        gates = [part for part in self.parts if part.opens_at is not None]
        others = [part for part in self.parts if part.opens_at is None]
        for stage in (gates, others):
            judged = yield _asked({part.name: part.verifier for part in stage}, message, task)
            scores |= zip((part.name for part in stage), judged, strict=True)
            if invalid := _invalid(scores):
                return invalid
            closed = [p.name for p in stage if p.opens_at is not None and scores[p.name].reward < p.opens_at]
            if closed:
                return _combined(scores, 0.0, f"closed by {', '.join(closed)}")
        reward = math.fsum(part.weight * scores[part.name].reward for part in self.parts)
        return _combined({part.name: scores[part.name] for part in self.parts}, reward)


class Ensemble:
    """A verifier that asks several about the same thing and pays the mean of their rewards, or the least.

    Invalid scores, errors and asynchronous verifiers are treated as in `Rubric`.

    Args:
        verifiers: by name.
        pays: "mean" or "min".

    Raises:
        ConfigError: there is no verifier, or `pays` is something else.
    """

    def __init__(self, verifiers: Mapping[str, Verifier], *, pays: str = "mean") -> None:
        if not verifiers or pays not in ("mean", "min"):
            raise ConfigError(
                f"An ensemble of {len(verifiers)} verifiers that pays {pays!r} has no reward. Give one verifier or "
                'more, and pays="mean" or "min".'
            )
        self.verifiers, self.pays = dict(verifiers), pays

    def __call__(self, message: AssistantMessage, task: Any) -> Score | Awaitable[Score]:
        return _driven(self._judged(message, task))

    def _judged(self, message: AssistantMessage, task: Any) -> "_Steps":
        judged = yield _asked(self.verifiers, message, task)
        scores = dict(zip(self.verifiers, judged, strict=True))
        rewards = [score.reward for score in judged]
        reward = min(rewards) if self.pays == "min" else math.fsum(rewards) / len(rewards)
        return _invalid(scores) or _combined(scores, reward)


_Steps = Generator[list[Score | Awaitable[Score]], list[Score], Score]
"""Yields scores that may have to be awaited, is sent them, returns the result."""


def _asked(verifiers: Mapping[str, Verifier], message: AssistantMessage, task: Any) -> list[Score | Awaitable[Score]]:
    """What the verifiers answer at once. Raises VerifierError where that is neither a score nor an awaitable."""
    asked: list[Score | Awaitable[Score]] = []
    try:
        for name, verifier in verifiers.items():
            asked.append(verifier(message, task))
            if not isawaitable(asked[-1]):
                _require_score(asked[-1], f"The verifier {name!r}")
    except BaseException:  # raised again; what was begun and will not be awaited is closed
        for score in asked:
            if inspect.iscoroutine(score):
                score.close()
        raise
    return asked


def _require_score(given: Any, who: str = "An asynchronous verifier") -> Score:
    if not isinstance(given, Score):
        raise VerifierError(f"{who} gave {given!r:.60}, but a verifier gives a Score(reward=...).")
    return given


def _driven(steps: _Steps) -> Score | Awaitable[Score]:
    """The result of the steps; an awaitable from the first score on that must be awaited."""
    try:
        asked = next(steps)
        while not any(isawaitable(score) for score in asked):
            asked = steps.send(asked)  # type: ignore[arg-type]  # none is awaitable
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    return _driven_on(steps, asked)


async def _driven_on(steps: _Steps, asked: list[Score | Awaitable[Score]]) -> Score:
    while True:
        # All are awaited before the first error is raised, so that none is left running.
        settled = await asyncio.gather(*map(_awaited, asked), return_exceptions=True)
        for error in settled:
            if isinstance(error, BaseException):
                raise error
        try:
            asked = steps.send(settled)  # type: ignore[arg-type]  # no error is left
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


async def _awaited(score: Score | Awaitable[Score]) -> Score:
    return _require_score(await score) if isawaitable(score) else score


def _combined(scores: Mapping[str, Score], reward: float, reason: str = "", *, is_valid: bool = True) -> Score:
    """One score that shows others; it takes over the first answer that was extracted, and the first reference."""
    parts = {}
    for name, score in scores.items():
        parts[name] = score.reward
        parts |= {f"{name}.{inner}": value for inner, value in score.parts.items()}
    reasons = [reason, *(f"{name}: {score.reason}" for name, score in scores.items() if score.reason)]
    return Score(
        reward=reward,
        is_valid=is_valid,
        parts=parts,
        extracted=next((score.extracted for score in scores.values() if score.extracted is not None), None),
        expected=next((score.expected for score in scores.values() if score.expected is not None), None),
        reason="; ".join(filter(None, reasons)),
    )


def _invalid(scores: Mapping[str, Score]) -> Score | None:
    """The invalid score of a whole with an invalid part."""
    failed = {name: score for name, score in scores.items() if not score.is_valid}
    if not failed:
        return None
    valid = {name: score for name, score in scores.items() if score.is_valid}
    why = "; ".join(f"{name} failed: {score.reason or 'no reason given'}" for name, score in failed.items())
    return _combined(valid, 0.0, why, is_valid=False)
