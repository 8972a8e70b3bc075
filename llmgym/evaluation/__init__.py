"""How good a policy is, with intervals."""

from .estimators import Estimate, clustered_mean, clustered_share, majority_share, pass_at_k, wilson_interval
from .evaluate import EvaluationSettings, evaluate, evaluate_sampler, measure
from .policies import Player, TextPolicy, opened
from .result import Evaluation, answer_of

__all__ = [
    "Estimate",
    "Evaluation",
    "EvaluationSettings",
    "Player",
    "TextPolicy",
    "answer_of",
    "clustered_mean",
    "clustered_share",
    "evaluate",
    "evaluate_sampler",
    "majority_share",
    "measure",
    "opened",
    "pass_at_k",
    "wilson_interval",
]
