"""How good a policy is, with intervals."""

from .estimators import Estimate, clustered_mean, wilson_interval
from .evaluate import Evaluation, TextPolicy, evaluate, evaluate_sampler

__all__ = ["Estimate", "Evaluation", "TextPolicy", "clustered_mean", "evaluate", "evaluate_sampler", "wilson_interval"]
