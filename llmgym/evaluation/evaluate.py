"""How good a policy is on tasks it has not learned from."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from ..episode import Task, TokenEnv, Trajectory
from ..episode.register import make_token_env
from ..episode.waiting import run_to_end
from ..errors import ConfigError, InfrastructureError
from ..extras import require
from ..rollout import Collector, groups_of, plan_groups
from ..sampling import Sampler, SamplingParams
from .estimators import Estimate, clustered_mean, wilson_interval

TextPolicy = Callable[[Sequence[Mapping[str, str]]], str]
"""From the conversation so far, as role and content, to the policy's next message."""


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
        groups = [[float(t.reward >= self.full_reward) for t in group] for group in groups_of(self.valid)]
        if all(len(group) == 1 for group in groups):
            return wilson_interval(sum(int(group[0]) for group in groups), len(groups))
        share = clustered_mean(groups)
        return Estimate(share.value, max(0.0, share.low), min(1.0, share.high))  # a normal interval knows no bounds

    @property
    def reward(self) -> Estimate:
        """Mean reward of an episode."""
        return clustered_mean([[trajectory.reward for trajectory in group] for group in groups_of(self.valid)])

    @property
    def tool_share(self) -> float:
        """Share of episodes with at least one tool call."""
        used = [any(turn.message.tool_calls for turn in trajectory.turns) for trajectory in self.valid]
        return sum(used) / len(used)

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


async def evaluate_sampler(
    collector: Collector,
    tasks: Sequence[Task],
    *,
    num_samples: int = 1,
    sampling: SamplingParams,
    seed: int,
    on_episode: Callable[[Trajectory], None] | None = None,
) -> Evaluation:
    """The collector's sampler on `tasks`, `num_samples` episodes each."""
    plans = plan_groups(tasks, group_size=num_samples, seed=(seed,))
    trajectories = await collector.run(plans, sampling, on_episode=on_episode)
    return Evaluation(tuple(trajectories), collector.example_env.message_env.reward_range[1])


def evaluate(
    policy: str | Path | Sampler | TextPolicy,
    env: str,
    *,
    num_tasks: int = 200,
    num_samples: int = 1,
    split: str = "test",
    temperature: float = 1.0,
    seed: int = 0,
    tokenizer: Any = None,
    env_kwargs: Mapping[str, Any] | None = None,
) -> Evaluation:
    """A policy's rewards on the first tasks of a split.

    Args:
        policy: a model folder or id, a sampler, or any function from messages to text.
        env: id of the environment.
        num_tasks: the first so many distinct tasks.
        num_samples: episodes for each task.
        split: of the tasks.
        temperature: 0 is greedy; a function decides for itself.
        seed: of everything random.
        tokenizer: that of a sampler's model; a model folder brings its own.
        env_kwargs: further keywords for `gym.make`.

    Raises:
        ConfigError: `policy` is none of these, a sampler came without its tokenizer, or `seed` is negative.
    """
    if seed < 0:
        raise ConfigError(f"seed is {seed}, but it must be at least 0.")
    if isinstance(policy, (str, Path)):
        require("torch", extra="train", purpose="Evaluating a model folder")
        from ..learning import load_with_tokenizer
        from ..sampling.torch_sampler import TorchSampler

        loaded, tokenizer = load_with_tokenizer(policy)
        policy = TorchSampler(loaded.module, num_tokens=loaded.num_tokens)
    if hasattr(policy, "session"):
        if tokenizer is None:
            raise ConfigError("A sampler was given without the tokenizer of its model. Pass tokenizer=... too.")
        collector = Collector(env, cast(Sampler, policy), tokenizer=tokenizer, env_kwargs=env_kwargs)
        try:
            tasks = collector.tasks(split).first(num_tasks)
            sampling = SamplingParams(temperature=temperature)
            return run_to_end(evaluate_sampler(collector, tasks, num_samples=num_samples, sampling=sampling, seed=seed))
        finally:
            collector.close()
    if not callable(policy):
        raise ConfigError(
            f"{type(policy).__name__} is not a policy. Pass a model folder or id, a sampler, or a function that takes "
            "messages and returns text."
        )
    text_env = make_token_env(env, view="text", **(env_kwargs or {}))
    try:
        tasks = text_env.message_env.tasks(split).first(num_tasks)
        plans = plan_groups(tasks, group_size=num_samples, seed=(seed,))
        trajectories = [_play(text_env, policy, plan.task, split, plan.seed, plan.group_id) for plan in plans]
        return Evaluation(tuple(trajectories), text_env.message_env.reward_range[1])
    finally:
        text_env.close()


def _play(env: TokenEnv, policy: TextPolicy, task: Task, split: str, seed: int, group_id: int) -> Trajectory:
    """One episode of a function from messages to text."""
    try:
        env.reset(seed=seed, options={"task": task.key, "split": split})
        while not env.episode.is_over:
            messages = [{"role": message.role, "content": message.content} for message in env.episode.messages]
            env.step(policy(messages))
    except InfrastructureError:
        pass  # the trajectory says so: it is not valid
    return replace(env.trajectory(), group_id=group_id)
