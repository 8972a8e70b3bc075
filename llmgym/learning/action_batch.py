"""The table of action tokens, on which all the mathematics of learning happens."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..episode import Trajectory
from ..errors import ConfigError, DataError, ShapeError


@dataclass(frozen=True, eq=False, kw_only=True)
class ActionBatch:
    """One row a trajectory, one column a token that the policy sampled, in order, right-padded.

    Columns run across turns and segments; a row may have no action at all. Prompt, tool and environment tokens are
    not here, so nothing that is computed from this table can depend on them.
    """

    mask_BA: Tensor
    """bool, True where the token is real, False on padding."""
    rewards_BA: Tensor
    """float32, each turn's reward on its last token, less the KL penalty where that is placed in the reward."""
    reward_B: Tensor
    """float64, the reward of each trajectory, less the KL penalty of all its tokens."""
    group_B: Tensor
    """int64, rows with the same number belong to one group."""
    bootstrap_value_B: Tensor
    """float32, value after the last action; 0 where nothing is to be expected after it."""
    max_actions: int
    """Length of the longest allowed trajectory: the constant of `Aggregation.CONSTANT`, and where length costs."""
    is_truncated_B: Tensor | None = None
    """bool, True where a budget ended the trajectory, not the task."""
    sampling_logprobs_BA: Tensor | None = None
    """float32, from the engine that sampled the tokens; None where any trajectory has none."""
    weight_version_BA: Tensor | None = None
    """int64, of the weights that sampled each token; None where any trajectory does not say."""
    old_logprobs_BA: Tensor | None = None
    """From the learner's weights before the update. None on policy, where they equal the current ones."""
    ref_logprobs_BA: Tensor | None = None
    """From the frozen reference model."""
    values_BA: Tensor | None = None
    """The critic's estimate before each action."""
    advantages_BA: Tensor | None = None
    returns_BA: Tensor | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, Tensor):
                continue
            expected = self.mask_BA.shape if field.name.endswith("_BA") else self.mask_BA.shape[:1]
            if value.shape != expected:
                raise ShapeError(
                    f"{field.name} has shape {tuple(value.shape)}, but mask_BA has {tuple(self.mask_BA.shape)}, so "
                    f"{tuple(expected)} was expected. Use one row a trajectory and one column an action token."
                )

    @classmethod
    def from_trajectories(cls, trajectories: Sequence[Trajectory], *, max_actions: int | None = None) -> ActionBatch:
        """The table of `trajectories`, in their order.

        Args:
            trajectories: the rows.
            max_actions: length of the longest allowed trajectory; None takes the longest one given.

        Raises:
            DataError: a trajectory is not valid, so that its reward means nothing, or its sampler gave
                log-probabilities that are no numbers.
            ConfigError: tokens were sampled from a distribution cut by top-p or top-k, and nobody knows which.
        """
        for index, trajectory in enumerate(trajectories):
            _require_learnable(index, trajectory)
        num_actions = [trajectory.num_actions for trajectory in trajectories]
        shape = (len(trajectories), max(num_actions, default=0))

        def table(row: Callable[[Trajectory], np.ndarray]) -> Tensor:
            values = np.zeros(shape, dtype=np.float32)  # which holds whole numbers up to 2 ** 24, so versions too
            for index, trajectory in enumerate(trajectories):
                values[index, : num_actions[index]] = row(trajectory)
            return torch.from_numpy(values)

        segments = [segment for trajectory in trajectories for segment in trajectory.segments if segment.num_actions]
        has_logprobs = bool(segments) and all(segment.sampling_logprobs is not None for segment in segments)
        has_versions = bool(segments) and all(segment.weight_version is not None for segment in segments)
        return cls(
            mask_BA=torch.arange(shape[1])[None, :] < torch.tensor(num_actions, dtype=torch.int64)[:, None],
            rewards_BA=table(Trajectory.action_rewards),
            reward_B=torch.tensor([trajectory.reward for trajectory in trajectories], dtype=torch.float64),
            group_B=torch.tensor([trajectory.group_id for trajectory in trajectories], dtype=torch.int64),
            bootstrap_value_B=torch.zeros(shape[0]),
            max_actions=max_actions if max_actions is not None else shape[1],
            is_truncated_B=torch.tensor([trajectory.truncated for trajectory in trajectories], dtype=torch.bool),
            sampling_logprobs_BA=table(partial(_of_actions, name="sampling_logprobs")) if has_logprobs else None,
            weight_version_BA=table(partial(_of_actions, name="weight_version")).long() if has_versions else None,
        )

    def advantages_by_trajectory(self, trajectories: Sequence[Trajectory]) -> dict[Trajectory, np.ndarray]:
        """float32[num_actions] of each trajectory, the rows of this table in order; empty where there are none."""
        if self.advantages_BA is None:
            return {}
        rows = self.advantages_BA.float().cpu().numpy()
        return {trajectory: row[: trajectory.num_actions] for trajectory, row in zip(trajectories, rows, strict=True)}

    @property
    def num_tokens(self) -> int:
        """Number of action tokens."""
        return int(self.mask_BA.sum())

    def sampled_with(self, version: int | None) -> Tensor:
        """True where the token was sampled with the weights of `version`, as far as both are known, shape (B, A)."""
        if version is None or self.weight_version_BA is None:
            return self.mask_BA
        return self.mask_BA & (self.weight_version_BA == version)

    def rows(self, index: Sequence[int] | Tensor) -> ActionBatch:
        """The rows with these indices (or where a bool tensor is True), without columns that none of them uses."""
        picked = torch.as_tensor(index, device=self.mask_BA.device)
        picked = picked if picked.dtype == torch.bool else picked.long()
        mask = self.mask_BA[picked]
        width = int(mask.any(dim=0).sum())  # real tokens stand on the left, so used columns are the first ones
        changes: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changes[field.name] = value[picked][:, :width] if field.name.endswith("_BA") else value[picked]
        return self.replace(**changes)

    def replace(self, **changes: Any) -> ActionBatch:
        """A copy with some fields replaced."""
        return dataclasses.replace(self, **changes)

    def required(self, name: str) -> Tensor:
        """The tensor `name`, which must have been computed.

        Raises:
            ConfigError: it was not; the message says who computes it.
        """
        value = getattr(self, name)
        if value is None:
            raise ConfigError(
                f"The batch has no {name}. Call the agent's `advantages` first, or name what is missing in its `needs`."
            )
        assert isinstance(value, Tensor)
        return value

    def to(self, device: torch.device | str) -> ActionBatch:
        """A copy with all tensors on `device`, which is not waited for."""
        tensors = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        tensors = {name: value for name, value in tensors.items() if isinstance(value, Tensor)}
        is_sent = torch.device(device).type != "cpu"  # what is fetched must be there
        return self.replace(**{name: value.to(device, non_blocking=is_sent) for name, value in tensors.items()})


