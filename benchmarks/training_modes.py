"""Each training mode on a task: held-out success.

    python benchmarks/training_modes.py

makes the demo's cold start for each of 3 seeds and goes on from it in each mode, into runs/training_modes/: success,
and the time that overlap saves. It writes benchmarks/results/training_modes.md.

    python benchmarks/training_modes.py --short

learns to give short answers, from nothing, at a learning rate that is nearly too high, with importance weights clipped
as by default and truncated: which modes collapse. It writes benchmarks/results/training_modes_short.md.

Both print one JSON line. A run that is there already is not made again.
"""

import argparse
import json
import math
import platform
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import llmgym
from llmgym.cli.runs import run_file
from llmgym.messages import AssistantMessage
from llmgym.scoring import Score
from llmgym.training import RunProgress, load_config
from llmgym.training.config import plain
from llmgym.training.metrics import read_metrics

MODES: Mapping[str, Mapping[str, Any]] = {
    "synchronous": {},
    "one-step-off": {"mode": "one-step-off"},
    "asynchronous, 1": {"mode": "asynchronous", "max_staleness": 1},
    "asynchronous, 4": {"mode": "asynchronous", "max_staleness": 4},
}
"""By what the table calls them; the number is `max_staleness`."""
QUIET = RunProgress(quiet=True)

HEADER = """# The demo's task in each training mode

`{command}`, {machine}.

Each seed has one cold start, and goes on from it in each mode for {steps} steps of 128 samples. Success is on {tasks}
held-out tasks, sampled at temperature 1. Staleness is in updates, the mean over the last half of the steps. "seconds"
is wall time of all training steps, without evaluations; "time_saved" is the share of it that a mode saves against the
synchronous run of its seed. Learner and sampler share the cores of one machine here, with whatever else it does, so
times say nothing about a machine of one's own; they are given, and not asserted.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--tasks", type=int, default=500, help="held-out tasks")
    parser.add_argument("--runs", type=Path, default=Path("runs/training_modes"), help="folder of the run folders")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--short", action="store_true", help="the task of short answers instead")
    arguments = parser.parse_args()
    if arguments.short:
        compare_on_short_answers(arguments.seeds, arguments.steps, arguments.tasks, arguments.runs, arguments.results)
        return

    rows: dict[str, list[dict[str, float]]] = {mode: [] for mode in MODES}
    for seed in range(arguments.seeds):
        start = cold_start(arguments.runs / f"start-{seed}", seed)
        for mode in MODES:
            folder = arguments.runs / f"{mode.replace(', ', '-')}-{seed}"
            rows[mode].append(figures(run_one(folder, start, mode, seed, arguments.steps, arguments.tasks)))
        for mode in MODES:
            before, now = rows["synchronous"][seed]["seconds"], rows[mode][seed]["seconds"]
            rows[mode][seed]["time_saved"] = round(1 - now / before, 3)
    command = f"python benchmarks/training_modes.py --seeds {arguments.seeds} --steps {arguments.steps}"
    machine = f"{platform.machine()} CPU, one thread for each of learner and sampler, torch {torch.__version__}"
    header = HEADER.format(command=command, machine=machine, steps=arguments.steps, tasks=arguments.tasks)
    arguments.results.mkdir(parents=True, exist_ok=True)
    (arguments.results / "training_modes.md").write_text("\n".join([header, *table(rows), ""]))
    print(json.dumps({"benchmark": "training_modes", "machine": machine, "steps": arguments.steps, "modes": rows}))


def cold_start(folder: Path, seed: int) -> Path:
    """The demo's cold start alone; the folder of its model."""
    if not (folder / "run.json").is_file():
        changes = ["steps=0", "evaluation.num_tasks=8", f"seed={seed}", f"output={json.dumps(str(folder))}"]
        run_file("demo", changes, progress=QUIET)
    return folder / "model"


def run_one(folder: Path, start: Path, mode: str, seed: int, steps: int, num_tasks: int) -> Path:
    """The demo from a cold start on, in one mode."""
    if not (folder / "run.json").is_file():
        demo = plain(load_config(start.parent / "config.toml"))
        changed = {"cold_start", "model", "steps", "evaluation", "output", "training", "env", "seed"}
        kept = {name: value for name, value in demo.items() if name not in changed}
        llmgym.train(
            **kept,
            env=demo["env"]["id"],
            env_kwargs=demo["env"]["kwargs"],
            model=str(start),
            steps=steps,
            seed=seed,
            evaluation={"every": steps, "num_tasks": num_tasks},
            training=MODES[mode],
            output=str(folder),
            progress=QUIET,
        )
    return folder


