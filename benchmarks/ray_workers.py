"""How much of the ideal speed do episodes keep in 1, 2 and 4 Ray environment workers?

Prints one JSON line. A worker plays one episode at a time, or as many as asked for, each of four turns (three calls of
the calculator, then the answer); one sampler actor takes 50 ms for any turn, however many wait. So the ideal is a turn
of every episode under way each 50 ms; the efficiency is the speed of the median round over it. `beside_bare` is that
speed over the one of bare calls of the sampler in this process, which on a busy machine take longer than 50 ms, too.
Environments, workers and samplers are there before. A round is 32 episodes for each place, 6.4 s at best: its beginning
and its end cost some 16 ms. Rounds take turns, so that whatever else runs on the machine hits all of them.

    python benchmarks/ray_workers.py [--episodes-per-worker 1] [--episodes-in-a-row 32] [--rounds 5]
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from importlib.metadata import version

import llmgym
from llmgym.rollout import Collector, EnvPool, plan_groups
from llmgym.rollout.ray_sampler import RaySampler
from llmgym.sampling import SamplingParams, ScriptedSampler
from llmgym.sampling.sampler import Completion
from llmgym.sampling.scripted_sampler import ScriptedSession

LATENCY_S = 0.05
NUM_CALLS = 3
LIMITS = {"turns": 8, "turn_tokens": 96, "episode_tokens": 512, "context_tokens": 1024}
WORKERS = (1, 2, 4)
SHARES = {"sampler_cpus": 0.1, "env_worker_cpus": 0.1, "object_store_mib": 128}


class SlowSession(ScriptedSession):
    """Says its script, a little later."""

    async def sample(self, prompt_ids: Sequence[int], params: SamplingParams) -> Completion:
        await asyncio.sleep(LATENCY_S)
        return await super().sample(prompt_ids, params)


class SlowSampler(ScriptedSampler):
    """Calls the calculator until it was called often enough, then says a number; for any number of sessions at once."""

    def __init__(self, module: None, **settings: object) -> None:  # noqa: ARG002  called as a registered one is
        tokenizer = llmgym.ByteTokenizer()
        call = [*tokenizer.encode("<call>37*81</call>"), tokenizer.eos_id]
        answer = [*tokenizer.encode("2997"), tokenizer.eos_id]
        (tool_header,) = tokenizer.header("tool")
        super().__init__(lambda prompt, *_: answer if list(prompt).count(tool_header) >= NUM_CALLS else call)

    @asynccontextmanager
    async def session(self, *, seed: int) -> AsyncIterator[ScriptedSession]:
        yield SlowSession(self._policy, seed)


async def bare(num_places: int, num_in_a_row: int) -> None:
    """As many turns as each place for an episode plays in a round, without llmgym around them."""
    sampler = SlowSampler(None)

    async def turns() -> None:
        async with sampler.session(seed=0) as session:
            for _ in range(num_in_a_row * (NUM_CALLS + 1)):
                await session.sample([1], SamplingParams())

    await asyncio.gather(*(turns() for _ in range(num_places)))


def measure(num_per_worker: int, num_in_a_row: int, num_rounds: int) -> dict[str, dict[str, float]]:
    """Speeds by number of workers."""
    with tempfile.TemporaryDirectory(prefix="ray") as folder, ExitStack() as stack:
        collectors: dict[int, Collector] = {}
        for workers in WORKERS:
            sampler = RaySampler(None, sampler=SlowSampler, num_env_workers=workers, temp_dir=folder, **SHARES)
            stack.callback(sampler.shut_down)  # the first, which started Ray, comes last
            pool = EnvPool("llmgym/Calculator-v0", env_kwargs={"limits": LIMITS})
            collectors[workers] = sampler.make_collector([pool], concurrency=workers * num_per_worker)
            stack.callback(collectors[workers].close)
        seconds: dict[int, list[float]] = {workers: [] for workers in WORKERS}
        bare_seconds: list[float] = []
        for round_index in range(1 + num_rounds):  # the first warms up
            for workers, collector in collectors.items():
                num_episodes = workers * num_per_worker * num_in_a_row
                plans = plan_groups(collector.tasks("train").first(num_episodes), group_size=1, seed=(round_index,))
                started = time.perf_counter()
                trajectories = asyncio.run(collector.run(plans, SamplingParams()))
                took = time.perf_counter() - started
                assert sum(len(trajectory.turns) for trajectory in trajectories) == num_episodes * (NUM_CALLS + 1)
                if round_index:
                    seconds[workers].append(took)
            started = time.perf_counter()
            asyncio.run(bare(max(WORKERS) * num_per_worker, num_in_a_row))
            if round_index:
                bare_seconds.append(time.perf_counter() - started)
    ideal = num_in_a_row * (NUM_CALLS + 1) * LATENCY_S
    return {
        str(workers): {
            "efficiency": ideal / statistics.median(took),
            "efficiency_min": ideal / max(took),
            "efficiency_max": ideal / min(took),
            "beside_bare": statistics.median(bare_seconds) / statistics.median(took),
            "turns_per_second": workers * num_per_worker * num_in_a_row * (NUM_CALLS + 1) / statistics.median(took),
        }
        for workers, took in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes-per-worker", type=int, default=1)
    parser.add_argument("--episodes-in-a-row", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    load_before = os.getloadavg()[0]
    print(
        json.dumps(
            {
                "benchmark": "ray_workers",
                "latency_s": LATENCY_S,
                "episodes_per_worker": options.episodes_per_worker,
                "episodes_in_a_row": options.episodes_in_a_row,
                "by_workers": measure(options.episodes_per_worker, options.episodes_in_a_row, options.rounds),
                "ray": version("ray"),
                "load_before": load_before,
                "load_after": os.getloadavg()[0],
                "python": platform.python_version(),
                "cpus": os.cpu_count(),
                "machine": platform.machine(),
            }
        )
    )


if __name__ == "__main__":
    main()