def _of_actions(trajectory: Trajectory, name: str) -> np.ndarray:
    """That array of all segments, of action tokens alone; empty where there are none."""
    parts = [getattr(segment, name)[segment.action_mask] for segment in trajectory.segments if segment.num_actions]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def _require_learnable(index: int, trajectory: Trajectory) -> None:
    if not trajectory.is_valid:
        raise DataError(
            f"Trajectory {index} (task {trajectory.task_key!r}) is not valid: our machinery failed in it "
            f"({trajectory.stop_reason.value}), so its reward means nothing. Leave it out."
        )
    if not all(
        np.isfinite(segment.sampling_logprobs).all()
        for segment in trajectory.segments
        if segment.sampling_logprobs is not None
    ):
        raise DataError(
            f"Trajectory {index} (task {trajectory.task_key!r}) has sampling log-probabilities that are not finite, "
            "so the tokens cannot have been sampled from that distribution. Look at the sampler; a trajectory with "
            "none at all (None) can be learned from."
        )
    is_cut = trajectory.sampling is not None and not trajectory.sampling.keeps_all_tokens
    if is_cut and any(segment.kept_tokens is None for segment in trajectory.segments if segment.num_actions):
        raise ConfigError(
            f"Trajectory {index} was sampled with top-p or top-k, which renormalise the distribution over the tokens "
            "they keep, but its sampler did not say which these were, so the learner's log-probabilities would be of "
            "another distribution. Sample with top_p=1 and top_k=0, or with a sampler that reports kept sets, such as "
            "'torch'."
        )
