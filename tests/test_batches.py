"""The batch of a training step: how dropped groups are replaced, and what is measured of its episodes."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import llmgym
from llmgym.episode import EnvResponse, Segment, StopReason, Trajectory, TurnRecord
from llmgym.errors import InfrastructureError
from llmgym.learning import ActionBatch, BaseAgent, ModelOutputs, RolloutSpec
from llmgym.learning.agent import Group
from llmgym.learning.update_metrics import describe_groups
from llmgym.rollout import Collector, EnvPool, TaskMixture
from llmgym.sampling import ScriptedSampler
from llmgym.scoring import Score
from llmgym.training.batch import Batch, collect_batch, num_to_draw
from llmgym.training.describe import describe_by_env, describe_episodes, repeated_share

BYTES = llmgym.ByteTokenizer()


class DiceEnv(llmgym.MessageEnv):
    """Pays what the policy's first letter is by a table of its own."""

    def tasks(self, split: str) -> llmgym.TaskSource:
        return llmgym.FiniteTasks([llmgym.Task(key=f"{n}", prompt=f"{n}") for n in range(50)])

    def reset(self, task: llmgym.Task, rng: np.random.Generator) -> llmgym.InitialMessages:
        self.task = task
        return llmgym.InitialMessages((llmgym.Message("user", task.prompt),))

    def step(self, message: llmgym.AssistantMessage) -> EnvResponse:
        return EnvResponse(score=Score(reward=float(message.content == "1")), terminated=True)


class UnevenDiceEnv(DiceEnv):
    """Some of its prompts are far too long."""

    def tasks(self, split: str) -> llmgym.TaskSource:
        return llmgym.FiniteTasks([llmgym.Task(key=f"{n}", prompt="9" * (5000 if n % 3 else 1)) for n in range(50)])


llmgym.register_env("test-batches/Dice-v0", DiceEnv)
llmgym.register_env("test-batches/UnevenDice-v0", UnevenDiceEnv)


class Picky(BaseAgent):
    """Selects groups by what they earned, as told."""

    def __init__(self, keep: Any, *, rounds: int) -> None:
        self.keep, self.rollout = keep, RolloutSpec(group_size=2, resample_rounds=rounds)

    def select(self, groups: Sequence[Group]) -> Sequence[Group]:
        return [group for group in groups if self.keep([t.reward for t in group])]

    def loss(self, outputs: ModelOutputs, batch: ActionBatch) -> Mapping[str, Tensor]:
        raise AssertionError("nothing is learned here")


def collected(
    agent: Picky, *, num_groups: int = 6, chance: float = 0.5, seed: int = 0, env: str = "test-batches/Dice-v0"
) -> Batch:
    def answers(prompt: Any, params: Any, rng: np.random.Generator) -> list[int]:
        return [*BYTES.encode("1" if rng.random() < chance else "0"), BYTES.eos_id]

    pool = EnvPool(env)
    mixture = TaskMixture({pool.name: pool.tasks("train")}, {pool.name: 1.0}, seed=0)
    collector = Collector([pool], ScriptedSampler(answers))
    return asyncio.run(
        collect_batch(collector, mixture, agent, agent.rollout, num_groups=num_groups, seed=(seed,))  # type: ignore[arg-type]
    )


def differ(rewards: list[float]) -> bool:
    return len(set(rewards)) > 1


def test_dropped_groups_are_replaced_until_the_batch_is_full() -> None:
    batch = collected(Picky(differ, rounds=20))

    assert len(batch.groups) == 6
    assert all(differ([t.reward for t in group]) for group in batch.groups)
    assert batch.num_rounds > 0
    assert batch.num_dropped_groups > 0
    assert len(batch.drawn) == 2 * batch.num_drawn_groups > 12


def test_no_round_is_made_beyond_what_the_agent_allows() -> None:
    batch = collected(Picky(lambda rewards: False, rounds=3))

    assert (batch.groups, batch.num_rounds, batch.num_dropped_groups) == ([], 3, 24)
    assert len(batch.drawn) == 4 * 12


def test_an_agent_that_asks_for_no_replacement_learns_from_what_is_left() -> None:
    batch = collected(Picky(differ, rounds=0))

    assert batch.num_rounds == 0
    assert len(batch.drawn) == 12
    assert 0 < len(batch.groups) < 6


def test_a_round_of_nothing_but_too_long_prompts_is_one_that_brought_nothing() -> None:
    batch = collected(Picky(lambda rewards: False, rounds=9), num_groups=1, env="test-batches/UnevenDice-v0")

    rounds = [tuple(t.is_valid for t in batch.drawn[start : start + 2]) for start in range(0, 20, 2)]
    assert (len(batch.drawn), batch.num_drawn_groups) == (20, 10)
    assert set(rounds) == {(True, True), (False, False)}


def test_where_nothing_is_dropped_one_round_is_enough() -> None:
    batch = collected(Picky(lambda rewards: True, rounds=5))

    assert (len(batch.groups), batch.num_rounds, batch.num_dropped_groups) == (6, 0, 0)


def test_every_group_of_all_rounds_has_a_number_and_seeds_of_its_own_and_the_same_seed_gives_the_same() -> None:
    batch, again, other = (collected(Picky(differ, rounds=4), seed=seed) for seed in (0, 0, 1))

    seeds = {t.group_id: t.seed for t in batch.drawn}
    assert len(set(seeds.values())) == batch.num_drawn_groups
    assert set(Counter(t.group_id for t in batch.drawn).values()) == {2}
    assert [t.reward for t in batch.drawn] == [t.reward for t in again.drawn]
    assert [t.seed for t in batch.drawn][:2] != [t.seed for t in other.drawn][:2]


