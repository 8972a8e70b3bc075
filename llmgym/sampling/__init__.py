"""Samplers: token ids in, token ids and log-probabilities out."""

from .params import SamplingParams
from .sampler import Completion, FinishReason, KeptTokens, Sampler, Session, WeightSource
from .scripted_sampler import ScriptedSampler, TokenPolicy

__all__ = [
    "Completion",
    "FinishReason",
    "KeptTokens",
    "Sampler",
    "SamplingParams",
    "ScriptedSampler",
    "Session",
    "TokenPolicy",
    "WeightSource",
]
