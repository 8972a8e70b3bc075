"""The demo over independent seeds (model, data and sampling) with several agents: tables and a plot.

    python benchmarks/demo_seeds.py

trains 5 seeds of GRPO, RLOO, REINFORCE and PPO into runs/demo_seeds/, one after the other, and writes to
benchmarks/results/ a table for each agent, and demo_samples_to_090.{md,svg} for all. A run that is there already is
not made again. It prints one JSON line.
"""

import argparse
import json
import platform
import shlex
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from matplotlib import rcParams
from matplotlib.figure import Figure

from llmgym.cli.runs import run_file
from llmgym.training import RunProgress
from llmgym.training.metrics import read_metrics

ENOUGH = 0.90
SETTINGS: Mapping[str, Sequence[str]] = {
    "grpo": (),
    "rloo": ('agent={name="rloo"}',),
    "reinforce": ('agent={name="reinforce"}', "rollout.tasks_per_step=128"),
    "ppo": (
        'agent={name="ppo",vf_coef=0.5,lam=0.95}',
        "rollout.tasks_per_step=128",
        "learner.learning_rate=5e-4",
        'learner.critic={kind="model",learning_rate=2e-3,warmup_updates=5}',
    ),
}
"""What each agent changes in the recipe; batches are of 128 samples for all."""

Row = Mapping[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", nargs="+", default=list(SETTINGS), choices=list(SETTINGS), metavar="AGENT")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs", type=Path, default=Path("runs/demo_seeds"), help="folder of the run folders")
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"), help="folder of tables and plot")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings to change for all agents")
    arguments = parser.parse_args()

    folders = {
        agent: [run_one(arguments.runs, agent, seed, arguments.set) for seed in range(arguments.seeds)]
        for agent in arguments.agents
    }
    rows = {agent: [figures(folder) for folder in found] for agent, found in folders.items()}
    num_tasks = evaluations(next(iter(folders.values()))[0], "sampled")[0]["num_episodes"]
    arguments.results.mkdir(parents=True, exist_ok=True)
    given = ["--seeds", str(arguments.seeds), *(["--set", *arguments.set] if arguments.set else [])]
    for agent in rows:
        command = f"python benchmarks/demo_seeds.py {shlex.join(['--agents', agent, *given])}"
        name = "demo_seeds.md" if agent == "grpo" else f"demo_seeds_{agent}.md"
        (arguments.results / name).write_text(agent_table(agent, rows[agent], command, num_tasks))
    command = f"python benchmarks/demo_seeds.py {shlex.join(['--agents', *rows, *given])}"
    (arguments.results / "demo_samples_to_090.md").write_text(samples_table(rows, command, num_tasks))
    curves = {agent: [sampled_curve(folder) for folder in found] for agent, found in folders.items()}
    plot(curves, arguments.results / "demo_samples_to_090.svg")
    print(json.dumps({"benchmark": "demo_seeds", "set": arguments.set, "machine": machine(), "agents": rows}))


def machine() -> str:
    return f"{platform.machine()} CPU, one thread, torch {torch.__version__}"


def run_one(runs: Path, agent: str, seed: int, settings: Sequence[str]) -> Path:
    folder = runs / f"{agent}-{seed}"
    if not (folder / "run.json").is_file():
        own = [*SETTINGS[agent], "evaluation.every=2", *settings, f"seed={seed}", f"output={json.dumps(str(folder))}"]
        run_file("demo", own, progress=RunProgress(quiet=True))
    return folder


def evaluations(folder: Path, decoding: str) -> list[dict[str, Any]]:
    return [row for row in read_metrics(folder / "metrics.jsonl", "evaluation") if row["decoding"] == decoding]


def sampled_curve(folder: Path) -> list[tuple[int, float]]:
    """(samples, held-out success) at each evaluation."""
    samples_at = {0: 0} | {row["step"]: row["num_samples"] for row in read_metrics(folder / "metrics.jsonl", "train")}
    return [(samples_at[row["step"]], row["success"]) for row in evaluations(folder, "sampled")]


