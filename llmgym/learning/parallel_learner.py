"""A learner on several processes: in the first it is called as any learner is, and the others follow."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError, LearnerError, ProcessLostError
from .action_batch import ActionBatch
from .agent import Agent, Group
from .agreement import AgreementCheck
from .critic import CriticHead, CriticModel
from .learner import Learner
from .loading import load_policy
from .lora import AdapterWeights, FullWeights, WithoutAdapter, base_fingerprint, is_quantised, trained_state
from .model import Policy
from .optimization import LearnerConfig
from .parallel import Ranks, naming_lost_processes
from .sharding import (
    GatheredWeights,
    ShardedPolicy,
    begin_alike,
    gathered,
    optimizer_like,
    put_away,
    shard_critic,
    spread,
    whole,
    without_tensors,
)

# What process 0 tells the others beside names of methods.
_NEW, _END, _FAILED = "new", "end", "failed"
_LAST_WORDS_S = 10.0
"""Longest time that a process 0 that has failed waits until the others have heard of it."""


class ParallelLearner(Learner):
    """Trains a policy with an agent on several processes, each of which holds a part of all weights (FSDP2).

    Losses, gradients and metrics are those of one process up to rounding, and so is what `state_dict` gives: it can be
    loaded by any number of processes. Process 0 makes it, within `leading`, and calls it; the others `follow`.

    Args:
        model: a model, or the folder or id of one, the same in each process; it is copied, and the copy is sharded.
        agent: what to learn; it is pickled for the other processes.
        config: settings; the defaults where None.
        ranks: the processes, from `joined`.

    Raises:
        ConfigError: the agent needs what this learner does not have.
    """

    def __init__(
        self,
        model: str | Path | nn.Module | Policy,
        agent: Agent,
        config: LearnerConfig | None = None,
        *,
        ranks: Ranks,
    ) -> None:
        config = config or LearnerConfig()
        require_parallel(config)
        self.ranks = ranks
        self._tell(_NEW, agent, config)
        given = load_policy(model)
        _require_shardable(given.module)
        begin_alike(given.module, ranks)
        super().__init__(given, agent, config)
        dtype = getattr(torch, config.parallel.compute_dtype) if config.parallel.compute_dtype else self._given_dtype
        self.agreement = AgreementCheck(config.max_sampling_gap, dtype)
        self._look_at_weights()

    @property
    def has_finite_weights(self) -> bool:
        """As `Learner.has_finite_weights`, of all processes, as they were after the last update: it asks none of them,
        so it may be called where another has failed."""
        return self._has_finite_weights

    def _look_at_weights(self) -> None:
        self._has_finite_weights = all(self.ranks.gather(self.policy.has_finite_weights))

    @property
    def whole_policy(self) -> Policy:
        """As `Learner.whole_policy`: the given model, with the adapter as the last update left it, or the weights as
        `copy_back` did."""
        return self._given

    def _distribute(self) -> None:
        config = self.config.parallel
        self._given, self._given_dtype = self.policy, next(self.policy.module.parameters()).dtype
        if self.config.lora is not None:
            self._base_fingerprint = base_fingerprint(self._given.module)
        device = self.policy.device
        for whole_model in (self._given.module, self.critic, getattr(self.reference, "module", None)):
            if whole_model is not None:  # a GPU may not have room for all of them beside each other
                whole_model.to("cpu")
        head = self.critic if isinstance(self.critic, CriticHead) else None
        own = _copy_of(self._given) if self.ranks.leads else self._given
        self.policy = ShardedPolicy(own, config, device=device, critic_head=head)
        if isinstance(self.critic, CriticModel):
            self.critic = shard_critic(self.critic, config, device=device)
        if isinstance(self.reference, Policy):
            self.reference = ShardedPolicy(self.reference, config, device=device)
        elif self.reference is not None:
            self.reference = WithoutAdapter(self.policy)
        if self.ranks.leads:
            self._given.module.to(device)

    def update(self, groups: Sequence[Group], *, is_selected: bool = False) -> dict[str, float]:
        """As `Learner.update`, by all processes together.

        Raises:
            LearnerError: as there.
            ProcessLostError: another process is gone.
        """
        self._tell("join_update", groups, is_selected)
        with naming_lost_processes():
            try:
                metrics = super().update(groups, is_selected=is_selected)
            finally:
                self._put_away()
            self._look_at_weights()
            self._refresh_adapter()
        return metrics

    def join_update(self, groups: Sequence[Group], is_selected: bool) -> None:
        """What the others do while process 0 updates."""
        self.update(groups, is_selected=is_selected)
        torch.cuda.empty_cache()  # a sampler of several GPUs that wakes now may share this one, too

    def _step(self, *args: Any) -> None:
        super()._step(*args)
        self._put_away()  # what had no gradient, such as a policy whose critic warms up

    def _compare_with_sampler(self, batch: ActionBatch, learner_BA: Tensor) -> dict[str, float]:
        """As there. Only process 0 knows the sampler, so it judges for all, and all go on or none."""
        metrics: dict[str, float] = {}
        problem: LearnerError | None = None
        if self.ranks.leads:
            try:
                metrics = super()._compare_with_sampler(batch, learner_BA)
            except LearnerError as error:
                problem = error
            self.ranks.tell((metrics, problem and str(problem)))
        else:
            metrics, said = self.ranks.hear()
            problem = LearnerError(said) if said else None
        if problem is not None:
            raise problem
        return metrics

    def _put_away(self) -> None:
        for module in (self.policy.module, self.critic):
            if module is not None:
                put_away(module)

    def weight_source(self, *, merge: bool = False) -> GatheredWeights | AdapterWeights | FullWeights:  # type: ignore[override]
        """The weights as they are now, gathered one by one, for samplers to copy; in the type of the given model.

        Those of a policy with an adapter are all in the given model already.
        """
        if self.config.lora is not None:
            return FullWeights(self._given.module, merge=True) if merge else AdapterWeights(self._given.module)
        return GatheredWeights(super().weight_source(), lambda: self._tell("help_gather"), dtype=self._given_dtype)

    def base_weight_source(self) -> GatheredWeights | FullWeights:  # type: ignore[override]
        """As `Learner.base_weight_source`."""
        if self.config.lora is not None:
            return FullWeights(self._given.module, merge=False)
        return self.weight_source()  # type: ignore[return-value]

    def help_gather(self) -> None:
        """What the others do while process 0 goes through the weights."""
        for _, tensor in super().weight_source():
            whole(tensor)

    def copy_back(self) -> None:
        """Write the weights as they are now into the model that this learner was made from, in process 0."""
        self._tell("copy_back")
        self._write_back()

    @torch.no_grad()
    def _write_back(self) -> None:
        own = dict(self._given.module.named_parameters())
        for name, tensor in trained_state(self.policy.module).items():
            new = whole(tensor)  # by all processes
            if self.ranks.leads:
                own[name].copy_(new)

    def _refresh_adapter(self) -> None:
        """Have the given model follow: an adapter is small, and what is below it is there whole and never moves."""
        if self.config.lora is not None:
            self._write_back()

    def state_dict(self) -> dict[str, Any]:
        """As `Learner.state_dict`; what was sharded is whole, and on the CPU."""
        self._tell("state_dict")
        with naming_lost_processes():
            state: dict[str, Any] = gathered(super().state_dict())
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As `Learner.load_state_dict`: in process 0 of a whole state, in the others of that one `without_tensors`."""
        self._tell("load_state_dict", without_tensors(state))
        own = super().state_dict()
        like = {**own, "steps": {**own["steps"], "optimizer": optimizer_like(self.steps.optimizer)}}
        with naming_lost_processes():
            parts = spread(state, like, self.ranks)
            super().load_state_dict(parts)
            self._look_at_weights()
            self._refresh_adapter()

    def _tell(self, order: str, *arguments: Any) -> None:
        """Have the other processes do the same."""
        if self.ranks.leads:
            with naming_lost_processes():
                self.ranks.tell((order, arguments))


