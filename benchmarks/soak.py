"""A long run in small: whether memory, file descriptors, threads, processes and temporary files stay flat.

    python benchmarks/soak.py [--steps 2000] [--every 100]

Trains the smallest model with a tool, and looks at this process after every so many steps. One JSON line: what was
there after the first tenth of the run, and after the last. Both are of the middle of a run, so they should be equal,
memory up to what the allocator keeps.
"""

import argparse
import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import llmgym
from llmgym.progress import RunProgress
from llmgym.registry import TRACKERS


def resources(temporary: Path) -> dict[str, float]:
    """What this process holds now."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return {
        "memory_mib": int(status["VmRSS"].split()[0]) / 1024,
        "file_descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "processes": len(children),
        "temporary_files": sum(len(files) for _, _, files in os.walk(temporary)),
    }


class Watch:
    """A tracker that looks at the process in the middle of the run."""

    def __init__(self, temporary: Path, every: int) -> None:
        self.temporary, self.every, self.seen = temporary, every, list[dict[str, float]]()

    def __call__(self, folder: Path, config: Any) -> "Watch":  # noqa: ARG002  as trackers are called
        return self

    def log(self, phase: str, step: int, metrics: Any) -> None:  # noqa: ARG002
        if phase == "train" and step % self.every == 0:
            self.seen.append({"step": step, **resources(self.temporary)})

    def close(self) -> None:
        """Nothing to close."""


def soak(steps: int, every: int) -> list[dict[str, float]]:
    """Run, and tell what was seen."""
    with tempfile.TemporaryDirectory() as outer:
        temporary = Path(outer, "tmp")
        temporary.mkdir()
        tempfile.tempdir = os.environ["TMPDIR"] = str(temporary)
        watch = Watch(temporary, every)
        TRACKERS.register("soak", watch)
        llmgym.train(
            env="llmgym/Calculator-v0",
            env_kwargs={"limits": {"turn_tokens": 8, "episode_tokens": 16, "context_tokens": 96}},
            model={"tiny": {"hidden_size": 32, "num_layers": 1, "num_heads": 1}},
            agent={"name": "grpo", "group_size": 2},
            cold_start={"num_demonstrations": 64, "steps": 30, "batch_size": 16, "learner": {"learning_rate": 4e-3}},
            rollout={"tasks_per_step": 2},
            evaluation={"every": every, "num_tasks": 2},
            checkpoint={"every": every},
            learner={"learning_rate": 1e-4},
            trackers=["soak"],
            steps=steps,
            threads=1,
            output=str(Path(outer, "run")),
            progress=RunProgress(quiet=True),
        )
    return watch.seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--every", type=int, default=100)
    options = parser.parse_args()
    seen = soak(options.steps, options.every)
    first = seen[max(0, len(seen) // 10 - 1)]
    print(json.dumps({"benchmark": "soak", "steps": options.steps, "first": first, "last": seen[-1]}))


if __name__ == "__main__":
    main()
