"""What share of the samplers' speed is used, with more workers, longer tails of episode lengths and other modes?

A simulation by events, for machines that are not at hand; prints one JSON line and draws a plot. Episodes of several
turns are decoded by workers, each with some places; after each turn a tool answers while the place is kept. A step of
decoding takes `--decode-ms` plus `--decode-ms-an-episode` for each episode that decodes; lengths are log-normal. A
batch of finished episodes is learned from beside the workers, then all of them stop for `--handover-s`.

    efficiency = sampled tokens / (seconds * workers * tokens a second of a worker with all places decoding)

The modes differ in what may be begun: `synchronous` the batch that comes next, once the weights are handed over;
`one-step-off` already when learning begins; `asynchronous` so much that --max-staleness + 1 batches are under way.

    python benchmarks/simulate_rollouts.py [--batch 512] [--sigma 0.8] [--plot FILE.svg]

Defaults: tool latency is that of an empty program in a sandbox as measured (`results/sandboxes.jsonl`, bwrap: median
2.63 ms, 99 % below 4.78 ms), the framework's own time a turn too (`results/concurrent_episodes.jsonl`, 0.17 ms); the
times of decoding, learning and handing over are assumptions, to be replaced by those of your machines.
"""

import argparse
import heapq
import json
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

Mode = Literal["synchronous", "one-step-off", "asynchronous"]
MODES: tuple[Mode, ...] = ("synchronous", "one-step-off", "asynchronous")