def figures(folder: Path) -> dict[str, float]:
    log = folder / "metrics.jsonl"
    before, after = [row["success"] for row in read_metrics(log, "evaluation") if row["decoding"] == "sampled"]
    train = read_metrics(log, "train")
    late = train[len(train) // 2 :]
    return {
        "before": before,
        "after": after,
        "samples": train[-1]["num_samples"],
        "staleness_mean": round(statistics.mean(row.get("staleness_mean", 0.0) for row in late), 2),
        "staleness_max": max(row.get("staleness_max", 0.0) for row in train),
        "dropped_stale": sum(row.get("num_dropped_stale", 0) for row in train),
        "in_flight_updates": sum(row.get("num_in_flight_updates", 0) for row in train),
        "correction_cut_share": round(statistics.mean(row.get("correction_cut_share", 0.0) for row in train), 4),
        "seconds": round(sum(row["seconds"] for row in train), 1),
    }


class ShortAnswerEnv(llmgym.MessageEnv):
    """Pays for answers of two to four characters, which an untrained model hardly ever gives."""

    default_limits = llmgym.Limits(turns=1, turn_tokens=8, episode_tokens=8, context_tokens=64)

    def tasks(self, split: str) -> llmgym.TaskSource:
        return llmgym.FiniteTasks([llmgym.Task(key=f"{split}{n}", prompt=f"{n}") for n in range(100)])

    def reset(self, task: llmgym.Task, rng: np.random.Generator) -> llmgym.InitialMessages:  # noqa: ARG002
        return llmgym.InitialMessages((llmgym.Message("user", task.prompt),))

    def step(self, message: AssistantMessage) -> llmgym.EnvResponse:
        return llmgym.EnvResponse(score=Score(reward=float(2 <= len(message.text) <= 4)), terminated=True)


llmgym.register_env("benchmark/ShortAnswer-v0", ShortAnswerEnv)

TRUNCATED = {"action": "truncate", "low": 0.0, "high": 2.0}
SHORT_RUNS: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any] | None]] = {
    "synchronous": ({}, None),
    **{
        f"{mode}, {'clipped' if correction is None else 'truncated'}": (training, correction)
        for mode, training in {
            "one-step-off": {"mode": "one-step-off"},
            "asynchronous 2": {"mode": "asynchronous", "max_staleness": 2},
            "asynchronous 4": {"mode": "asynchronous", "max_staleness": 4},
        }.items()
        for correction in (None, TRUNCATED)
    },
}
"""Mode and correction, by what the table calls them; the number is `max_staleness`."""

SHORT_HEADER = """# Short answers in each training mode, at a learning rate that is nearly too high

`{command}`, {machine}.

A Llama of hidden size 64 and 2 layers learns from nothing, by GRPO (8 groups of 8), to answer in 2 to 4 characters; the
learning rate is 2e-3, and constant. Importance weights are "clipped" to 0.8 to 1.2 (the default of these modes), or
"truncated" at 2. "after" is success on {tasks} tasks after {steps} steps, sampled at temperature 1; "lowest" the
lowest mean training success over 5 steps since it was above 0.9 first, at "step_of_90". A run "fell_short" where
"after" is below 0.85.
"""


def compare_on_short_answers(num_seeds: int, steps: int, num_tasks: int, runs: Path, results: Path) -> None:
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in SHORT_RUNS}
    for seed in range(num_seeds):
        for name, (training, correction) in SHORT_RUNS.items():
            folder = runs / f"short-{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            if not (folder / "run.json").is_file():
                llmgym.train(
                    env="benchmark/ShortAnswer-v0",
                    agent={"name": "grpo", "group_size": 8},
                    model={"tiny": {"hidden_size": 64, "num_layers": 2, "num_heads": 2}},
                    learner={"learning_rate": 2e-3} | ({} if correction is None else {"correction": correction}),
                    rollout={"tasks_per_step": 8},
                    evaluation={"every": steps, "num_tasks": num_tasks},
                    checkpoint={"every": steps},
                    training=training,
                    steps=steps,
                    seed=seed,
                    threads=1,
                    trackers=[],
                    output=str(folder),
                    progress=QUIET,
                )
            rows[name].append(short_figures(folder))
    command = f"python benchmarks/training_modes.py --short --seeds {num_seeds} --steps {steps} --tasks {num_tasks}"
    machine = f"{platform.machine()} CPU, torch {torch.__version__}"
    header = SHORT_HEADER.format(command=command, machine=machine, steps=steps, tasks=num_tasks)
    results.mkdir(parents=True, exist_ok=True)
    (results / "training_modes_short.md").write_text("\n".join([header, *table(rows), ""]))
    line = json.dumps({"benchmark": "training_modes_short", "machine": machine, "steps": steps, "modes": rows})
    print(line.replace("NaN", "null"))


def short_figures(folder: Path) -> dict[str, float]:
    log = folder / "metrics.jsonl"
    after = [row["success"] for row in read_metrics(log, "evaluation") if row["decoding"] == "sampled"][-1]
    train = read_metrics(log, "train")
    success = np.convolve([row["reward"] for row in train], np.full(5, 0.2), mode="valid")
    is_solved = success > 0.9
    first = int(np.argmax(is_solved)) if is_solved.any() else len(success)
    return {
        "after": after,
        "fell_short": float(after < 0.85),
        "step_of_90": first + 5 if is_solved.any() else math.nan,
        "lowest": round(float(success[first:].min()), 3) if is_solved.any() else math.nan,
        "staleness_mean": round(statistics.mean(row.get("staleness_mean", 0.0) for row in train), 2),
        "sampler_kl_max": round(max(row.get("sampler_kl", 0.0) for row in train), 3),
        "correction_cut_share": round(statistics.mean(row.get("correction_cut_share", 0.0) for row in train), 4),
    }


def table(rows: Mapping[str, list[dict[str, float]]]) -> list[str]:
    names = list(next(iter(rows.values()))[0])
    lines = [["mode", "seed", *names]]
    for mode, found in rows.items():
        lines += [[mode, str(seed), *(f"{row[name]:g}" for name in names)] for seed, row in enumerate(found)]
    for mode, found in rows.items():
        lines.append([mode, "mean", *(f"{statistics.fmean(row[name] for row in found):.3g}" for name in names)])
    head, *body = ["| " + " | ".join(line) + " |" for line in lines]
    return [head, "|" + "---|" * len(lines[0]), *body]


if __name__ == "__main__":
    main()
