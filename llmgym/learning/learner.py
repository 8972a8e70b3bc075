"""The learner: groups of trajectories in, a better policy and honest metrics out. One process."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..episode import Trajectory
from ..errors import CheckpointError
from ..sampling.sending import sent
from .action_batch import ActionBatch
from .agent import Agent, Group, ModelOutputs, Need, Unit
from .aggregation import action_weights, loss_gradient, required_component, weighted_loss
from .agreement import AgreementCheck, compare_logprobs
from .correction import corrected_loss, describe_correction, require_sampling_logprobs
from .critic import (
    CriticHead,
    CriticModel,
    judge_critic,
    make_critic,
    rows_cut_from_outside,
    with_only_the_next_action,
)
from .feasibility import require_feasible, require_temperature
from .kernels import use_kernels
from .kl import KLConfig, penalize_rewards
from .loading import load_policy
from .lora import (
    AdapterWeights,
    FullWeights,
    WithoutAdapter,
    add_adapter,
    base_fingerprint,
    load_trained_state,
    trained_state,
)
from .losses import kl_k3
from .microbatches import split_minibatches, unsplittable_rows
from .model import ModelWeights, Policy
from .optimization import LearnerConfig
from .optimizer_steps import OptimizerSteps
from .parallel import ALONE, Pass, Ranks
from .passes import evaluate_actions
from .update_metrics import UpdateReport, describe_advantages, describe_batch, describe_groups


class Learner:
    """Trains a policy with an agent.

    Args:
        model: a model, or the folder or id of one.
        agent: what to learn, see `llmgym.learning.Agent`.
        config: settings; the defaults where None.

    Raises:
        ConfigError: the agent needs what this learner does not have.
    """

    ranks: Ranks = ALONE
    """The processes that learn together."""

    def __init__(
        self, model: str | Path | nn.Module | Policy, agent: Agent, config: LearnerConfig | None = None
    ) -> None:
        self.config = config or LearnerConfig()
        self.agent = agent
        require_feasible(agent, self.config)
        self.policy = load_policy(model)
        self.kernels = use_kernels(self.policy.module, self.config.compute.kernels_in_use)
        """What runs norms and MLPs, and why; "" where nothing was to choose."""
        if self.config.lora is not None:
            self.policy = add_adapter(self.policy, self.config.lora, seed=self.config.seed)
        self.reference: Policy | WithoutAdapter | None = None
        """The frozen policy of the start, where the agent or the KL penalty needs it."""
        if Need.REF_LOGPROBS in agent.needs or self.config.kl is not None:
            self.reference = self._frozen_policy()
        self.critic: CriticHead | CriticModel | None = None
        """Estimates the return before each action, where the agent needs it."""
        if Need.VALUES in agent.needs:
            self.critic = make_critic(self.policy, self.config.critic, self.config.compute)
        self._distribute()
        self.policy.use(self.config.compute)
        self.steps = OptimizerSteps(self.policy.module, self.critic, self.config)
        self.num_updates = 0
        """Calls of `update`."""
        self.weight_version: int | None = None
        """Of the weights as they are before the next update, as the sampler numbers them; None: nobody says."""
        self.agreement = AgreementCheck(self.config.max_sampling_gap, next(self.policy.module.parameters()).dtype)
        self.last_advantages: dict[Trajectory, np.ndarray] = {}
        """float32[num_actions] of each trajectory that the last update learned from; empty for agents without any."""
        self._generator = torch.Generator().manual_seed(self.config.seed)

    @property
    def whole_policy(self) -> Policy:
        """The policy with its adapter, if any, and no part of it elsewhere: to look at, and to save."""
        return self.policy

    @property
    def has_finite_weights(self) -> bool:
        """Whether all weights of the policy are numbers, so that it can be sampled with, and saved."""
        return self.policy.has_finite_weights

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
            Metrics by name, all finite unless the name begins with "loss" or ends with "grad_norm".

        Raises:
            LearnerError: `AgreementCheck` found that sampler and learner disagree, or gradients stay non-finite.
            ConfigError: the trajectories were sampled otherwise than the agent asks for.
        """
        valid = [[trajectory for trajectory in group if trajectory.is_valid] for group in groups]
        num_invalid = sum(map(len, groups)) - sum(map(len, valid))
        valid = [group for group in valid if group]
        selected = valid if is_selected else self.agent.select(valid)
        trajectories = [trajectory for group in selected for trajectory in group]
        require_temperature(self.agent, trajectories)

        batch, metrics = self._prepare(trajectories, [index for index, group in enumerate(selected) for _ in group])
        metrics |= {"num_trajectories": float(len(trajectories)), "num_invalid": float(num_invalid)}
        if self.agent.rollout is not None:
            metrics |= describe_groups(valid)  # before any were dropped
        self.last_advantages = batch.advantages_by_trajectory(trajectories)
        report = UpdateReport()
        if batch.old_logprobs_BA is not None:
            report.agreement = self._compare_with_sampler(batch, batch.old_logprobs_BA)

        units = unsplittable_rows(batch, self.agent.unit)
        self.agreement.look_back(self.policy, batch, self.weight_version, partial(self._evaluate, trajectories, units))
        rollout = self.agent.rollout
        for _ in range(rollout.epochs if rollout is not None else 1):
            for part in split_minibatches(units, rollout.minibatches if rollout is not None else 1, self._generator):
                self._step(trajectories, batch, part, report)
        self.num_updates += 1
        self.ranks.merge(report)
        return metrics | report.agreement | report.means()

    def weight_source(self, *, merge: bool = False) -> ModelWeights | AdapterWeights | FullWeights:
        """The weights as they are now, for samplers to copy; of a policy with an adapter, that alone.

        Args:
            merge: for samplers that take no adapters: all weights, with the adapter in them.

        Raises:
            ConfigError: an adapter cannot be merged into quantised weights.
        """
        if self.config.lora is None:
            return ModelWeights(self.policy.module)
        return FullWeights(self.policy.module, merge=True) if merge else AdapterWeights(self.policy.module)

    def base_weight_source(self) -> ModelWeights | FullWeights:
        """The weights that an adapter belongs on, for a sampler to have before it takes adapters."""
        if self.config.lora is None:
            return ModelWeights(self.policy.module)
        return FullWeights(self.policy.module, merge=False)

    def copy_back(self) -> None:
        """Write the weights into the model that this learner was made from; here that is the one that learns."""

    def state_dict(self) -> dict[str, Any]:
        """All that the next update depends on, the global random state of torch included; tensors are not copied.

        Of a policy with adapters it holds these, and not the model below them.
        """
        state = nn.Module.state_dict if self.config.lora is None else trained_state
        return {
            "model": state(self.policy.module),
            "base": None if self.config.lora is None else self._base_fingerprint,
            "reference": self.reference.module.state_dict() if isinstance(self.reference, Policy) else None,
            "critic": None if self.critic is None else state(self.critic),
            "steps": self.steps.state_dict(),
            "num_updates": self.num_updates,
            "minibatch_rng": self._generator.get_state(),
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`.

        Raises:
            CheckpointError: it is of another model, agent or optimizer.
        """
        if self.config.lora is not None and state.get("base") != self._base_fingerprint:
            raise CheckpointError(
                "The state is of an adapter, or of none, on another base model than this learner's. Begin with the "
                "model that it began with."
            )
        load: Any = nn.Module.load_state_dict if self.config.lora is None else load_trained_state
        try:
            load(self.policy.module, state["model"])
            self.steps.load_state_dict(state["steps"])
            if self.critic is not None:
                load(self.critic, state["critic"])
            if isinstance(self.reference, Policy):
                self.reference.module.load_state_dict(state["reference"])
            self.num_updates = state["num_updates"]
            self._generator.set_state(state["minibatch_rng"])
            torch.set_rng_state(state["torch_rng"])
            if torch.cuda.is_available() and state["cuda_rng"]:
                torch.cuda.set_rng_state_all(state["cuda_rng"])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise CheckpointError(f"The state is not of this learner's model, agent and optimizer: {error}") from error

    def _frozen_policy(self) -> Policy | WithoutAdapter:
        """The policy as it is now, for good. What is below an adapter never moves, so it needs no second model."""
        if self.config.lora is not None:
            return WithoutAdapter(self.policy)
        frozen = copy.deepcopy(self.policy.module).requires_grad_(False)
        return Policy(frozen, num_tokens=self.policy.num_tokens)

    @cached_property
    def _base_fingerprint(self) -> str:
        return base_fingerprint(self.policy.module)

    def _distribute(self) -> None:
        """Give each process its part of the models; here one process has them whole."""

    def _prepare(
        self, trajectories: Sequence[Trajectory], group_of_row: list[int]
    ) -> tuple[ActionBatch, dict[str, float]]:
        """The table with what agent and options need, and its advantages, on the CPU; metrics of it."""
        config, agent = self.config, self.agent
        batch = ActionBatch.from_trajectories(trajectories, max_actions=config.max_actions)
        batch = batch.replace(group_B=torch.tensor(group_of_row, dtype=torch.int64))
        metrics = describe_batch(batch)
        units = unsplittable_rows(batch, agent.unit)
        reward_B = batch.reward_B

        is_on_policy = agent.rollout is None or agent.rollout.is_on_policy
        keeps_old = not is_on_policy and (Need.OLD_LOGPROBS in agent.needs or config.correction_in_use is not None)
        kl_in_reward = config.kl if self._kl_in_loss is None else None
        if keeps_old or kl_in_reward is not None or self.critic is not None:
            old = self._evaluate(trajectories, units)
            batch = batch.replace(old_logprobs_BA=old.logprobs_BA, values_BA=old.values_BA)
        if self.critic is not None:
            batch = batch.replace(bootstrap_value_B=self._bootstrap_values(trajectories))
        if self.reference is not None:
            run = partial(self.reference.action_outputs, temperature=self.temperature)
            ref = evaluate_actions(run, trajectories, self._passes(trajectories, units), ranks=self.ranks)
            batch = batch.replace(ref_logprobs_BA=ref.logprobs_BA)

        if config.correction_in_use is not None and batch.num_tokens:
            require_sampling_logprobs(batch)
        if kl_in_reward is not None:
            batch, kl_metrics = penalize_rewards(batch, kl_in_reward)
            metrics |= kl_metrics
        batch = agent.advantages(batch)
        metrics |= describe_advantages(batch, reward_B) | judge_critic(batch)
        if not keeps_old:
            # On policy, nothing moves before the one step, so the ratio is 1 exactly, and not up to rounding.
            batch = batch.replace(old_logprobs_BA=None)
        return batch, metrics

    def _evaluate(self, trajectories: Sequence[Trajectory], units: list[list[int]]) -> ModelOutputs:
        """What `_run` gives, without gradient."""
        passes, with_values = self._passes(trajectories, units), self.critic is not None
        return evaluate_actions(self._run, trajectories, passes, ranks=self.ranks, with_values=with_values)

    def _passes(self, trajectories: Sequence[Trajectory], units: list[list[int]]) -> list[Pass]:
        """Those of this process over rows that stay together by `units`."""
        budget, packing = self.config.microbatch_tokens, self.policy.packing
        return self.ranks.passes(trajectories, units, microbatch_tokens=budget, packing=packing)

    def _run(self, trajectories: Sequence[Trajectory], **options: Any) -> ModelOutputs:
        """The forward pass of policy and critic. While the critic warms up, no gradient of it reaches the policy."""
        head = None
        if isinstance(self.critic, CriticHead):
            head = partial(self.critic, stop_gradient=self.config.critic.stop_gradient or self._is_warming_up)
        outputs = self.policy.action_outputs(trajectories, temperature=self.temperature, critic=head, **options)
        if isinstance(self.critic, CriticModel):
            outputs = replace(outputs, values_BA=self.critic(trajectories))
        return outputs

    @property
    def _is_warming_up(self) -> bool:
        return self.critic is not None and self.num_updates < self.config.critic.warmup_updates

    @property
    def _kl_in_loss(self) -> KLConfig | None:
        return self.config.kl if self.config.kl is not None and self.config.kl.placement == "loss" else None

    def _bootstrap_values(self, trajectories: Sequence[Trajectory]) -> Tensor:
        """The value after the last action, float32[B]: the critic's where something is still to be expected, else 0."""
        bootstrap_B = torch.zeros(len(trajectories))
        rows = rows_cut_from_outside(trajectories)
        if rows:
            next_actions = [with_only_the_next_action(trajectories[row]) for row in rows]
            units = [[index] for index in range(len(rows))]
            values_BA = self._evaluate(next_actions, units).values_BA
            assert values_BA is not None
            bootstrap_B[rows] = values_BA[:, 0]
        return bootstrap_B

    def _step(
        self, all_trajectories: Sequence[Trajectory], batch: ActionBatch, units: list[list[int]], report: UpdateReport
    ) -> None:
        """One optimizer step on the rows of `units`."""
        rows = [row for unit in units for row in unit]
        trajectories, batch = [all_trajectories[row] for row in rows], batch.rows(rows)
        place = {row: index for index, row in enumerate(rows)}
        units = [[place[row] for row in unit] for unit in units]
        weights_BA = action_weights(batch, self.agent.aggregation)
        device = self.policy.device
        learner_BA = torch.zeros_like(weights_BA, device=device)

        self.steps.optimizer.zero_grad(set_to_none=True)
        for turn in self._passes(trajectories, units):
            micro, table = turn.rows, batch.rows(turn.rows)
            part, width = table.to(device), table.mask_BA.shape[1]
            micro_weights_BA = (weights_BA[micro, :width] * turn.counts).to(device, non_blocking=True)
            options: dict[str, Any] = {"with_entropy": Need.ENTROPY in self.agent.needs}
            if turn.counts and self._is_loss_of_each_token(part):
                losses_of = partial(lambda part, given_BA: self._losses(ModelOutputs(given_BA), part), part)
                options["loss_gradient"] = loss_gradient(losses_of, micro_weights_BA)
            outputs = self._run([trajectories[row] for row in micro], **options)
            losses = self._losses(outputs, part)
            components = {name: weighted_loss(loss, micro_weights_BA) for name, loss in losses.items()}
            total = torch.stack(list(components.values())).sum()
            if total.requires_grad:
                total.backward()  # type: ignore[no-untyped-call]
            if not turn.counts:
                continue
            learner_BA[sent(micro, device), :width] = outputs.logprobs_BA.detach().to(learner_BA)
            report.num_tokens += table.num_tokens
            report.add_losses({"loss": total, **{f"loss_{name}": loss for name, loss in components.items()}})
            self._report_tokens(outputs, part, losses, report)
        self.ranks.add_up(learner_BA)
        if batch.old_logprobs_BA is None:
            report.agreement = self._compare_with_sampler(batch, learner_BA)
        self.agreement.num_moves += self.steps.take(report)

    @torch.no_grad()
    def _report_tokens(
        self, outputs: ModelOutputs, batch: ActionBatch, losses: Mapping[str, Tensor], report: UpdateReport
    ) -> None:
        """Means over the tokens of a micro-batch."""
        report.add_token_sums(self.agent.diagnostics(outputs, batch), batch.mask_BA)
        if self.agent.rollout is not None:
            report.add_policy_change(outputs.logprobs_BA, batch.old_logprobs_BA, batch.mask_BA)
        if outputs.entropy_BA is not None:
            report.add_token_sums({"entropy": outputs.entropy_BA}, batch.mask_BA)
        if self._kl_in_loss is not None and "kl" in losses:
            report.add_token_sums({"kl": losses["kl"] / self._kl_in_loss.coef}, batch.mask_BA)
        elif self.config.kl is None and batch.ref_logprobs_BA is not None:
            kl_BA = kl_k3(outputs.logprobs_BA, batch.ref_logprobs_BA, batch.mask_BA)
            report.add_token_sums({"kl": kl_BA}, batch.mask_BA)

    def _losses(self, outputs: ModelOutputs, batch: ActionBatch) -> Mapping[str, Tensor]:
        """The agent's components and what the options make of them; while the critic warms up, only its own."""
        components = dict(self.agent.loss(outputs, batch))
        if self._is_warming_up:
            return {"value": required_component(components, "value", self.agent, "learner.critic.warmup_updates")}
        if self.config.correction_in_use is not None:
            policy = required_component(components, "policy", self.agent, "learner.correction")
            components["policy"] = corrected_loss(policy, outputs.logprobs_BA, batch, self.config.correction_in_use)
        kl = self._kl_in_loss
        if kl is not None:
            ref_logprobs_BA = batch.required("ref_logprobs_BA")
            components["kl"] = kl.coef * kl.estimate(outputs.logprobs_BA, ref_logprobs_BA, batch.mask_BA)
        return components

    def _is_loss_of_each_token(self, batch: ActionBatch) -> bool:
        """Whether the gradient by each log-probability depends on no other one."""
        correction = self.config.correction_in_use
        is_joint = correction is not None and correction.level != "token" and batch.old_logprobs_BA is None
        return self.agent.unit is Unit.TOKEN and self.critic is None and not is_joint

    def _compare_with_sampler(self, batch: ActionBatch, learner_BA: Tensor) -> dict[str, float]:
        """Metrics of agreement, and of correction; disagreement is an error where `AgreementCheck` looks."""
        if self.agent.rollout is None or batch.sampling_logprobs_BA is None:
            return {}
        learner_BA, is_first_update = learner_BA.cpu(), self.num_updates == 0
        self.agreement.require(batch, learner_BA, is_first_update=is_first_update, version=self.weight_version)
        metrics = compare_logprobs(learner_BA, batch.sampling_logprobs_BA, batch.mask_BA)
        if self.config.correction_in_use is not None:
            metrics |= describe_correction(batch, learner_BA, self.config.correction_in_use)
        return metrics
