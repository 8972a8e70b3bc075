"""Samplers: token ids in, token ids and log-probabilities out."""

from .ask import ask_endpoint, ask_sampler
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
    "ask_endpoint",
    "ask_sampler",
]