@given(st.integers(1, 64), st.data())
def test_a_round_draws_at_least_what_is_missing_and_never_more_than_the_first(num_groups: int, data: Any) -> None:
    num_kept = data.draw(st.integers(0, num_groups - 1))
    num_drawn = data.draw(st.integers(max(1, num_kept), 4 * num_groups))
    num_missing = num_groups - num_kept

    num_new = num_to_draw(num_missing, num_kept, num_drawn, most=num_groups)

    assert num_missing <= num_new <= num_groups
    if num_kept and num_new < num_groups:
        assert num_new * num_kept / num_drawn >= num_missing - 1e-9


def episode(
    ids: Sequence[int] = (7, 8, 9),
    *,
    reward: float = 1.0,
    parts: Mapping[str, float] | None = None,
    is_valid: bool = True,
    calls: Sequence[str] = (),
    num_tool_errors: int = 0,
    group_id: int = 0,
    env: str = "a",
    attempts: int = 1,
) -> Trajectory:
    """One turn of these ids behind two of the prompt."""
    message = llmgym.AssistantMessage("x", tool_calls=tuple(llmgym.ToolCall(name, {}) for name in calls))
    score = Score(reward=reward, is_valid=is_valid, parts=parts or {})
    return Trajectory(
        segments=(Segment(np.array([1, 2, *ids], dtype=np.int32), np.arange(2 + len(ids)) >= 2),),
        turns=(TurnRecord(0, 2, 2 + len(ids), message, score, num_tool_errors=num_tool_errors),),
        reward=reward, terminated=True, truncated=False, is_valid=is_valid, group_id=group_id,
        stop_reason=StopReason.ANSWERED if is_valid else StopReason.ENV_ERROR,
        metadata={"env": env, "attempts": attempts},
    )  # fmt: skip


def test_a_batch_is_described_by_rewards_lengths_and_endings_of_its_valid_episodes() -> None:
    episodes = [
        episode(range(10), reward=1.0, parts={"format": 1.0, "answer": 1.0}, calls=["calculator"]),
        episode(range(30), reward=0.0, parts={"format": 1.0}, calls=["x", "y"], num_tool_errors=1),
        episode(range(20), reward=0.5),
        episode(range(900), reward=1.0, is_valid=False, calls=["z"], attempts=3),
    ]

    metrics = describe_episodes(episodes, full_reward=1.0)

    assert metrics["reward"] == pytest.approx(0.5)
    assert metrics["success"] == pytest.approx(1 / 3)
    assert metrics["reward_part/format"] == pytest.approx(2 / 3)
    assert metrics["reward_part/answer"] == pytest.approx(1 / 3)
    lengths = [metrics[f"{name}_action_tokens"] for name in ("mean", "p50", "p95", "max")]
    assert lengths == [20, 20, pytest.approx(29), 30]
    assert (metrics["num_tool_calls"], metrics["num_tool_errors"]) == (3, 1)
    assert (metrics["num_invalid"], metrics["num_invalid_scores"], metrics["num_retries"]) == (1, 1, 2)
    assert metrics["stop_reasons"] == {"answered": 3}


def test_a_batch_without_a_valid_episode_says_nothing_and_is_an_error() -> None:
    with pytest.raises(InfrastructureError):
        describe_episodes([episode(is_valid=False)], full_reward=1.0)


def test_groups_of_equal_rewards_are_counted_without_what_is_not_valid_or_has_nothing_to_be_compared_with() -> None:
    groups = [[(1.0, True), (1.0, True), (0.0, False)], [(1.0, True), (0.0, True)], [(0.0, True), (1.0, False)]]

    metrics = describe_groups([[episode(reward=r, is_valid=v) for r, v in group] for group in groups])

    assert metrics == {"num_zero_variance_groups": 1, "zero_variance_share": 0.5}
    assert describe_groups([[episode()], [episode()]]) == {}


def test_each_environment_has_figures_of_its_own_also_where_all_of_it_failed() -> None:
    episodes = [episode(env="a"), episode(env="a", reward=0.0, group_id=1), episode(env="b", is_valid=False)]

    figures = describe_by_env(episodes, full_reward=1.0)

    assert (figures["a"]["success"], figures["a"]["num_episodes"]) == (0.5, 2)
    assert figures["b"] == {"num_episodes": 1, "num_invalid": 1}


def repeated_by_definition(ids: Sequence[int]) -> float:
    ngrams = [tuple(ids[start : start + 8]) for start in range(len(ids) - 7)]
    seen: set[tuple[int, ...]] = set()
    num_repeated = 0
    for ngram in ngrams:
        num_repeated += ngram in seen
        seen.add(ngram)
    return num_repeated / len(ngrams) if ngrams else 0.0


@given(st.lists(st.integers(0, 1), max_size=60))
def test_the_repeated_share_equals_its_definition(ids: list[int]) -> None:
    assert repeated_share(episode(ids)) == pytest.approx(repeated_by_definition(ids))


def test_an_answer_that_loops_repeats_itself_and_its_prompt_does_not_count() -> None:
    assert repeated_share(episode([5] * 100)) > 0.95
    assert repeated_share(episode(range(100))) == 0
