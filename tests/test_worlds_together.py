"""Many worlds at one sampler: reference turns earn everything at any concurrency, and nothing stays behind."""

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from typing import Any

import pytest
from support.sandboxes import guest_processes, sandbox_of, until

from llmgym.episode.token_env import TokenEnv
from llmgym.rollout import Collector, EnvPool, plan_groups
from llmgym.sampling import SamplingParams, ScriptedSampler
from llmgym.sampling.sampler import Completion
from llmgym.sampling.scripted_sampler import ScriptedSession

WORLDS = (
    "Calculator", "SQL", "Store", "TauRetail", "TauAirline", "FunctionCalling", "InstructionFollowing", "Wordle",
    "Sokoban", "FrozenLake",
)  # fmt: skip
WITH_SANDBOX = ("Shell", "MathPython")


class ReferenceSampler(ScriptedSampler):
    """Says the reference turns of each plan, which it knows by the plan's seed."""

    def __init__(self) -> None:
        super().__init__(lambda *_: [])
        self.turns: dict[int, list[list[int]]] = {}

    def learn(self, plans: Sequence[Any], env_of: Mapping[str, TokenEnv]) -> None:
        for plan in plans:
            env = env_of[plan.env]
            self.turns[plan.sampling_seed] = [env.encode_turn(turn) for turn in env.solve(plan.task) or ()]

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator[ScriptedSession]:
        turns = iter(self.turns[seed])
        yield ScriptedSession(lambda *_: next(turns), seed)


class HaltingSampler(ReferenceSampler):
    """Says the first turn of each plan, and then nothing more; `has_halted` from the first time on."""

    def __init__(self) -> None:
        super().__init__()
        self.has_halted = asyncio.Event()

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator[ScriptedSession]:
        sampler = self

        class Halting(ScriptedSession):
            async def sample(self, prompt_ids: Sequence[int], params: SamplingParams) -> Completion:
                if self._num_turns == 1:
                    sampler.has_halted.set()
                    await asyncio.Event().wait()
                return await super().sample(prompt_ids, params)

        yield Halting(lambda *_: self.turns[seed][0], seed)


def collected(worlds: Sequence[str], *, num_tasks: int, concurrency: int, deterministic: bool) -> list[Any]:
    sampler = ReferenceSampler()
    pools = [EnvPool(f"llmgym/{world}-v0") for world in worlds]
    collector = Collector(pools, sampler, concurrency=concurrency, deterministic=deterministic)
    chosen = [(task, pool.name) for pool in pools for task in pool.tasks("train").first(num_tasks)]
    plans = plan_groups([task for task, _ in chosen], group_size=2, seed=(3,), envs=[name for _, name in chosen])
    sampler.learn(plans, {pool.name: pool.example for pool in pools})
    try:
        return asyncio.run(collector.run(plans, SamplingParams()))
    finally:
        collector.close()


def outcomes(trajectories: Sequence[Any]) -> list[tuple[Any, ...]]:
    return [
        (t.env_id, t.task_key, t.reward, t.stop_reason, [s.token_ids.tolist() for s in t.segments])
        for t in trajectories
    ]


def test_reference_turns_earn_everything_in_all_worlds_at_once_and_as_if_each_was_alone() -> None:
    together = collected(WORLDS, num_tasks=2, concurrency=64, deterministic=False)
    alone = collected(WORLDS, num_tasks=2, concurrency=1, deterministic=True)

    assert [t.metadata.get("problem") for t in together if not t.is_valid] == []
    assert {t.env_id for t in together if t.reward < 1 - 1e-9} == set()
    assert outcomes(together) == outcomes(alone)


def test_search_questions_are_answered_at_once(require) -> None:
    require("search", find_spec("bm25s"), "bm25s is not installed")

    trajectories = collected(["SearchQA"], num_tasks=4, concurrency=8, deterministic=False)

    assert [t.reward for t in trajectories] == [1.0] * 8


def test_worlds_in_a_sandbox_are_collected_at_once_and_leave_no_process(require) -> None:
    with sandbox_of("bwrap", require, num_workers=1):
        pass
    trajectories = collected(WITH_SANDBOX, num_tasks=3, concurrency=12, deterministic=False)

    assert [(t.env_id, t.metadata.get("problem")) for t in trajectories if not t.is_valid] == []
    assert [t.reward for t in trajectories] == [1.0] * 12
    kept = guest_processes()
    collected(["Shell"], num_tasks=2, concurrency=4, deterministic=False)
    assert until(lambda: len(guest_processes()) <= len(kept))


def test_a_cancelled_collection_of_shells_leaves_no_session_behind(require) -> None:
    with sandbox_of("bwrap", require, num_workers=1):
        pass
    sampler = HaltingSampler()
    collector = Collector("llmgym/Shell-v0", sampler, concurrency=8, deterministic=False)
    plans = plan_groups(collector.tasks("train").first(8), group_size=1, seed=(0,))
    sampler.learn(plans, {"": collector.example_env})
    before, files = len(guest_processes()), len(os.listdir("/proc/self/fd"))

    async def cancelled() -> None:
        collecting = asyncio.ensure_future(collector.run(plans, SamplingParams()))
        halting = asyncio.ensure_future(sampler.has_halted.wait())
        await asyncio.wait({collecting, halting}, return_when=asyncio.FIRST_COMPLETED)
        collecting.cancel()
        await collecting

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    collector.close()

    # Threads that were opening a session close it once it is open. What is shared may have come to stay.
    assert until(lambda: len(guest_processes()) <= before + 2)
    assert until(lambda: gc.collect() >= 0 and len(os.listdir("/proc/self/fd")) <= files + 8)
