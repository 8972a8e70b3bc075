"""The learner: groups of trajectories in, a better policy and honest metrics out. One process."""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..episode import Trajectory
from ..errors import CheckpointError, ConfigError, LearnerError
from .action_batch import ActionBatch
from .advantages import is_zero_variance_group
from .agent import Agent, Aggregation, Group, Need
from .aggregation import action_weights, weighted_loss
from .agreement import compare_logprobs, require_agreement
from .loading import load_policy
from .masking import masked_mean, masked_sum
from .microbatches import plan_microbatches, split_minibatches, unsplittable_rows
from .model import ModelWeights, Policy
from .optimization import LearnerConfig, make_optimizer

_MAX_NON_FINITE_STEPS = 3
"""Steps in a row with a gradient that is not finite, after which there is nothing to hope for."""


class Learner:
    """Trains a policy with an agent.

    Args:
        model: a model, or the folder or id of one.
        agent: what to learn, see `llmgym.learning.Agent`.
        config: settings; the defaults where None.

    Raises:
        ConfigError: the agent needs what this learner does not have.
    """

    def __init__(
        self, model: str | Path | nn.Module | Policy, agent: Agent, config: LearnerConfig | None = None
    ) -> None:
        self.config = config or LearnerConfig()
        self.agent = agent
        require_feasible(agent, self.config)
        self.policy = load_policy(model)
        self.reference: Policy | None = None
        """The frozen policy of the start, where the agent needs it."""
        if Need.REF_LOGPROBS in agent.needs:
            frozen = copy.deepcopy(self.policy.module).requires_grad_(False)
            self.reference = Policy(frozen, num_tokens=self.policy.num_tokens)
        self.optimizer = make_optimizer(self.policy.module, self.config)
        self.num_updates = 0
        """Calls of `update`."""
        self.last_advantages: dict[Trajectory, np.ndarray] = {}
        """float32[num_actions] of each trajectory that the last update learned from; empty for agents without any."""
        self.num_steps = 0
        """Optimizer steps planned so far, those without a gradient included; the learning rate follows them."""
        self._num_non_finite_steps = 0
        self._generator = torch.Generator().manual_seed(self.config.seed)

    @property
    def temperature(self) -> float:
        """Logits are divided by it. Log-probabilities of greedy rollouts are those at 1."""
        rollout = self.agent.rollout
        return rollout.sampling.temperature or 1.0 if rollout is not None else 1.0

    def update(self, groups: Sequence[Group], *, is_selected: bool = False) -> dict[str, float]:
        """Learn from `groups`, each the trajectories of one task.

        Trajectories that are not valid are left out, so a group's baseline shrinks. Where no parameter gets a
        gradient, as with all advantages zero, no optimizer step is made: AdamW's momentum would move the weights.

        Args:
            groups: by task; the nesting decides what a group is.
            is_selected: the agent's `select` was called already.

        Returns:
            Metrics by name, all finite unless the name begins with "loss" or is "grad_norm".

        Raises:
            LearnerError: sampler and learner disagree at the first update, or gradients stay non-finite.
            ConfigError: the trajectories were sampled otherwise than the agent asks for.
        """
        num_given = sum(len(group) for group in groups)
        valid = [[trajectory for trajectory in group if trajectory.is_valid] for group in groups]
        num_invalid = num_given - sum(len(group) for group in valid)
        valid = [group for group in valid if group]
        selected = valid if is_selected else self.agent.select(valid)
        trajectories = [trajectory for group in selected for trajectory in group]
        self._require_temperature(trajectories)

        batch = self._prepare(trajectories, [index for index, group in enumerate(selected) for _ in group])
        self.last_advantages = _advantages_of(trajectories, batch)
        report = _Report()
        metrics = {"num_trajectories": float(len(trajectories)), "num_invalid": float(num_invalid)}
        metrics |= _describe(batch, is_online=self.agent.rollout is not None)
        if batch.old_logprobs_BA is not None:
            report.agreement = self._compare_with_sampler(batch, batch.old_logprobs_BA)

        units = unsplittable_rows(batch, self.agent.unit)
        rollout = self.agent.rollout
        for _ in range(rollout.epochs if rollout is not None else 1):
            for part in split_minibatches(units, rollout.minibatches if rollout is not None else 1, self._generator):
                self._step(trajectories, batch, part, report)
        self.num_updates += 1
        return metrics | report.agreement | report.means()

    def weight_source(self) -> ModelWeights:
        """The weights as they are now, for samplers to copy."""
        return ModelWeights(self.policy.module)

    def state_dict(self) -> dict[str, Any]:
        """All that the next update depends on, the global random state of torch included; tensors are not copied."""
        return {
            "model": self.policy.module.state_dict(),
            "reference": None if self.reference is None else self.reference.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "num_updates": self.num_updates,
            "num_steps": self.num_steps,
            "num_non_finite_steps": self._num_non_finite_steps,
            "minibatch_rng": self._generator.get_state(),
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`.

        Raises:
            CheckpointError: it is of another model, agent or optimizer.
        """
        try:
            self.policy.module.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.reference is not None:
                self.reference.module.load_state_dict(state["reference"])
            self.num_updates, self.num_steps = state["num_updates"], state["num_steps"]
            self._num_non_finite_steps = state["num_non_finite_steps"]
            self._generator.set_state(state["minibatch_rng"])
            torch.set_rng_state(state["torch_rng"])
            if torch.cuda.is_available() and state["cuda_rng"]:
                torch.cuda.set_rng_state_all(state["cuda_rng"])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise CheckpointError(f"The state is not of this learner's model, agent and optimizer: {error}") from error

    def _prepare(self, trajectories: Sequence[Trajectory], group_of_row: list[int]) -> ActionBatch:
        """The table with what the agent needs, and its advantages. Statistics are made on the CPU."""
        batch = ActionBatch.from_trajectories(trajectories, max_actions=self.config.max_actions)
        batch = batch.replace(group_B=torch.tensor(group_of_row, dtype=torch.int64))
        rollout = self.agent.rollout
        is_on_policy = rollout is None or rollout.is_on_policy
        if Need.OLD_LOGPROBS in self.agent.needs and not is_on_policy:
            batch = batch.replace(old_logprobs_BA=self._logprobs(self.policy, trajectories, batch))
        if self.reference is not None:
            batch = batch.replace(ref_logprobs_BA=self._logprobs(self.reference, trajectories, batch))
        return self.agent.advantages(batch).to(self.policy.device)

    @torch.no_grad()
    def _logprobs(self, policy: Policy, trajectories: Sequence[Trajectory], batch: ActionBatch) -> Tensor:
        table_BA = torch.zeros(batch.mask_BA.shape)
        units = unsplittable_rows(batch, self.agent.unit)
        for rows in plan_microbatches(trajectories, units, microbatch_tokens=self.config.microbatch_tokens):
            outputs = policy.action_outputs([trajectories[row] for row in rows], temperature=self.temperature)
            table_BA[rows, : outputs.logprobs_BA.shape[1]] = outputs.logprobs_BA.to(table_BA)
        return table_BA

    def _step(
        self, all_trajectories: Sequence[Trajectory], batch: ActionBatch, units: list[list[int]], report: _Report
    ) -> None:
        """One optimizer step on the rows of `units`."""
        rows = [row for unit in units for row in unit]
        trajectories, batch = [all_trajectories[row] for row in rows], batch.rows(rows)
        place = {row: index for index, row in enumerate(rows)}
        units = [[place[row] for row in unit] for unit in units]
        weights_BA = action_weights(batch, self.agent.aggregation)
        learner_BA = torch.zeros_like(weights_BA)

        self.optimizer.zero_grad(set_to_none=True)
        for micro in plan_microbatches(trajectories, units, microbatch_tokens=self.config.microbatch_tokens):
            part = batch.rows(micro)
            outputs = self.policy.action_outputs(
                [trajectories[row] for row in micro],
                temperature=self.temperature,
                with_entropy=Need.ENTROPY in self.agent.needs,
            )
            width = part.mask_BA.shape[1]
            components = {
                name: weighted_loss(loss, weights_BA[micro, :width])
                for name, loss in self.agent.loss(outputs, part).items()
            }
            total = torch.stack(list(components.values())).sum()
            if total.requires_grad:
                total.backward()  # type: ignore[no-untyped-call]
            learner_BA[micro, :width] = outputs.logprobs_BA.detach().to(learner_BA)
            with torch.no_grad():
                report.add_losses({"loss": total, **{f"loss_{name}": loss for name, loss in components.items()}})
                report.add_token_sums(self.agent.diagnostics(outputs, part), part.mask_BA)
                if outputs.entropy_BA is not None:
                    report.add_token_sums({"entropy": outputs.entropy_BA}, part.mask_BA)
                report.num_tokens += part.num_tokens
        if batch.old_logprobs_BA is None:
            report.agreement = self._compare_with_sampler(batch, learner_BA)
        self._apply_gradient(report)

    def _apply_gradient(self, report: _Report) -> None:
        """Clip and step, unless there is nothing to learn from or the gradient is not finite."""
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        grad_norm = float(nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm))
        learning_rate = self.config.learning_rate_at(self.num_steps)
        self.num_steps += 1
        report.add_step(grad_norm=grad_norm, learning_rate=learning_rate)
        if not math.isfinite(grad_norm):
            self._num_non_finite_steps += 1
            report.num_non_finite += 1
            if self._num_non_finite_steps >= _MAX_NON_FINITE_STEPS:
                raise LearnerError(
                    f"The gradient was not finite in {self._num_non_finite_steps} steps in a row, so training cannot "
                    "go on. Go back to a checkpoint and lower the learning rate, or look for rewards or losses that "
                    "overflow."
                )
        else:
            self._num_non_finite_steps = 0
            if grad_norm > 0:
                for group in self.optimizer.param_groups:
                    group["lr"] = learning_rate
                self.optimizer.step()
                report.num_taken += 1
        self.optimizer.zero_grad(set_to_none=True)

    def _compare_with_sampler(self, batch: ActionBatch, learner_BA: Tensor) -> dict[str, float]:
        """Metrics of agreement; at the very first update, disagreement is an error."""
        if self.agent.rollout is None or batch.sampling_logprobs_BA is None:
            return {}
        agreement = compare_logprobs(learner_BA, batch.sampling_logprobs_BA, batch.mask_BA)
        if self.num_updates == 0:
            require_agreement(agreement, max_mean_gap=self.config.max_sampling_gap)
        return agreement

    def _require_temperature(self, trajectories: Sequence[Trajectory]) -> None:
        if self.agent.rollout is None:
            return
        expected = self.agent.rollout.sampling.temperature
        for trajectory in trajectories:
            if trajectory.sampling is not None and trajectory.sampling.temperature != expected:
                raise ConfigError(
                    f"A trajectory (task {trajectory.task_key!r}) was sampled at temperature "
                    f"{trajectory.sampling.temperature}, but the agent learns at {expected}. Sample with the agent's "
                    "`rollout.sampling`, so that both mean the same distribution."
                )


def _advantages_of(trajectories: Sequence[Trajectory], batch: ActionBatch) -> dict[Trajectory, np.ndarray]:
    if batch.advantages_BA is None:
        return {}
    rows = batch.advantages_BA.float().cpu().numpy()
    return {trajectory: row[: trajectory.num_actions] for trajectory, row in zip(trajectories, rows, strict=True)}


@dataclass
class _Report:
    """What the optimizer steps of one update add up to."""

    agreement: dict[str, float] = field(default_factory=dict)
    step_sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    token_sums: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    num_tokens: int = 0
    num_steps: int = 0
    num_taken: int = 0
    num_non_finite: int = 0

    def add_losses(self, losses: dict[str, Tensor]) -> None:
        for name, loss in losses.items():
            self.step_sums[name] += float(loss)

    def add_token_sums(self, tables: Any, mask_BA: Tensor) -> None:
        for name, table_BA in tables.items():
            self.token_sums[name] += float(masked_sum(table_BA, mask_BA))

    def add_step(self, *, grad_norm: float, learning_rate: float) -> None:
        self.num_steps += 1
        self.step_sums["grad_norm"] += grad_norm
        self.step_sums["learning_rate"] += learning_rate

    def means(self) -> dict[str, float]:
        """Losses by step, diagnostics by token."""
        return {
            **{name: value / self.num_steps for name, value in self.step_sums.items()},
            **{name: value / self.num_tokens for name, value in self.token_sums.items()},
            "num_optimizer_steps": float(self.num_taken),
            "num_steps_without_gradient": float(self.num_steps - self.num_taken - self.num_non_finite),
            "num_non_finite_steps": float(self.num_non_finite),
        }


def _describe(batch: ActionBatch, *, is_online: bool) -> dict[str, float]:
    """Metrics of the data alone. The entropy is estimated from sampling log-probabilities, for nothing."""
    metrics = {"num_action_tokens": float(batch.num_tokens)}
    if is_online and len(batch.reward_B):
        is_degenerate_P = is_zero_variance_group(batch.reward_B, batch.group_B)
        metrics["zero_variance_share"] = float(is_degenerate_P.double().mean())
    if batch.sampling_logprobs_BA is not None:
        metrics["entropy"] = float(masked_mean(-batch.sampling_logprobs_BA, batch.mask_BA))
    return metrics


def require_feasible(agent: Agent, config: LearnerConfig) -> None:
    """Refuse an agent that needs what a learner with these settings does not have.

    Raises:
        ConfigError: it does.
    """
    if Need.VALUES in agent.needs:
        raise ConfigError(
            "The agent needs values, but this learner has no critic. Use an agent with a group baseline, such as grpo."
        )
    if agent.aggregation is Aggregation.CONSTANT and config.max_actions is None:
        raise ConfigError(
            "The agent divides its loss by the length of the longest allowed trajectory, but learner.max_actions is "
            "not set. Set it to the episode's token limit."
        )
