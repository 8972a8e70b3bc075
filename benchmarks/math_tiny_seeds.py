"""The recipe `math-tiny` over independent seeds (model, data and sampling): one JSON line.

python benchmarks/math_tiny_seeds.py --seeds 3
"""

import argparse
import json
import platform
import tempfile
import time

import torch

from llmgym.cli.runs import run_file
from llmgym.evaluation import Evaluation
from llmgym.training import RunProgress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("overrides", nargs="*", metavar="name=value", help="settings to change in the recipe")
    arguments = parser.parse_args()

    rows = [run_one(seed, arguments.overrides) for seed in range(arguments.seeds)]
    what = {"machine": f"{platform.machine()} CPU, {torch.get_num_threads()} threads, torch {torch.__version__}"}
    print(json.dumps({"benchmark": "math_tiny_seeds", "overrides": arguments.overrides, **what, "seeds": rows}))


def run_one(seed: int, overrides: list[str]) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        started, cpu_started = time.perf_counter(), time.process_time()
        overrides = [*overrides, f"seed={seed}", f'output="{folder}/run"']
        result = run_file("math-tiny", overrides, progress=RunProgress(quiet=True))
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    before, after = result.before["sampled"], result.after["sampled"]
    figures = {
        "well_formed": mean_part(before, "format"),
        "sampled_before": before.success.value,
        "sampled_after": after.success.value,
        "greedy_before": result.before["greedy"].success.value,
        "greedy_after": result.after["greedy"].success.value,
        "worked_before": worked_share(before),
        "worked_after": worked_share(after),
        "right_where_worked_before": right_where_worked(before),
        "right_where_worked_after": right_where_worked(after),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
    }
    return {name: round(value, 3) for name, value in figures.items()}


def mean_part(evaluation: Evaluation, name: str) -> float:
    """Mean of a part of the score; an answer that was cut before it was scored counts as 0."""
    scores = [trajectory.turns[-1].score for trajectory in evaluation.valid]
    return sum(score.parts[name] for score in scores if score is not None) / len(scores)


def worked_share(evaluation: Evaluation) -> float:
    """Share of answers that work the sum out, and do not answer at once."""
    return sum("\n" in trajectory.turns[-1].message.content for trajectory in evaluation.valid) / len(evaluation.valid)


def right_where_worked(evaluation: Evaluation) -> float:
    """Share of right answers among those that work the sum out."""
    worked = [trajectory for trajectory in evaluation.valid if "\n" in trajectory.turns[-1].message.content]
    return sum(map(evaluation.is_success, worked)) / max(1, len(worked))


if __name__ == "__main__":
    main()
