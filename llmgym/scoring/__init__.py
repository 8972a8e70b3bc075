"""Scores and verifiers, and the killable workers that slow checks run in."""

from .score import Score, Verifier
from .workers import WorkerPool, WorkResult, WorkStatus, shared_pool

__all__ = ["Score", "Verifier", "WorkResult", "WorkStatus", "WorkerPool", "shared_pool"]
