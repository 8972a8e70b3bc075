"""The conformance kit of learning agents: promises that every agent keeps, tried on small batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from ..episode import Role, Segment, StopReason, Trajectory, TurnRecord
from ..errors import CheckError
from ..messages import AssistantMessage
from ..scoring import Score
from .action_batch import ActionBatch
from .agent import Agent, Aggregation, DataKind, ModelOutputs, Need, RolloutSpec, Unit
from .aggregation import action_weights, weighted_loss
from .losses import policy_gradient_loss

_MEMBERS: Mapping[str, type | tuple[type, ...]] = {
    "data": DataKind,
    "rollout": (RolloutSpec, type(None)),
    "needs": frozenset,
    "unit": Unit,
    "aggregation": Aggregation,
}
_METHODS = ("select", "advantages", "loss", "diagnostics")
_GARBAGE = 3.7
"""What stands on padding: a number that no mask lets through."""


def check_agent(agent: Agent) -> None:
    """Try the promises of a learning agent.

    Gradients are taken with respect to the log-probabilities (and entropies and values) of the action tokens, which
    is all that an agent's loss sees of the model, so no model is needed.

    - The contract: every member, of its type; losses of the right shape; nothing is changed in place.
    - Padding changes nothing and gets no gradient; permuting rows permutes the gradient; splitting a batch into
      micro-batches, or a trajectory into segments, gives the same gradient; the same input gives the same result.
    - No NaN anywhere, also for trajectories without an action and groups with equal rewards; where the baseline is a
      group's, equal rewards of equally long trajectories give advantage exactly 0.
    - At ratio 1 the component "policy" has the gradient of the plain policy gradient (token losses), and current
      log-probabilities passed as old ones change nothing.
    - An agent that learns from rollouts of older weights too has a component "policy", which importance weights
      multiply; one that does not says `learns_off_policy = False`.

    Raises:
        CheckError: lists each broken promise.
    """
    problems = _problems_with_members(agent)
    if not problems:
        kit = _Kit(agent)
        problems = kit.shapes_and_finiteness()
    if not problems:  # losses of a wrong shape cannot be added up, so the other promises wait for this one
        for promise in (
            kit.determinism,
            kit.padding,
            kit.permutation,
            kit.microbatches,
            kit.segments,
            kit.degenerate_group,
            kit.ratio_one,
            kit.off_policy,
        ):
            problems += promise()
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise CheckError(f"{type(agent).__name__} breaks {len(problems)} promise(s) of a learning agent:\n{listed}")


def _problems_with_members(agent: Agent) -> list[str]:
    if isinstance(agent, type):
        return [f"it is the class {agent.__name__} itself; pass an instance, {agent.__name__}(...)"]
    problems = []
    for name, kind in _MEMBERS.items():
        if not hasattr(agent, name):
            problems.append(f"it has no `{name}`")
        elif not isinstance(getattr(agent, name), kind):
            problems.append(f"`{name}` is {getattr(agent, name)!r}, of another type than the contract's")
    return problems + [f"it has no method `{name}`" for name in _METHODS if not callable(getattr(agent, name, None))]


@dataclass(frozen=True, eq=False)
class _Result:
    """Gradients of the aggregated loss, each (B, A), by the name of what they are taken for."""

    advantages_BA: Tensor | None
    gradients: Mapping[str, Tensor]


class _Kit:
    """The promises, each as a method that returns what is broken."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.lengths = (4, 1, 0, 3, 2, 3, 5, 2)
        rewards = (1.0, 0.25, 0.0, 1.0, 0.5, 0.5, 0.0, 2.0)
        self.trajectories = [
            _trajectory(length, reward, group_id=row // 4, row=row)
            for row, (length, reward) in enumerate(zip(self.lengths, rewards, strict=True))
        ]
        self.batch = self._batch(self.trajectories)
        self.tables = _tables(self.batch.mask_BA)

    def shapes_and_finiteness(self) -> list[str]:
        before = [_clone(getattr(self.batch, field.name)) for field in fields(self.batch)]
        batch = self.agent.advantages(self.batch)
        outputs = self._outputs(self.tables)
        components = self.agent.loss(outputs, batch)
        diagnostics = self.agent.diagnostics(outputs, batch)
        after = [getattr(self.batch, field.name) for field in fields(self.batch)]
        problems = []
        if any(isinstance(old, Tensor) and not torch.equal(old, new) for old, new in zip(before, after, strict=True)):
            problems.append("it changes the batch in place; use `batch.replace`")
        expected = tuple(batch.mask_BA.shape) if self.agent.unit is Unit.TOKEN else (len(batch.mask_BA),)
        if not components:
            problems.append("`loss` returns no component")
        for name, loss in components.items():
            if tuple(loss.shape) != expected:
                problems.append(
                    f"loss component {name!r} has shape {tuple(loss.shape)}, not {expected}; the learner averages"
                )
            if not bool(torch.isfinite(loss).all()):
                problems.append(f"loss component {name!r} is not finite everywhere")
        for name, table in diagnostics.items():
            if table.shape != batch.mask_BA.shape:
                problems.append(f"diagnostic {name!r} has shape {tuple(table.shape)}, not one entry an action token")
        return problems

    def determinism(self) -> list[str]:
        first, second = self._run(), self._run()
        same = all(torch.equal(first.gradients[name], second.gradients[name]) for name in first.gradients)
        return [] if same else ["the same batch gives another gradient the second time"]

    def padding(self) -> list[str]:
        width = self.batch.mask_BA.shape[1]
        plain = self._run()
        padded_tables = {name: _pad_table(table, 3) for name, table in self.tables.items()}
        padded = self._run(batch=_pad(self.batch, 3), tables=padded_tables)
        problems = []
        for name, gradient in padded.gradients.items():
            mask = torch.nn.functional.pad(self.batch.mask_BA, (0, 3))
            if bool((gradient[~mask] != 0).any()) or not bool(torch.isfinite(gradient).all()):
                problems.append(f"padding gets a gradient for the {name}")
            elif not _close(gradient[:, :width], plain.gradients[name]):
                problems.append(f"padding changes the gradient for the {name}")
        return problems

    def permutation(self) -> list[str]:
        order = torch.tensor([3, 6, 0, 7, 2, 1, 5, 4])
        plain = self._run()
        permuted = self._run(
            batch=self.batch.rows(order), tables={name: table[order] for name, table in self.tables.items()}
        )
        same = all(_close(permuted.gradients[name], plain.gradients[name][order]) for name in plain.gradients)
        return [] if same else ["permuting the trajectories does not just permute the gradient"]

    def microbatches(self) -> list[str]:
        pairs, ragged = [[0, 1, 2, 3], [4, 5, 6, 7]], [[5, 0], [6, 2, 1], [3, 4, 7]]
        plain, split = self._run(), self._run(splits=pairs if self.agent.unit is Unit.PAIR else ragged)
        if all(_close(split.gradients[name], plain.gradients[name]) for name in plain.gradients):
            return []
        return ["splitting the batch into micro-batches changes the gradient; do no averaging in `loss`"]

    def segments(self) -> list[str]:
        split = [_split_segments(trajectory) for trajectory in self.trajectories]
        selections = [self.agent.select([rows[:4], rows[4:]]) for rows in (self.trajectories, split)]
        whole, parts = ([row for group in groups for row in group] for groups in selections)
        if [row.sample_index for row in whole] != [row.sample_index for row in parts]:
            return ["`select` depends on how trajectories are split into segments"]
        if not whole:
            return []
        tables = _tables(self._batch(whole).mask_BA)
        first, second = (self._run(batch=self._batch(rows), tables=tables) for rows in (whole, parts))
        same = all(_close(first.gradients[name], second.gradients[name]) for name in first.gradients)
        return [] if same else ["splitting trajectories into segments changes the gradient"]

    def degenerate_group(self) -> list[str]:
        # 0.1 has no exact binary form, so the mean of equal rewards is not exactly one of them.
        def equal(lengths: Sequence[int]) -> list[Trajectory]:
            return [_trajectory(length, 0.1, group_id=row // 4, row=row) for row, length in enumerate(lengths)]

        alike = equal([3] * len(self.lengths))  # lengths may have been paid for
        problems = []
        for what, rows, is_alike in (
            ("groups with equal rewards", equal(self.lengths), False),
            ("groups with equal rewards and lengths", alike, True),
            ("a group of one", alike[:1], True),
        ):
            batch = self._batch(rows)
            result = self._run(batch=batch, tables=_tables(batch.mask_BA))
            if not all(bool(torch.isfinite(gradient).all()) for gradient in result.gradients.values()):
                problems.append(f"{what} give a gradient that is not finite")
            largest = 0.0 if result.advantages_BA is None else float(result.advantages_BA.abs().max())
            if is_alike and self._has_group_baseline and largest != 0:
                problems.append(f"{what} give advantages up to {largest:.3g}, not exactly 0")
        return problems

    def ratio_one(self) -> list[str]:
        batch, outputs = self.agent.advantages(self.batch), self._outputs(self.tables)
        components = self.agent.loss(outputs, batch)
        if "policy" not in components or batch.advantages_BA is None:
            return []
        weights_BA = action_weights(batch, self.agent.aggregation)
        logprobs_BA = outputs.logprobs_BA

        def gradient(loss: Tensor) -> Tensor:
            if not loss.requires_grad:
                return torch.zeros_like(logprobs_BA)
            return torch.autograd.grad(weighted_loss(loss, weights_BA), logprobs_BA)[0]

        same_as_old = batch.replace(old_logprobs_BA=logprobs_BA.detach().clone())
        none_as_old = batch.replace(old_logprobs_BA=None)
        on_policy = gradient(self.agent.loss(outputs, none_as_old)["policy"])
        problems = []
        if not _close(gradient(self.agent.loss(outputs, same_as_old)["policy"]), on_policy):
            problems.append("old log-probabilities that equal the current ones change the gradient")
        plain = gradient(policy_gradient_loss(logprobs_BA, batch.advantages_BA, batch.mask_BA))
        if self.agent.unit is Unit.TOKEN and not _close(on_policy, plain):
            problems.append('at ratio 1 the component "policy" has not the gradient of the plain policy gradient')
        return problems

    def off_policy(self) -> list[str]:
        if self.agent.rollout is None or not getattr(self.agent, "learns_off_policy", True):
            return []
        if "policy" in self.agent.loss(self._outputs(self.tables), self.agent.advantages(self.batch)):
            return []
        return [
            'it has no loss component "policy" that importance weights could multiply where the sampler has older '
            "weights; name the component so, or set `learns_off_policy = False`"
        ]

    @property
    def _has_group_baseline(self) -> bool:
        spec = self.agent.rollout
        return spec is not None and spec.group_size > 1 and Need.VALUES not in self.agent.needs

    def _batch(self, trajectories: Sequence[Trajectory]) -> ActionBatch:
        batch = ActionBatch.from_trajectories(trajectories, max_actions=6)
        needs = self.agent.needs
        computed: dict[str, Tensor | None] = {}
        sources: Mapping[Need, tuple[str, Callable[[Tensor], Tensor]]] = {
            Need.OLD_LOGPROBS: ("old_logprobs_BA", lambda mask: _pattern(mask, -1.0, 0.05)),
            Need.REF_LOGPROBS: ("ref_logprobs_BA", lambda mask: _pattern(mask, -1.1, 0.2)),
            Need.VALUES: ("values_BA", lambda mask: _pattern(mask, 0.5, 0.3)),
        }
        for need, (name, make) in sources.items():
            if need in needs:
                computed[name] = make(batch.mask_BA)
        return batch.replace(**computed)

    def _outputs(self, tables: Mapping[str, Tensor]) -> ModelOutputs:
        leaves = {name: table.clone().requires_grad_(True) for name, table in tables.items()}
        return ModelOutputs(
            leaves["logprobs"],
            leaves["entropy"] if Need.ENTROPY in self.agent.needs else None,
            leaves["values"] if Need.VALUES in self.agent.needs else None,
        )

    def _run(
        self,
        *,
        batch: ActionBatch | None = None,
        tables: Mapping[str, Tensor] | None = None,
        splits: Sequence[Sequence[int]] | None = None,
    ) -> _Result:
        """Advantages on the whole batch, then the gradient summed over `splits`."""
        batch = self.agent.advantages(batch if batch is not None else self.batch)
        outputs = self._outputs(tables if tables is not None else self.tables)
        weights_BA = action_weights(batch, self.agent.aggregation)
        leaves = {"logprobs": outputs.logprobs_BA, "entropy": outputs.entropy_BA, "values": outputs.values_BA}
        used = {name: leaf for name, leaf in leaves.items() if leaf is not None}
        gradients = {name: torch.zeros_like(leaf) for name, leaf in used.items()}
        for rows in [slice(None)] if splits is None else splits:
            part = batch if isinstance(rows, slice) else batch.rows(rows)
            width = part.mask_BA.shape[1]
            cut = {name: leaf[rows, :width] for name, leaf in used.items()}
            part_outputs = ModelOutputs(cut["logprobs"], cut.get("entropy"), cut.get("values"))
            components = self.agent.loss(part_outputs, part)
            total = torch.stack([weighted_loss(loss, weights_BA[rows, :width]) for loss in components.values()]).sum()
            if total.requires_grad:
                found = torch.autograd.grad(total, list(used.values()), allow_unused=True)
                for name, gradient in zip(used, found, strict=True):
                    gradients[name] += gradient if gradient is not None else 0.0
        return _Result(batch.advantages_BA, gradients)


def _pattern(mask_BA: Tensor, centre: float, width: float) -> Tensor:
    """Numbers that differ from token to token, the same in every run; 0 on padding."""
    steps = torch.arange(mask_BA.numel(), dtype=torch.float32).reshape(mask_BA.shape)
    return torch.where(mask_BA, centre + width * torch.sin(12.9898 * (steps + 1)), 0.0)


def _tables(mask_BA: Tensor) -> dict[str, Tensor]:
    """What a model might have said about the action tokens."""
    return {
        "logprobs": _pattern(mask_BA, -1.0, 0.4),
        "entropy": _pattern(mask_BA, 1.5, 0.3),
        "values": _pattern(mask_BA, 0.4, 0.3),
    }


def _trajectory(num_actions: int, reward: float, *, group_id: int, row: int) -> Trajectory:
    """A segment: a prompt of two tokens, then two turns with an answer of one token between them; cut at 5 actions."""
    lengths = [length for length in (num_actions - num_actions // 2, num_actions // 2) if length]
    mask, turns = [False, False], []
    for index, length in enumerate(lengths):
        mask += [True] * length
        score = Score(reward=reward if index == len(lengths) - 1 else 0.0)
        turns.append(TurnRecord(0, len(mask) - length, len(mask), AssistantMessage(""), score))
        mask += [False]
    action_mask = np.array(mask)
    is_cut = num_actions == 5
    return Trajectory(
        segments=(
            Segment(
                token_ids=np.arange(len(mask), dtype=np.int32),
                action_mask=action_mask,
                sampling_logprobs=np.where(action_mask, -1.0, 0.0).astype(np.float32),
            ),
        ),
        turns=tuple(turns),
        reward=reward,
        terminated=not is_cut,
        truncated=is_cut,
        stop_reason=StopReason.TOKEN_BUDGET if is_cut else StopReason.ANSWERED,
        group_id=group_id,
        sample_index=row,
        role=Role.ROLLOUT,
        metadata={},
    )


def _split_segments(trajectory: Trajectory) -> Trajectory:
    """The same actions, each turn in a segment of its own."""
    if not trajectory.turns:
        return trajectory
    (segment,) = trajectory.segments
    segments, turns = [], []
    for index, turn in enumerate(trajectory.turns):
        mask = np.zeros_like(segment.action_mask[: turn.stop])
        mask[turn.start :] = True
        assert segment.sampling_logprobs is not None
        logprobs = np.where(mask, segment.sampling_logprobs[: turn.stop], 0)
        segments.append(Segment(segment.token_ids[: turn.stop], mask, logprobs))
        turns.append(TurnRecord(index, turn.start, turn.stop, turn.message, turn.score))
    return Trajectory(
        segments=tuple(segments),
        turns=tuple(turns),
        reward=trajectory.reward,
        terminated=trajectory.terminated,
        truncated=trajectory.truncated,
        stop_reason=trajectory.stop_reason,
        group_id=trajectory.group_id,
        sample_index=trajectory.sample_index,
        metadata={},
    )


def _pad(batch: ActionBatch, columns: int) -> ActionBatch:
    changes = {"mask_BA": torch.nn.functional.pad(batch.mask_BA, (0, columns))}
    for field in fields(batch):
        value = getattr(batch, field.name)
        if isinstance(value, Tensor) and field.name.endswith("_BA") and field.name != "mask_BA":
            changes[field.name] = _pad_table(value, columns)
    return batch.replace(**changes)


def _pad_table(table: Tensor, columns: int) -> Tensor:
    return torch.nn.functional.pad(table, (0, columns), value=_GARBAGE)


def _clone(value: object) -> object:
    return value.clone() if isinstance(value, Tensor) else value


def _close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-5, atol=1e-7)
