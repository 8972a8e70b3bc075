"""A run of one process, or of several that a launcher started: the first runs, the others follow it to its result."""

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch

from ..learning import Agent, Learner, LearnerConfig, Policy
from ..learning.parallel import joined
from ..learning.parallel_learner import ParallelLearner, follow, leading, require_parallel
from .config import RunConfig
from .parts import make_policy
from .result import RunResult
from .stopping import heeding_signals

MakeLearner: TypeAlias = Callable[[Policy, Agent, LearnerConfig], Learner]


def run_together(
    config: RunConfig, learner_config: LearnerConfig, run: Callable[[MakeLearner], RunResult]
) -> RunResult:
    """What `run` comes to, in every process; only the first calls it, and only what that one writes is written.

    Args:
        config: of the run, the same in every process.
        learner_config: of its learner.
        run: the whole run; it is given what makes its learners.

    Raises:
        ConfigError: several processes cannot learn as the config says.
        LearnerError: another process has failed or is gone.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    with joined(learner_config.parallel, device=config.model.device) as ranks:
        if ranks.count == 1:
            return run(Learner)
        require_parallel(learner_config)
        if ranks.leads:
            with leading(ranks) as told:
                result = run(partial(ParallelLearner, ranks=ranks))
                told += [result.folder, result.before, result.after, result.is_complete]
            return result
        policy, tokenizer = make_policy(config)
        with heeding_signals(lambda name: None):  # noqa: ARG005  the first process decides when to end
            folder, before, after, is_complete = follow(ranks, policy)
        return RunResult(folder, before, after, tokenizer, is_complete, is_followed=True)