TOOL_MEDIAN_S, TOOL_P99_S, FRAMEWORK_S = 0.00263, 0.00478, 0.00017
_Z99 = 2.326


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What episodes are run on, and how their batches are learned from."""

    workers: int
    places: int
    """Episodes of a worker at once."""
    decode_s: float
    """Of a step of decoding, whatever is decoded."""
    decode_s_an_episode: float = 0.0
    """Of a step, for each episode that decodes."""
    learn_s: float = 0.0
    """Of an update."""
    handover_s: float = 0.0
    """For which all workers stop after an update."""

    def step_s(self, num_decoding: int) -> float:
        return self.decode_s + num_decoding * self.decode_s_an_episode

    @property
    def peak_tokens_per_s(self) -> float:
        """Of all workers, with all places decoding."""
        return self.workers * self.places / self.step_s(self.places)


@dataclass(frozen=True)
class Episode:
    """Turn by turn: the tokens that are sampled, and the seconds that the environment takes to answer."""

    tokens: tuple[int, ...]
    waits_s: tuple[float, ...]


@dataclass(eq=False)
class _Worker:
    decoding: list[tuple[float, int]] = field(default_factory=list)
    """Heap of the place on the worker's clock at which an episode's turn ends, and the episode."""
    num_taken: int = 0
    """Places."""
    clock: float = 0.0
    """Steps of decoding so far."""
    at: float = 0.0
    """The time that the clock is of."""
    version: int = 0
    """Of what is planned for it; events of older ones are void."""


def simulate(
    episodes: Sequence[Episode], machine: Machine, mode: Mode, *, batch: int, max_staleness: int = 1
) -> dict[str, float]:
    """Run the episodes in order, and learn from each `batch` that ended; deterministic.

    Args:
        episodes: a whole number of batches.
        machine: what they are run on.
        mode: what may be begun, see above.
        batch: episodes of an update.
        max_staleness: of asynchronous runs, at least 0; 0 is synchronous.

    Returns:
        seconds, efficiency, and learner_share: of the time, that the learner learns in.
    """
    if not episodes or len(episodes) % batch:
        raise ValueError(f"{len(episodes)} episodes are no batches of {batch}. Give a multiple of it.")

    def num_allowed(begun: int, done: int) -> int:
        return _num_allowed(mode, begun=begun, done=done, batch=batch, max_staleness=max_staleness)

    run = _Run(episodes, machine, num_allowed, batch)
    seconds = run.to_end()
    num_tokens = sum(sum(episode.tokens) for episode in episodes)
    return {
        "seconds": seconds,
        "efficiency": num_tokens / (seconds * machine.peak_tokens_per_s),
        "learner_share": machine.learn_s * (len(episodes) // batch) / seconds,
    }


def _num_allowed(mode: Mode, *, begun: int, done: int, batch: int, max_staleness: int) -> int:
    """How many episodes may have begun, after so many updates were begun and done."""
    if mode == "synchronous":
        return (done + 1) * batch
    if mode == "one-step-off":
        return (begun + 1) * batch
    return (done + 1 + max_staleness) * batch


class _Run:
    """The state of a simulation, and what each kind of event does to it."""

    def __init__(
        self, episodes: Sequence[Episode], machine: Machine, num_allowed: Callable[[int, int], int], batch: int
    ) -> None:
        self._episodes, self._machine, self._num_allowed, self._batch = episodes, machine, num_allowed, batch
        self._workers = [_Worker() for _ in range(machine.workers)]
        self._free = [(0, index) for index in range(machine.workers)]
        """Heap of workers by the places that were taken when they were put there; entries may be out of date."""
        self._worker_of: dict[int, int] = {}
        self._turn = [0] * len(episodes)
        self._waiting = deque(range(len(episodes)))
        self._events: list[tuple[float, int, str, int, int]] = []
        self._num_events = self._num_ended = self._begun = self._done = 0
        self._now, self._is_learning, self._is_stopped = 0.0, False, False

    def to_end(self) -> float:
        """Seconds until the last update is handed over."""
        self._begin_episodes()
        while self._events:
            self._now, _, kind, subject, version = heapq.heappop(self._events)
            match kind:
                case "decoded":
                    if self._workers[subject].version == version:
                        self._end_turns(subject)
                case "answered":
                    self._decode(subject)
                case "learned":
                    self._stop_workers()
                case "handed over":
                    self._hand_over()
        assert self._done * self._batch == len(self._episodes)
        return self._now

    def _plan(self, after_s: float, kind: str, subject: int = 0, version: int = 0) -> None:
        self._num_events += 1  # equal times: in the order in which they were planned
        heapq.heappush(self._events, (self._now + after_s, self._num_events, kind, subject, version))

    def _begin_episodes(self) -> None:
        allowed = self._num_allowed(self._begun, self._done)
        while self._waiting and self._waiting[0] < allowed and (index := self._emptiest()) is not None:
            episode = self._waiting.popleft()
            self._worker_of[episode] = index
            self._take_places(index, 1)
            self._decode(episode)

    def _emptiest(self) -> int | None:
        while self._free:
            num_taken, index = self._free[0]
            if num_taken == self._workers[index].num_taken < self._machine.places:
                return index
            heapq.heappop(self._free)
        return None

    def _take_places(self, index: int, change: int) -> None:
        self._workers[index].num_taken += change
        heapq.heappush(self._free, (self._workers[index].num_taken, index))

    def _decode(self, episode: int) -> None:
        index = self._worker_of[episode]
        worker = self._bring_up(index)
        tokens = self._episodes[episode].tokens[self._turn[episode]]
        heapq.heappush(worker.decoding, (worker.clock + tokens, episode))
        self._plan_worker(index)

    def _end_turns(self, index: int) -> None:
        worker = self._bring_up(index)
        worker.clock = worker.decoding[0][0]  # what the event was for, without the rounding of time
        while worker.decoding and worker.decoding[0][0] <= worker.clock:
            _, episode = heapq.heappop(worker.decoding)
            wait_s = self._episodes[episode].waits_s[self._turn[episode]]
            self._turn[episode] += 1
            if self._turn[episode] < len(self._episodes[episode].tokens):
                self._plan(wait_s, "answered", episode)
            else:
                self._take_places(index, -1)
                self._num_ended += 1
        self._plan_worker(index)
        self._learn()
        self._begin_episodes()

    def _bring_up(self, index: int) -> _Worker:
        """The worker with its clock as of now."""
        worker = self._workers[index]
        if worker.decoding and not self._is_stopped:
            worker.clock += (self._now - worker.at) / self._machine.step_s(len(worker.decoding))
        worker.at = self._now
        return worker

    def _plan_worker(self, index: int) -> None:
        worker = self._workers[index]
        worker.version += 1
        if worker.decoding and not self._is_stopped:
            steps = max(0.0, worker.decoding[0][0] - worker.clock)
            self._plan(steps * self._machine.step_s(len(worker.decoding)), "decoded", index, worker.version)

    def _learn(self) -> None:
        if not self._is_learning and self._num_ended >= (self._begun + 1) * self._batch:
            self._is_learning, self._begun = True, self._begun + 1
            self._plan(self._machine.learn_s, "learned")

    def _stop_workers(self) -> None:
        for index in range(len(self._workers)):
            self._bring_up(index)
        self._is_stopped = True
        for index in range(len(self._workers)):
            self._plan_worker(index)
        self._plan(self._machine.handover_s, "handed over")

    def _hand_over(self) -> None:
        for worker in self._workers:
            worker.at = self._now
        self._is_learning = self._is_stopped = False
        self._done += 1
        for index in range(len(self._workers)):
            self._plan_worker(index)
        self._learn()
        self._begin_episodes()


def draw_episodes(
    rng: np.random.Generator,
    count: int,
    *,
    median: float,
    sigma: float,
    longest: int,
    turns: int,
    tool_median_s: float,
    tool_p99_s: float,
) -> list[Episode]:
    """Episodes whose sampled tokens are log-normal, cut off at `longest`, in turns of equal length."""
    totals = np.clip(median * np.exp(sigma * rng.standard_normal(count)), turns, longest).astype(int)
    spread = math.log(tool_p99_s / tool_median_s) / _Z99 if tool_median_s > 0 else 0.0
    waits = tool_median_s * np.exp(spread * rng.standard_normal((count, turns))) + FRAMEWORK_S
    cuts = [[total * (turn + 1) // turns - total * turn // turns for turn in range(turns)] for total in totals.tolist()]
    return [Episode(tuple(cut), tuple(row)) for cut, row in zip(cuts, waits.tolist(), strict=True)]


def study(options: argparse.Namespace, *, workers: int, sigma: float) -> dict[str, float]:
    """Efficiency of each mode, on the same episodes."""
    batch = options.batch_a_worker * workers or options.batch
    episodes = draw_episodes(
        np.random.default_rng((options.seed, round(1000 * sigma))),
        batch * options.updates,
        median=options.median_tokens,
        sigma=sigma,
        longest=options.max_tokens,
        turns=options.turns,
        tool_median_s=options.tool_ms / 1000,
        tool_p99_s=options.tool_p99_ms / 1000,
    )
    machine = Machine(
        workers=workers,
        places=options.places,
        decode_s=options.decode_ms / 1000,
        decode_s_an_episode=options.decode_ms_an_episode / 1000,
        learn_s=options.learn_s,
        handover_s=options.handover_s,
    )
    results = {
        mode: simulate(episodes, machine, mode, batch=batch, max_staleness=options.max_staleness) for mode in MODES
    }
    return {mode: round(result["efficiency"], 4) for mode, result in results.items()}


def draw_plot(path: Path, by_workers: dict[str, Any], by_sigma: dict[str, Any], options: argparse.Namespace) -> None:
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams["svg.hashsalt"] = "llmgym"  # the same plot is the same file
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, table, label in (
        (left, by_workers, f"workers of {options.places} places (sigma {options.sigma:g})"),
        (right, by_sigma, f"sigma of log-lengths ({options.tail_workers} workers)"),
    ):
        for mode in MODES:
            axes.plot(list(map(float, table)), [table[each][mode] for each in table], marker="o", label=mode)
        axes.set(xlabel=label, ylim=(0, 1))
        axes.grid(alpha=0.3)
    left.set_xscale("log", base=2)
    left.set_ylabel("rollout efficiency")
    left.legend()
    batch = f"{options.batch_a_worker} x workers" if options.batch_a_worker else str(options.batch)
    figure.suptitle(f"batches of {batch} episodes; simulated", fontsize=10)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--workers", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64], help="numbers of workers")
    add("--places", type=int, default=32, help="episodes of a worker at once")
    add("--batch", type=int, default=512, help="episodes of an update")
    add("--batch-a-worker", type=int, default=0, help="times the workers instead, so that the batch grows with them")
    add("--updates", type=int, default=12)
    add("--max-staleness", type=int, default=1, help="of the asynchronous mode")
    add("--median-tokens", type=float, default=600, help="sampled tokens of an episode")
    add("--sigma", type=float, default=0.8, help="of the logarithm of these: 0 makes all equal")
    add("--sigmas", type=float, nargs="+", default=[0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2], help="for the second plot")
    add("--tail-workers", type=int, default=8, help="workers of the second plot")
    add("--max-tokens", type=int, default=8192, help="longest episode")
    add("--turns", type=int, default=4)
    add("--tool-ms", type=float, default=1000 * TOOL_MEDIAN_S, help="median time of an environment's answer")
    add("--tool-p99-ms", type=float, default=1000 * TOOL_P99_S)
    add("--decode-ms", type=float, default=8.0, help="of a step of decoding, at least (assumed)")
    add("--decode-ms-an-episode", type=float, default=0.05, help="more, for each episode that decodes (assumed)")
    add("--learn-s", type=float, default=10.0, help="of an update (assumed)")
    add("--handover-s", type=float, default=1.0, help="for which workers stop for new weights (assumed)")
    add("--seed", type=int, default=0)
    add("--plot", type=Path, help="file for the plot, such as plot.svg")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    by_workers = {str(count): study(options, workers=count, sigma=options.sigma) for count in options.workers}
    by_sigma = {f"{sigma:g}": study(options, workers=options.tail_workers, sigma=sigma) for sigma in options.sigmas}
    settings = {name: value for name, value in vars(options).items() if name != "plot"}
    print(
        json.dumps(
            {
                "benchmark": "simulate_rollouts",
                "is_simulated": True,
                "efficiency_by_workers": by_workers,
                "efficiency_by_sigma": by_sigma,
                "settings": settings,
            }
        )
    )
    if options.plot is not None:
        draw_plot(options.plot, by_workers, by_sigma, options)


if __name__ == "__main__":
    main()
