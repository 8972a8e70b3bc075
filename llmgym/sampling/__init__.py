"""Samplers: token ids in, token ids and log-probabilities out."""

from .ask import ask_endpoint, ask_sampler
from .by_name import make_sampler
from .endpoint_sampler import EndpointAbilities, EndpointSampler
from .params import SamplingParams
from .sampler import (
    Completion,
    FinishReason,
    KeptTokens,
    Sampler,
    Session,
    TextSession,
    WeightSource,
    WrittenTurn,
)
from .scripted_sampler import ScriptedSampler, TokenPolicy

__all__ = [
    "Completion",
    "EndpointAbilities",
    "EndpointSampler",
    "FinishReason",
    "KeptTokens",
    "Sampler",
    "SamplingParams",
    "ScriptedSampler",
    "Session",
    "TextSession",
    "TokenPolicy",
    "WeightSource",
    "WrittenTurn",
    "ask_endpoint",
    "ask_sampler",
    "make_sampler",
]
