"""Samplers: token ids in, token ids and log-probabilities out."""

from .params import SamplingParams
from .sampler import Completion, FinishReason, KeptTokens, Sampler, Session, WeightSource

__all__ = ["Completion", "FinishReason", "KeptTokens", "Sampler", "SamplingParams", "Session", "WeightSource"]
