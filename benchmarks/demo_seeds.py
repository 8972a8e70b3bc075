"""The demo over several independent seeds (model, data and sampling): one JSON line, and a table in Markdown.

python benchmarks/demo_seeds.py --seeds 5 --table benchmarks/results/demo_seeds.md
"""

import argparse
import json
import platform
import shlex
import tempfile
import time
from pathlib import Path

import torch

from llmgym.cli.runs import run_file
from llmgym.training import RunProgress
from llmgym.training.metrics import read_metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="demo")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--table", type=Path, help="write the table to this file too")
    parser.add_argument("overrides", nargs="*", metavar="name=value", help="settings to change in the recipe")
    arguments = parser.parse_args()

    rows = [run_one(arguments.recipe, seed, arguments.overrides) for seed in range(arguments.seeds)]
    keys = ("before", "after", "lowest_after_090", "samples_to_090", "greedy_before", "greedy_after", "seconds")
    lines = ["| seed | " + " | ".join(keys) + " |", "|" + "---|" * (1 + len(keys))]
    lines += [f"| {seed} | " + " | ".join(str(row[key]) for key in keys) + " |" for seed, row in enumerate(rows)]
    if arguments.table:
        given = shlex.join(["--recipe", arguments.recipe, "--seeds", str(arguments.seeds), *arguments.overrides])
        command = f"`python benchmarks/demo_seeds.py {given}`"
        arguments.table.write_text("\n".join([HEADER.format(command=command, machine=machine()), *lines, ""]))
    what = {"recipe": arguments.recipe, "overrides": arguments.overrides, "machine": machine()}
    print(json.dumps({"benchmark": "demo_seeds", **what, "seeds": rows}))


HEADER = """# The demo over independent seeds

{command}, {machine}.

Success on 500 held-out tasks, sampled at temperature 1 unless greedy: after the cold start, at the last evaluation, and
at its lowest evaluation after the first of at least 0.90 (a fall-back would show there). Seconds are wall time from an
empty folder to the report, one thread; compare them with nothing but each other.
"""


def machine() -> str:
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads, torch {torch.__version__}"


def run_one(recipe: str, seed: int, overrides: list[str]) -> dict[str, float | None]:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run_file(recipe, [*overrides, f"seed={seed}", f'output="{folder}/run"'], progress=RunProgress(quiet=True))
        seconds = time.perf_counter() - started
        metrics = Path(folder) / "run" / "metrics.jsonl"
        samples_at = {0: 0} | {row["step"]: row["num_samples"] for row in read_metrics(metrics, "train")}
        rows = read_metrics(metrics, "evaluation")
    sampled = [(samples_at[row["step"]], row["success"]) for row in rows if row["decoding"] == "sampled"]
    greedy = [row["success"] for row in rows if row["decoding"] == "greedy"]
    reached = [index for index, (_, success) in enumerate(sampled) if success >= 0.9]
    return {
        "before": sampled[0][1],
        "after": sampled[-1][1],
        "lowest_after_090": min(success for _, success in sampled[reached[0] :]) if reached else None,
        "samples_to_090": sampled[reached[0]][0] if reached else None,
        "greedy_before": greedy[0],
        "greedy_after": greedy[-1],
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    main()