def figures(folder: Path) -> dict[str, Any]:
    sampled = sampled_curve(folder)
    greedy = [row["success"] for row in evaluations(folder, "greedy")]
    reached = [index for index, (_, success) in enumerate(sampled) if success >= ENOUGH]
    train = read_metrics(folder / "metrics.jsonl", "train")
    critic = [row["explained_variance"] for row in train if "explained_variance" in row]
    of_five = [statistics.mean(critic[start : start + 5]) for start in range(len(critic) - 4)]
    return {
        "before": sampled[0][1],
        "after": sampled[-1][1],
        "lowest_after_090": min(success for _, success in sampled[reached[0] :]) if reached else None,
        "samples_to_090": sampled[reached[0]][0] if reached else None,
        "greedy_before": greedy[0],
        "greedy_after": greedy[-1],
        "seconds": round(json.loads((folder / "run.json").read_text())["seconds"], 1),
        **({"explained_variance": round(max(of_five), 3)} if of_five else {}),
    }


AGENT_HEADER = """# The demo over independent seeds: {agent}

`{command}`{settings}, {machine}.

Success on {tasks} held-out tasks, sampled at temperature 1 unless greedy: after the cold start, at the last evaluation,
and at its lowest evaluation after the first of at least 0.90 (a fall-back would show there). Seconds are wall time from
an empty folder to its last file but the report; compare them with nothing but each other.{critic}
"""

CRITIC = """
The explained variance is the critic's before an update, the highest mean of five batches in a row."""

SAMPLES_HEADER = """# Samples to a held-out success of 0.90 on the demo

`{command}`, {machine}.

Episodes that the agent sampled until the first evaluation, of {tasks} held-out tasks at temperature 1, with a success
of at least 0.90; evaluated every second step, which is every 256 samples. All agents begin with the same cold start of
their seed, whose demonstrations are not counted. "after" is the success at the last evaluation.

![Held-out success against samples](demo_samples_to_090.svg)
"""


def agent_table(agent: str, rows: Sequence[Row], command: str, num_tasks: int) -> str:
    settings = f", which changes {' '.join(f'`{each}`' for each in SETTINGS[agent])}" if SETTINGS[agent] else ""
    critic = " The explained variance is the highest of any batch, before its update." * (
        "explained_variance" in rows[0]
    )
    about = {"agent": agent, "command": command, "settings": settings, "machine": machine(), "critic": critic}
    header = AGENT_HEADER.format(**about, tasks=num_tasks)
    table = [["seed", *rows[0]], *([str(seed), *map(str, row.values())] for seed, row in enumerate(rows))]
    return "\n".join([header, *markdown(table), ""])


def samples_table(rows: Mapping[str, Sequence[Row]], command: str, num_tasks: int) -> str:
    num_seeds = len(next(iter(rows.values())))
    table = [["agent", *(f"seed {seed}" for seed in range(num_seeds)), "median", "lowest after", "mean after"]]
    for agent, found in rows.items():
        samples, after = [row["samples_to_090"] for row in found], [row["after"] for row in found]
        # The upper of two in the middle, which was really seen; a seed that never gets there is the slowest.
        median = sorted(samples, key=lambda count: (count is None, count))[len(samples) // 2]
        shown = ["never" if count is None else f"{count:,}" for count in (*samples, median)]
        table.append([agent, *shown, f"{min(after):.3f}", f"{statistics.mean(after):.3f}"])
    return "\n".join([SAMPLES_HEADER.format(command=command, machine=machine(), tasks=num_tasks), *markdown(table), ""])


def markdown(table: Sequence[Sequence[str]]) -> list[str]:
    head, *body = ["| " + " | ".join(row) + " |" for row in table]
    return [head, "|" + "---|" * len(table[0]), *body]


def plot(curves: Mapping[str, Sequence[Sequence[tuple[int, float]]]], path: Path) -> None:
    """Held-out success against samples: each seed as a thin line, the mean of an agent's seeds as a thick one."""
    rcParams.update({"svg.hashsalt": "llmgym", "svg.fonttype": "none"})  # the same picture is the same small file
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for index, (agent, seeds) in enumerate(curves.items()):
        for curve in seeds:
            axes.plot(*zip(*curve, strict=True), color=f"C{index}", linewidth=0.6, alpha=0.5)
        means = [statistics.mean(success for _, success in points) for points in zip(*seeds, strict=True)]
        axes.plot([samples for samples, _ in seeds[0]], means, color=f"C{index}", linewidth=2, label=agent)
    axes.axhline(ENOUGH, color="0.4", linestyle="--", linewidth=0.8)
    axes.set(xlabel="samples", ylabel="held-out success, sampled", ylim=(0.3, 1.01), xlim=(0, None))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
