"""Scores and verifiers, rewards of several parts, and the killable workers that slow checks run in."""

from .judge import Ask, Judge
from .rubric import Ensemble, Part, Rubric
from .score import Score, Verifier
from .shaping import LengthPenalty, RepetitionPenalty
from .workers import WorkerPool, WorkResult, WorkStatus, shared_pool

__all__ = [
    "Ask",
    "Ensemble",
    "Judge",
    "LengthPenalty",
    "Part",
    "RepetitionPenalty",
    "Rubric",
    "Score",
    "Verifier",
    "WorkResult",
    "WorkStatus",
    "WorkerPool",
    "shared_pool",
]