def require_parallel(config: LearnerConfig) -> None:
    """Refuse settings that only one process has.

    Raises:
        ConfigError: there is one.
    """
    if config.compute.compile:
        raise ConfigError(
            "learner.compute.compile is set, but works in one process only: with layers whose weights are gathered for "
            "each pass it was not tested. Run one process, or leave it out."
        )


def _copy_of(policy: Policy) -> Policy:
    return Policy(copy.deepcopy(policy.module), num_tokens=policy.num_tokens)


def _require_shardable(module: nn.Module) -> None:
    if is_quantised(module):
        raise ConfigError(
            "The weights of this model are quantised, and parts of those cannot be gathered as one needs them. Run one "
            "process, or leave model.quantization out."
        )


@contextmanager
def leading(ranks: Ranks) -> Iterator[list[Any]]:
    """While the block runs, process 0 makes and calls learners; at its end, however it comes, the others end too.

    What is put into the list is what `follow` returns in the others.
    """
    result: list[Any] = []
    try:
        yield result
    except BaseException as error:
        _say_at_last(ranks, f"{type(error).__name__}: {error}")
        raise
    with naming_lost_processes():
        ranks.tell((_END, tuple(result)))


def _say_at_last(ranks: Ranks, problem: str) -> None:
    """Tell the others, if they listen; who waits for this process within a pass notices when it has ended."""

    def tell() -> None:
        with suppress(RuntimeError):  # they may be gone
            ranks.tell((_FAILED, (problem,)))

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    thread.join(_LAST_WORDS_S)


def follow(ranks: Ranks, policy: Policy) -> tuple[Any, ...]:
    """Do in this process what process 0 does to its learners, until it ends.

    What fails there for a reason that is the same in all processes, such as gradients that are not finite, fails here
    too, and process 0 decides whether to go on.

    Args:
        ranks: the processes.
        policy: the model that process 0 begins with.

    Returns:
        What process 0 put into the list of `leading`.

    Raises:
        LearnerError: process 0 has failed.
        ProcessLostError: another process is gone.
        LLMGymError: this process cannot go on, for a reason that process 0 may not have, such as its own rows.
    """
    learner: ParallelLearner | None = None
    device = policy.device
    policy.module.to("cpu")  # what is learned here is a part of it
    while True:
        order, arguments = ranks.hear()
        if order == _END:
            return tuple(arguments)
        if order == _FAILED:
            raise LearnerError(f"Process 0 of this learner failed, so this one ends too. What failed: {arguments[0]}")
        try:
            if order == _NEW:
                learner = None  # its memory may be needed
                own = _copy_of(policy)
                own.module.to(device)
                learner = ParallelLearner(own, *arguments, ranks=ranks)
            else:
                getattr(learner, order)(*arguments)
        except ProcessLostError:
            raise  # others may wait for this one, which has to end for them to notice
        except (LearnerError, ConfigError):
            pass  # in all of them
