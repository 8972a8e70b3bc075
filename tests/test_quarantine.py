"""What keeps failing for reasons of its own is replaced, left out, or ends the run; it is never learned from."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import llmgym
from llmgym.errors import ConfigError, InfrastructureError
from llmgym.rollout import collect
from llmgym.sampling import ScriptedSampler
from llmgym.training import RunProgress

QUIET = RunProgress(quiet=True)
BYTES = llmgym.ByteTokenizer()


class FragileEnv(llmgym.MessageEnv):
    """Breaks for good, on the task train1 or whatever the task; `closes` tells how often one was closed."""

    closes: Counter[str] = Counter()  # noqa: RUF012
    made = 0

    def __init__(self, *, breaks_on: str = "train1") -> None:
        self.is_broken, self.breaks_on = False, breaks_on
        FragileEnv.made += 1

    def tasks(self, split: str) -> llmgym.TaskSource:
        return llmgym.FiniteTasks([llmgym.Task(key=f"{split}{n}", prompt=f"task {n}") for n in range(6)])

    def reset(self, task: llmgym.Task, rng: np.random.Generator) -> llmgym.InitialMessages:
        self.is_broken |= self.breaks_on in task.key
        if self.is_broken:
            raise OSError("the worker is gone")
        return llmgym.InitialMessages((llmgym.Message("user", task.prompt),))

    def step(self, message: llmgym.AssistantMessage) -> llmgym.EnvResponse:
        return llmgym.EnvResponse(score=llmgym.Score(reward=float(len(message.content) % 2)), terminated=True)

    def close(self) -> None:
        FragileEnv.closes["closed"] += 1
        if self.is_broken:
            raise OSError("it cannot even be closed")


llmgym.register_env("test-quarantine/Fragile-v0", FragileEnv)

RUN: dict[str, Any] = {
    "model": {"tiny": {"hidden_size": 32, "num_layers": 1, "num_heads": 1}},
    "agent": {"name": "grpo", "group_size": 2},
    "rollout": {"tasks_per_step": 4, "retries": 0},
    "evaluation": {"every": 9, "num_tasks": 2},
    "trackers": [],
    "threads": 1,
    "progress": QUIET,
}
LIMITS = {"limits": {"turn_tokens": 4, "episode_tokens": 4, "context_tokens": 64}}
FINE = {"id": "llmgym/Copy-v0", "name": "fine", "kwargs": LIMITS}
BROKEN = {"id": "test-quarantine/Fragile-v0", "name": "broken", "kwargs": {**LIMITS, "breaks_on": "train"}}


def test_an_environment_that_broke_for_good_spoils_only_the_episodes_that_it_played() -> None:
    says_x = ScriptedSampler(lambda prompt, params, rng: [*BYTES.encode("x"), BYTES.eos_id])
    FragileEnv.made, FragileEnv.closes["closed"] = 0, 0

    trajectories = collect("test-quarantine/Fragile-v0", says_x, num_tasks=6, concurrency=1)

    assert [trajectory.is_valid for trajectory in trajectories] == [True, False, True, True, True, True]
    assert (FragileEnv.made, FragileEnv.closes["closed"]) == (2, 2)


def test_an_environment_that_keeps_failing_is_left_out_and_the_run_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    result = llmgym.train(env=[FINE, BROKEN], quarantine={"after": 6}, steps=4, output=str(folder), **RUN)

    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    told = [(row["step"], row["env"]) for row in rows if row["phase"] == "quarantine"]
    counts = [row.get("env/broken/num_episodes", 0) for row in rows if row["phase"] == "train"]
    num_replaced = [row["num_replaced_envs"] for row in rows if row["phase"] == "train"]
    assert result.is_complete
    assert num_replaced[0] > 0 == num_replaced[-1]
    assert told == [(2, "broken")]
    assert counts == [4, 4, 0, 0]


@pytest.mark.parametrize(
    ("envs", "action", "reason"),
    [([FINE, BROKEN], "stop", "Mend it"), ([BROKEN], "leave_out", "No other environment is left")],
)
def test_a_run_stops_where_it_is_told_to_or_nothing_is_left(
    tmp_path: Path, envs: list[Any], action: str, reason: str
) -> None:
    with pytest.raises(InfrastructureError, match=rf"of broken in a row failed.*the worker is gone.*{reason}"):
        llmgym.train(env=envs, quarantine={"after": 3, "action": action}, steps=4, output=str(tmp_path / "run"), **RUN)


@pytest.mark.parametrize("settings", [{"after": 0}, {"action": "ignore"}])
def test_settings_without_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="quarantine"):
        llmgym.train(env="llmgym/Copy-v0", quarantine=settings, steps=1, **RUN)
