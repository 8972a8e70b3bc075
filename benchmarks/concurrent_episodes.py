"""What does the framework add to many tool episodes at once, beside waiting for the model?

Prints one JSON line. 256 episodes of four turns (three calls of the calculator, then the answer) run at one scripted
sampler that takes 5 ms to answer. The ideal is turns x 5 ms, as all episodes wait at the same time; what is above it
is the framework's own work, given as CPU time of the process a turn. Each round is timed from the planned episodes to
the trajectories, with environments that were made before; figures are medians over the rounds.

    python benchmarks/concurrent_episodes.py [--episodes 256] [--rounds 15] [--threads]
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import llmgym
from llmgym.rollout import Collector, plan_groups
from llmgym.sampling import SamplingParams, ScriptedSampler
from llmgym.sampling.sampler import Completion
from llmgym.sampling.scripted_sampler import ScriptedSession

LATENCY_S = 0.005
NUM_CALLS = 3
LIMITS = {"turns": 8, "turn_tokens": 96, "episode_tokens": 512, "context_tokens": 1024}


class SlowSession(ScriptedSession):
    """Says its script, a little later."""

    async def sample(self, prompt_ids: Sequence[int], params: SamplingParams) -> Completion:
        await asyncio.sleep(LATENCY_S)
        return await super().sample(prompt_ids, params)


class SlowSampler(ScriptedSampler):
    """Any number of sessions wait at the same time."""

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator[ScriptedSession]:
        yield SlowSession(self._policy, seed)


def scripted() -> SlowSampler:
    """Calls the calculator until it was called often enough, then says a number."""
    tokenizer = llmgym.ByteTokenizer()
    call = [*tokenizer.encode("<call>37*81</call>"), tokenizer.eos_id]
    answer = [*tokenizer.encode("2997"), tokenizer.eos_id]
    (tool_header,) = tokenizer.header("tool")
    return SlowSampler(lambda prompt, *_: answer if list(prompt).count(tool_header) >= NUM_CALLS else call)


def measure(num_episodes: int, num_rounds: int, *, in_threads: bool) -> dict[str, float]:
    """Seconds of a round and CPU seconds of a turn."""
    collector = Collector(
        "llmgym/Calculator-v0",
        scripted(),
        env_kwargs={"limits": LIMITS},
        concurrency=num_episodes,
        deterministic=not in_threads,
    )
    tasks = collector.tasks("train").first(num_episodes)
    plans = plan_groups(tasks, group_size=1, seed=(0,))
    walls, cpus = [], []
    for round_index in range(1 + num_rounds):  # the first warms up
        wall, cpu = time.perf_counter(), time.process_time()
        trajectories = asyncio.run(collector.run(plans, SamplingParams()))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        num_turns = sum(len(trajectory.turns) for trajectory in trajectories)
        assert num_turns == num_episodes * (NUM_CALLS + 1)
        if round_index:
            walls.append(wall)
            cpus.append(cpu / num_turns)
    collector.close()
    ideal = (NUM_CALLS + 1) * LATENCY_S
    return {
        "wall_s": statistics.median(walls),
        "ideal_s": ideal,
        "wall_over_ideal": statistics.median(walls) / ideal,
        "cpu_ms_a_turn": 1e3 * statistics.median(cpus),
        "cpu_ms_a_turn_min": 1e3 * min(cpus),
        "cpu_ms_a_turn_max": 1e3 * max(cpus),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", action="store_true", help="resets and steps of the environments in threads")
    options = parser.parse_args()
    figures = measure(options.episodes, options.rounds, in_threads=options.threads)
    machine = {"python": platform.python_version(), "cpus": os.cpu_count(), "machine": platform.machine()}
    print(
        json.dumps(
            {
                "benchmark": "concurrent_episodes",
                "episodes": options.episodes,
                "threads": options.threads,
                **figures,
                **machine,
            }
        )
    )


if __name__ == "__main__":
    main()
