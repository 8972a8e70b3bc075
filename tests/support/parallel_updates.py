"""Updates of small models, the same in one process and in several, whose results a test compares.

As a program, `parallel_updates.py FILE` is one of the processes; the first writes what all cases came to. With a second
argument, the process of that number alone finds fault with its rows.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from llmgym.agents.grpo import GRPO
from llmgym.agents.gspo import GSPO
from llmgym.agents.ppo import PPO
from llmgym.agents.sft import SFT

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.models import VOCABULARY, tiny_model

from llmgym.episode import Segment, StopReason, Trajectory, TurnRecord
from llmgym.errors import ConfigError, DataError, LearnerError
from llmgym.learning import (
    ActionBatch,
    Agent,
    Aggregation,
    BaseAgent,
    ComputeConfig,
    CriticConfig,
    KLConfig,
    Learner,
    LearnerConfig,
    LoRAConfig,
    ModelOutputs,
    Policy,
    Unit,
    parallel_learner,
)
from llmgym.learning.optimizer_steps import OptimizerSteps
from llmgym.learning.parallel import ParallelConfig, Ranks, joined
from llmgym.learning.parallel_learner import ParallelLearner, follow, leading
from llmgym.learning.update_metrics import UpdateReport
from llmgym.messages import AssistantMessage
from llmgym.sampling import SamplingParams
from llmgym.scoring import Score

WHOLE = ParallelConfig(reduce_dtype="")
"""Gradients are added up in the type that they are in."""
HALF = ParallelConfig(compute_dtype="bfloat16")


@dataclass(frozen=True)
class Case:
    """An agent and settings, and how many groups of how many trajectories it learns from, in each of some updates."""

    agent: Agent
    groups: int = 3
    size: int = 3
    updates: int = 2
    settings: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    dtype: torch.dtype = torch.float64
    """Of the weights: in float64 only mistakes differ."""

    def module(self, seed: int = 0) -> torch.nn.Module:
        return tiny_model(seed=seed, **self.model).to(self.dtype)


def cases() -> dict[str, Case]:
    model = CriticConfig(kind="model", learning_rate=1e-2)
    shared = CriticConfig(learning_rate=1e-2, stop_gradient=False)
    late = CriticConfig(learning_rate=1e-2, warmup_updates=1)
    kl = KLConfig(coef=0.1, estimator="k3", placement="loss")
    moved = ComputeConfig(offload_activations=True, offload_optimizer=True)
    kept_less = ComputeConfig(gradient_checkpointing=True, fused=True)
    lora, on_head = LoRAConfig(r=4), LoRAConfig(r=4, use_rslora=True, target_modules=("q_proj", "lm_head"))
    return {
        "grpo": Case(GRPO(), updates=1, settings={"microbatch_tokens": 40}),
        "grpo, one pass for each trajectory": Case(GRPO(), groups=1, updates=1, settings={"microbatch_tokens": 1}),
        "grpo, less work than processes": Case(GRPO(), groups=1, size=2, updates=1),
        "grpo, reference, tied head, checkpointing": Case(
            GRPO(), settings={"kl": kl, "compute": kept_less}, model={"tie_word_embeddings": True}
        ),
        "gspo, several steps": Case(GSPO(epochs=2, minibatches=2), settings={"microbatch_tokens": 30}),
        "ppo, critic first": Case(PPO(epochs=1, minibatches=2), settings={"critic": late, "microbatch_tokens": 30}),
        "ppo, shared hidden states": Case(PPO(epochs=1, minibatches=1), updates=1, settings={"critic": shared}),
        "sft": Case(SFT(), groups=5, size=1, updates=1, settings={"microbatch_tokens": 30}),
        "bfloat16": Case(
            GRPO(), updates=1, settings={"microbatch_tokens": 40, "parallel": HALF, "max_sampling_gap": 9}
        ),
        "half": Case(
            GRPO(), updates=2, settings={"max_sampling_gap": 9.0, "microbatch_tokens": 40}, dtype=torch.bfloat16
        ),
        "lora": Case(GRPO(), settings={"lora": lora, "kl": kl, "microbatch_tokens": 40}),
        "lora, on the head too": Case(GRPO(), updates=1, settings={"lora": on_head, "compute": kept_less}),
        "lora, dora": Case(GRPO(epochs=2), settings={"lora": replace(lora, use_dora=True), "microbatch_tokens": 30}),
        "lora, ppo, critic of its own": Case(PPO(epochs=1, minibatches=2), settings={"lora": lora, "critic": model}),
        "lora, half": Case(
            GRPO(), updates=1, settings={"lora": lora, "max_sampling_gap": 9.0, "kl": kl}, dtype=torch.bfloat16
        ),
        "offloaded": Case(
            PPO(epochs=1, minibatches=2), settings={"compute": moved, "critic": model, "microbatch_tokens": 40}
        ),
        "pairs": Case(Pairs(), groups=5, size=2, updates=1, settings={"microbatch_tokens": 30}),
    }


def ragged(case: Case, seed: int, policy: Policy) -> list[list[Trajectory]]:
    """Groups of random trajectories: lengths from 1 to 12, some of several segments, one without an action."""
    rng = np.random.default_rng(seed)
    groups = []
    for group_id in range(case.groups):
        rows = [_random(rng, group_id, index, case) for index in range(case.size)]
        groups.append([_sampled(row, policy) for row in rows])
    return groups


def _random(rng: np.random.Generator, group_id: int, index: int, case: Case) -> Trajectory:
    segments, turns = [], []
    reward = float(rng.integers(0, 3)) + index % 2
    num_segments = int(rng.integers(1, 3))
    for part in range(num_segments):
        num_prompt, num_actions = int(rng.integers(1, 5)), int(rng.integers(0 if part else 1, 9))
        ids = rng.integers(1, VOCABULARY, num_prompt + num_actions).astype(np.int32)
        segments.append(Segment(ids, np.arange(len(ids)) >= num_prompt))
        score = Score(reward=reward) if part == num_segments - 1 else None
        turns.append(TurnRecord(part, num_prompt, len(ids), AssistantMessage(""), score))
    ends = StopReason.TIME_LIMIT if rng.random() < 0.3 else StopReason.ANSWERED
    return Trajectory(
        segments=tuple(segments),
        turns=tuple(turns),
        reward=reward,
        terminated=ends is StopReason.ANSWERED,
        truncated=ends is not StopReason.ANSWERED,
        stop_reason=ends,
        group_id=group_id,
        sample_index=index,
        sampling=SamplingParams(),
        metadata={},
    )


def _sampled(row: Trajectory, policy: Policy) -> Trajectory:
    """As if the policy had sampled it."""
    logprobs = policy.action_outputs([row], temperature=1.0).logprobs_BA[0].detach().numpy()
    segments, start = [], 0
    for segment in row.segments:
        values = np.zeros(len(segment.token_ids), dtype=np.float32)
        values[segment.action_mask] = logprobs[start : start + segment.num_actions]
        start += segment.num_actions
        segments.append(replace(segment, sampling_logprobs=values))
    return replace(row, segments=tuple(segments))


class Pairs(BaseAgent):
    """Widens the margin between the two trajectories of a pair: a loss that no micro-batch may split."""

    unit, aggregation = Unit.PAIR, Aggregation.PAIR_MEAN

    def loss(self, outputs: ModelOutputs, batch: ActionBatch) -> dict[str, torch.Tensor]:
        sums_B = outputs.logprobs_BA.sum(dim=1)
        others_B = torch.stack([sums_B[batch.group_B == group].sum() for group in batch.group_B]) - sums_B
        return {"policy": torch.nn.functional.softplus((others_B - 2 * sums_B) / 10)}


def run_case(case: Case, make: Callable[..., Learner]) -> dict[str, Any]:
    """Metrics of each update, and weights and state at the end."""
    module = case.module()
    config = LearnerConfig(
        **{"learning_rate": 1e-2, "max_grad_norm": 0.5, "max_actions": 24, "parallel": WHOLE, **case.settings}
    )
    learner = make(module, case.agent, config)
    shadow = Policy(case.module())  # what samples: the weights as they were handed on
    metrics = []
    for update in range(case.updates):
        metrics.append(learner.update(ragged(case, update, shadow)))
        own = dict(shadow.module.named_parameters(remove_duplicate=False))
        with torch.no_grad():
            for name, tensor in learner.weight_source(merge=True):
                own[name].copy_(tensor)
    state = learner.state_dict()
    return {
        "metrics": metrics,
        "weights": {name: weight.detach() for name, weight in own.items()},
        "adapter": {name: weight.clone() for name, weight in learner.weight_source()} if config.lora else {},
        "state": state,
    }


def _other() -> torch.nn.Module:
    return tiny_model(seed=7).double()


RESUMED = ("grpo, reference, tied head, checkpointing", "half", "offloaded", "lora, ppo, critic of its own")
"""Cases whose states travel between one process and two."""


def resume(case: Case, ranks: Ranks) -> dict[str, Any]:
    """A state of one process, and what two that load it give back."""
    given = run_case(case, Learner)["state"]
    learner = ParallelLearner(case.module(), case.agent, LearnerConfig(**case.settings), ranks=ranks)
    learner.load_state_dict(given)
    return {"given": given, "state": learner.state_dict()}


def disagree(ranks: Ranks) -> list[str]:
    """What is said where the other process has another model, and where the sampler has; metrics where neither has."""
    case = cases()["grpo"]
    try:
        ParallelLearner(tiny_model(tie_word_embeddings=True).double(), case.agent, LearnerConfig(), ranks=ranks)
    except ConfigError as error:
        said = [str(error)]
    learner = ParallelLearner(_other(), case.agent, LearnerConfig(parallel=WHOLE), ranks=ranks)
    try:
        learner.update(ragged(case, 0, Policy(tiny_model(seed=1))))
    except LearnerError as error:
        said.append(str(error))
    return [*said, *learner.update(ragged(case, 0, Policy(_other())))]


def lose_weights(ranks: Ranks) -> list[bool]:
    """Whether the weights are numbers: at first, after an update that broke a part of them, and after a good state."""
    case = cases()["grpo"]
    learner = ParallelLearner(_other(), case.agent, LearnerConfig(parallel=WHOLE), ranks=ranks)
    state, found = learner.state_dict(), [learner.has_finite_weights]
    learner.update(ragged(case, 0, Policy(_other())))
    found.append(learner.has_finite_weights)
    learner.load_state_dict(state)
    return [*found, learner.has_finite_weights]


def take_and_break(steps: OptimizerSteps, report: UpdateReport) -> bool:
    """An optimizer step after which one weight of this process's part is no number."""
    has_moved = take(steps, report)
    next(iter(steps._parts["grad_norm"].parameters())).data.to_local().view(-1)[-1] = float("nan")  # type: ignore[operator]
    return has_moved


