"""Kills a run again and again while it goes on, and tells where what it left differs from an undisturbed run's.

    python resume_run.py FOLDER AGENT NUM_KILLS

Each attempt is a fork of this process, which has imported everything, so most of its time is the run's own.
"""

import gzip
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import string
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import llmgym
from llmgym.cli.runs import resume, train
from llmgym.training import RunProgress

FORK = multiprocessing.get_context("fork")


class DigitsEnv(llmgym.MessageEnv):
    """Two turns: says a random number, then pays for the share of digits, so that any policy has something to learn."""

    default_limits = llmgym.Limits(turns=2, turn_tokens=8, episode_tokens=16, context_tokens=128)

    def tasks(self, split: str) -> llmgym.TaskSource:
        return llmgym.FiniteTasks([llmgym.Task(key=f"{split}{n}", prompt=f"{split} {n}") for n in range(7)])

    def reset(self, task: llmgym.Task, rng: np.random.Generator) -> llmgym.InitialMessages:
        self.rng, self.said = rng, ""
        return llmgym.InitialMessages((llmgym.Message("user", task.prompt),))

    def step(self, message: llmgym.AssistantMessage) -> llmgym.EnvResponse:
        is_first, self.said = not self.said, self.said + message.content + "."
        if is_first:
            return llmgym.EnvResponse(messages=(llmgym.Message("user", str(self.rng.integers(100))),))
        share = sum(character.isdigit() for character in self.said) / len(self.said)
        return llmgym.EnvResponse(score=llmgym.Score(reward=share), terminated=True)


llmgym.register_env("test/Digits-v0", DigitsEnv)


def begin(folder: Path, agent: str) -> None:
    """A short run, in which the agent `NAME+lora` trains an adapter; each step writes a checkpoint."""
    name, _, adapter = agent.partition("+")
    train(
        env="test/Digits-v0",
        # A model made from nothing hardly ever ends a turn by itself.
        env_kwargs={"stop_strings": [*string.digits, *string.ascii_lowercase]},
        agent={"name": name, **({} if name == "ppo" else {"group_size": 4})},
        steps=12,
        threads=1,
        model={"tiny": {"hidden_size": 32, "num_layers": 1, "num_heads": 1}},
        rollout={"tasks_per_step": 4},
        learner={"learning_rate": 3e-2, "lora": {"r": 4}} if adapter else {"learning_rate": 3e-3},
        evaluation={"every": 4, "num_tasks": 4},
        checkpoint={"every": 1, "keep": 2},
        trackers=[],
        output=str(folder),
        progress=RunProgress(quiet=True),
    )


def attempt(folder: Path, agent: str) -> None:
    """Begin, or go on where there is something to go on with."""
    if (folder / "config.toml").is_file():
        resume(folder, progress=RunProgress(quiet=True))
    else:  # it was killed before it had a name
        shutil.rmtree(folder, ignore_errors=True)
        begin(folder, agent)


def left_behind(folder: Path) -> dict[str, Any]:
    """What a run wrote, but for the times in it."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    left: dict[str, Any] = {
        f"metrics {index}": {name: value for name, value in row.items() if "second" not in name}
        for index, row in enumerate(rows)
    }
    for path in sorted([*folder.glob("trajectories/*"), *folder.glob("held_out/*")]):
        left[str(path.relative_to(folder))] = re.sub(rb'"seconds": [0-9.e-]+', b"", gzip.decompress(path.read_bytes()))
    for path in folder.glob("*/*.safetensors"):
        left[str(path.relative_to(folder))] = path.read_bytes()
    return left


def main(folder: Path, agent: str, num_kills: int) -> None:
    """Print how often the run was killed, and what differs."""
    whole, killed, rng = folder / "whole", folder / "killed", random.Random(agent)
    started = time.monotonic()
    process = FORK.Process(target=begin, args=(whole, agent))
    process.start()
    process.join()
    seconds, kills, patience, newest = time.monotonic() - started, 0, 0.1, ""
    while not (killed / "run.json").is_file():
        process = FORK.Process(target=attempt, args=(killed, agent))
        process.start()
        process.join(rng.uniform(0.02, patience) * seconds if kills < num_kills else None)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            kills += 1
            former, newest = newest, max((path.name for path in killed.glob("checkpoints/step-*")), default="")
            patience = max(0.03, patience / 2) if newest > former else patience + 0.05  # about a step at a time
        elif process.exitcode:
            raise SystemExit(f"an attempt failed with {process.exitcode}")
    one, two = left_behind(whole), left_behind(killed)
    different = sorted(name for name in one.keys() | two.keys() if one.get(name) != two.get(name))
    num_steps = sum(row.get("num_optimizer_steps", 0) for name, row in one.items() if name.startswith("metrics"))
    told = {"kills": kills, "different": different, "num_compared": len(one), "num_optimizer_steps": num_steps}
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
