"""What an evaluation came to."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..episode import Trajectory
from ..errors import InfrastructureError
from ..rollout import groups_of
from .estimators import Estimate, clustered_mean, clustered_share, majority_share, pass_at_k


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a policy earned. Trajectories that are not valid count nowhere but in `num_invalid`.

    Raises:
        InfrastructureError: none is valid.
    """

    trajectories: tuple[Trajectory, ...]
    full_reward: float
    """An episode that earns it is a success."""

    def __post_init__(self) -> None:
        if not self.valid:
            raise InfrastructureError(
                f"All {len(self.trajectories)} episodes failed for reasons of the environment or its verifier, so they "
                "say nothing about the policy. `llmgym check` on the environment may show why."
            )

    @property
    def valid(self) -> list[Trajectory]:
        """The trajectories that count."""
        return [trajectory for trajectory in self.trajectories if trajectory.is_valid]

    @property
    def num_invalid(self) -> int:
        """Trajectories that our machinery failed."""
        return len(self.trajectories) - len(self.valid)

    @property
    def success(self) -> Estimate:
        """Share of episodes with the full reward."""
        return self._share(lambda group: sum(map(self.is_success, group)) / len(group))

    @property
    def reward(self) -> Estimate:
        """Mean reward of an episode."""
        return clustered_mean([[trajectory.reward for trajectory in group] for group in groups_of(self.valid)])

    @property
    def num_samples(self) -> int:
        """Most valid episodes of one task."""
        return max(len(group) for group in groups_of(self.valid))

    @property
    def pass_at_k(self) -> dict[int, Estimate]:
        """Share of tasks that at least one of k samples solves, for k = 1, 2, 4, ... up to the number of samples.

        A task with fewer than k valid samples is left out of pass@k.
        """
        powers = [2**power for power in range(self.num_samples.bit_length())]
        return {k: self._share(lambda group: pass_at_k(*self._counts(group), k), at_least=k) for k in powers}  # noqa: B023

    @property
    def majority(self) -> Estimate | None:
        """Share of tasks whose most frequent answer is right (see `majority_share`).

        None where no verifier says which answer it read (`Score.extracted`).
        """
        if all(answer_of(trajectory) is None for trajectory in self.valid):
            return None
        return self._share(lambda group: majority_share([*map(answer_of, group)], [*map(self.is_success, group)]))

    @property
    def tool_share(self) -> float:
        """Share of episodes with at least one tool call."""
        used = [any(turn.message.tool_calls for turn in trajectory.turns) for trajectory in self.valid]
        return sum(used) / len(used)

    def is_success(self, trajectory: Trajectory) -> bool:
        """It earned all there is."""
        return trajectory.is_valid and trajectory.reward >= self.full_reward

    def summary(self) -> dict[str, Any]:
        """The figures by name, as plain values."""
        valid, success, reward = self.valid, self.success, self.reward
        return {
            "num_episodes": len(self.trajectories),
            "num_invalid": self.num_invalid,
            "success": success.value,
            "success_low": success.low,
            "success_high": success.high,
            "reward": reward.value,
            "tool_share": self.tool_share,
            "mean_turns": sum(len(trajectory.turns) for trajectory in valid) / len(valid),
            "mean_action_tokens": sum(trajectory.num_actions for trajectory in valid) / len(valid),
            "stop_reasons": dict(Counter(str(trajectory.stop_reason) for trajectory in valid).most_common()),
        }

    def figures(self) -> dict[str, Any]:
        """All there is to say, as plain JSON values: the summary, and what several samples of a task say.

        An interval is [low, high], null at an end that one task alone leaves open.
        """
        figures = self.summary()
        figures["num_tasks"] = len({trajectory.group_id for trajectory in self.trajectories})
        figures["reward_interval"] = self.reward.to_json()["interval"]
        if self.num_samples > 1:
            figures["pass_at_k"] = {str(k): share.to_json() for k, share in self.pass_at_k.items()}
            if (majority := self.majority) is not None:
                figures["majority"] = majority.to_json()
        return figures

    def _share(self, of_task: Callable[[Sequence[Trajectory]], float], *, at_least: int = 1) -> Estimate:
        groups = [group for group in groups_of(self.valid) if len(group) >= at_least]
        return clustered_share([of_task(group) for group in groups], num_samples=sum(map(len, groups)))

    def _counts(self, group: Sequence[Trajectory]) -> tuple[int, int]:
        return len(group), sum(map(self.is_success, group))


def answer_of(trajectory: Trajectory) -> str | None:
    """The answer that the verifier read last; None where it read none."""
    answers = [turn.score.extracted for turn in trajectory.turns if turn.score is not None]
    return next((answer for answer in reversed(answers) if answer is not None), None)
