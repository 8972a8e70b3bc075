"""Scores and verifiers, and the killable workers that slow checks run in."""

from .score import Score, Verifier

__all__ = ["Score", "Verifier"]