take = OptimizerSteps.take


def main(path: str) -> None:
    torch.set_num_threads(1)
    results = {}
    with joined(ParallelConfig(), device="cpu") as ranks:
        for name, case in cases().items():
            if ranks.leads:
                with leading(ranks):
                    results[name] = run_case(case, partial(ParallelLearner, ranks=ranks))
                    if name in RESUMED:
                        results[name]["resumed"] = resume(case, ranks)
            else:
                follow(ranks, Policy(case.module(seed=5)))  # which takes over the weights of the first process
        if ranks.leads:
            with leading(ranks):
                results["disagreed"] = disagree(ranks)
            with leading(ranks):
                results["lost"] = lose_weights(ranks)
            torch.save(results, path)
        else:
            follow(ranks, Policy(_other()))
            OptimizerSteps.take = take_and_break  # type: ignore[method-assign]
            follow(ranks, Policy(_other()))


class OwnRowsRefused(GRPO):
    """Of which one process refuses what the others learn from."""

    def loss(self, outputs: ModelOutputs, batch: ActionBatch) -> dict[str, torch.Tensor]:
        if os.environ["RANK"] == sys.argv[2]:
            raise DataError("these rows are odd")
        return super().loss(outputs, batch)


def fail() -> None:
    parallel_learner._LAST_WORDS_S = 1.0
    moved = ComputeConfig(offload_activations=True, offload_optimizer=True)
    settings = {"lora": LoRAConfig(r=4), "compute": moved} if sys.argv[2] == "1" else {}
    case = Case(OwnRowsRefused(), settings=settings)
    with joined(ParallelConfig(), device="cpu") as ranks:
        if ranks.leads:
            with leading(ranks):
                run_case(case, partial(ParallelLearner, ranks=ranks))
        else:
            follow(ranks, Policy(case.module()))


if __name__ == "__main__":
    fail() if len(sys.argv) > 2 else main(sys.argv[1])
