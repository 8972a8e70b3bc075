"""Where the time of a GRPO step goes on the tiny model: shares of sampling, environment, learning and all else.

    python benchmarks/grpo_step_shares.py

One JSON line. Shares of one run's wall time, so they may be compared with each other; the model is trained a little
first, because the length of its turns decides what a step costs.
"""

import json
import statistics
import tempfile
from pathlib import Path

from llmgym.cli.runs import run_file
from llmgym.training import RunProgress
from llmgym.training.metrics import read_metrics

PARTS = ("sampling", "env", "learning")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        overrides = ["cold_start.steps=300", "steps=20", "evaluation.num_tasks=50", "evaluation.every=20"]
        run_file("demo", [*overrides, f'output="{folder}/run"'], progress=RunProgress(quiet=True))
        steps = read_metrics(Path(folder) / "run" / "metrics.jsonl", "train")[2:]  # the first ones warm up
    shares = {part: statistics.median(s[f"seconds_{part}"] / s["seconds"] for s in steps) for part in PARTS}
    shares["everything_else"] = statistics.median(
        1 - sum(s[f"seconds_{part}"] for part in PARTS) / s["seconds"] for s in steps
    )
    milliseconds = 1000 * statistics.median(step["seconds"] for step in steps)
    print(
        json.dumps(
            {
                "benchmark": "grpo_step_shares",
                "shares": {part: round(share, 4) for part, share in shares.items()},
                "milliseconds": round(milliseconds, 1),
                "trajectories": steps[0]["num_trajectories"],
                "action_tokens": statistics.median(step["num_action_tokens"] for step in steps),
            }
        )
    )


if __name__ == "__main__":
    main()
