"""Runs one step off and asynchronous: how old samples are, that errors and signals end them, and what a run decides."""

import asyncio
import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.copy_run import COPY_RUN, QUIET

import llmgym
from llmgym.episode import Trajectory
from llmgym.errors import ConfigError, SamplerError
from llmgym.learning import BaseAgent, CorrectionConfig
from llmgym.rollout import load_trajectories
from llmgym.settings import from_mapping
from llmgym.training import RunConfig, Trainer
from llmgym.training.batch_source import Synchronous
from llmgym.training.metrics import read_metrics

RUN = {**COPY_RUN, "agent": {"name": "reinforce", "group_size": 2}}
ONE_STEP_OFF, ASYNCHRONOUS = {"mode": "one-step-off"}, {"mode": "asynchronous", "max_staleness": 2}


def train(folder: Path, training: dict[str, Any], **changes: Any) -> Any:
    return llmgym.train(**{**RUN, "steps": 4, "progress": QUIET, **changes}, training=training, output=str(folder))


def rows(folder: Path) -> list[dict[str, Any]]:
    return read_metrics(folder / "metrics.jsonl", "train")


def stored(folder: Path) -> list[list[Trajectory]]:
    return [list(load_trajectories(path)) for path in sorted((folder / "trajectories").glob("step-*"))]


# -- whole runs -------------------------------------------------------------------------------------------------------


def test_one_step_off_learns_from_tokens_that_are_one_update_old(tmp_path: Path) -> None:
    train(tmp_path, ONE_STEP_OFF)

    assert [(row["staleness_mean"], row["staleness_max"]) for row in rows(tmp_path)] == [(0, 0), (1, 1), (1, 1), (1, 1)]
    assert [row["num_samples"] for row in rows(tmp_path)] == [4, 8, 12, 16]
    assert all("correction_weight_mean" in row for row in rows(tmp_path))


@pytest.mark.parametrize("in_flight", [True, False])
def test_asynchronous_training_keeps_its_bound_and_learns_from_each_group_once(tmp_path: Path, in_flight: bool) -> None:
    train(tmp_path, {**ASYNCHRONOUS, "in_flight_updates": in_flight}, steps=6)

    steps = stored(tmp_path)
    assert max(row["staleness_max"] for row in rows(tmp_path)) <= 2
    groups = [trajectory.group_id for step in steps for trajectory in step]
    assert sorted(groups) == sorted(list(range(len(groups) // 2)) * 2)
    if not in_flight:
        assert all(len(set(s.weight_version[s.action_mask])) == 1 for step in steps for t in step for s in t.segments)  # type: ignore[index]


def before_step(patch: pytest.MonkeyPatch, number: int, happens: Callable[[], None]) -> None:
    """Something that happens at the beginning of a step."""
    original = Trainer._step

    async def step(self: Any, learner: Any, step: int, phase: Any) -> Any:
        if step == number:
            happens()
        return await original(self, learner, step, phase)

    patch.setattr(Trainer, "_step", step)


class Broken(SamplerError):
    """Of a test."""


def break_off() -> None:
    raise Broken("killed")


@pytest.mark.slow
@pytest.mark.parametrize("training", [ONE_STEP_OFF, ASYNCHRONOUS], ids=lambda mode: mode["mode"])
def test_a_run_with_a_curriculum_goes_on_with_the_weights_that_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, training: dict[str, Any]
) -> None:
    two = [{"id": RUN["env"], "name": name, "kwargs": RUN["env_kwargs"]} for name in ("a", "b")]
    settings = {"env": two, "env_kwargs": None, "curriculum": {}, "rollout": {"tasks_per_step": 4}}
    with monkeypatch.context() as patch:
        before_step(patch, 3, break_off)
        with pytest.raises(Broken):
            train(tmp_path, training, **settings)
    before = rows(tmp_path)

    result = llmgym.resume(tmp_path, progress=QUIET)

    weights = [[row["env/a/weight"], row["env/b/weight"]] for row in rows(tmp_path)]
    assert result.is_complete
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3, 4]
    assert rows(tmp_path)[:2] == before
    assert all(sum(pair) == pytest.approx(1) for pair in weights)
    keys = [(t.task_key, t.group_id) for step in stored(tmp_path) for t in step]
    assert len(set(keys)) * 2 == len(keys)


@pytest.mark.slow
@pytest.mark.parametrize("training", [ONE_STEP_OFF, ASYNCHRONOUS], ids=lambda mode: mode["mode"])
def test_a_signal_saves_and_the_run_goes_on_with_the_tasks_that_nothing_was_learned_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, training: dict[str, Any]
) -> None:
    with monkeypatch.context() as patch:
        before_step(patch, 2, lambda: os.kill(os.getpid(), signal.SIGINT))
        stopped = train(tmp_path / "run", training)
    went_on = llmgym.resume(tmp_path / "run", progress=QUIET)
    train(tmp_path / "whole", training)

    assert (stopped.is_complete, went_on.is_complete) == (False, True)
    assert [row["step"] for row in rows(tmp_path / "run")] == [1, 2, 3, 4]
    keys, whole = ([t.task_key for step in stored(tmp_path / name) for t in step] for name in ("run", "whole"))
    assert len(keys) == len(set(keys)) * 2  # two samples of each task, and none begun anew that was learned from
    assert sorted(keys) == sorted(whole)


@pytest.mark.parametrize("training", [ONE_STEP_OFF, ASYNCHRONOUS], ids=lambda mode: mode["mode"])
def test_what_the_learner_fails_with_ends_the_run_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, training: dict[str, Any]
) -> None:
    def update(*args: Any, **kwargs: Any) -> None:
        raise Broken("the learner")

    monkeypatch.setattr("llmgym.learning.learner.Learner.update", update)

    with pytest.raises(Broken, match="the learner"):
        train(tmp_path, training)


# -- what a run decides -----------------------------------------------------------------------------------------------


def corrections(tmp_path: Path, **changes: Any) -> CorrectionConfig | None:
    values = {**RUN, "steps": 0, "output": str(tmp_path), "env": {"id": RUN["env"], "kwargs": RUN["env_kwargs"]}}
    trainer = Trainer(from_mapping(RunConfig, {n: v for n, v in (values | changes).items() if n != "env_kwargs"}))
    trainer._build().close()
    return trainer.learner_config.correction


def test_correction_is_on_where_sampler_and_learner_may_differ_unless_the_run_says_otherwise(tmp_path: Path) -> None:
    def other_engine(model: Any, **settings: Any) -> Any:
        return SimpleNamespace(seconds=0.0)

    llmgym.SAMPLERS.register("another-engine", other_engine)
    off = {"correction": {"enabled": False}}

    assert corrections(tmp_path) is None
    clip = CorrectionConfig(level="token", action="clip", low=0.8, high=1.2)
    assert corrections(tmp_path, training=ONE_STEP_OFF) == clip
    assert corrections(tmp_path, training=ASYNCHRONOUS, sampler="another-engine") == clip
    assert corrections(tmp_path, sampler="another-engine") == CorrectionConfig(level="token", high=2.0)
    rloo = {"name": "rloo"}
    assert corrections(tmp_path, training=ONE_STEP_OFF, agent=rloo) == dataclasses.replace(clip, level="geometric")
    assert corrections(tmp_path, sampler="another-engine", agent=rloo) == CorrectionConfig(level="geometric")
    assert corrections(tmp_path, training=ONE_STEP_OFF, learner=off) == CorrectionConfig(enabled=False)
    assert corrections(tmp_path, learner={"correction": {"high": 3.0}}) == CorrectionConfig(high=3.0)


class NewestOnly(BaseAgent):
    learns_off_policy = False

    def loss(self, outputs: Any, batch: Any) -> Any:
        return {"policy": -outputs.logprobs_BA}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": ONE_STEP_OFF, "agent": {"name": "newest-only"}}, "learns only from what the newest weights"),
        (
            {"learner": {"correction": {}}, "agent": {"name": "newest-only"}},
            r"learner\.correction is set, but NewestOnly",
        ),
        (
            {"training": {"mode": "asynchronous", "stale": "correct"}, "learner": {"correction": {"enabled": False}}},
            "nothing would correct",
        ),
        ({"training": {"max_staleness": -1}}, "at least 0 updates"),
        ({"training": {"mode": "async"}}, "one of 'synchronous', 'one-step-off', 'asynchronous'"),
        ({"sampler": {"name": "torch", "max_pass_tokenz": 3}}, "Did you mean 'max_pass_tokens'"),
        ({"sampler": {"max_pass_tokens": 3}}, r"sampler\.name is missing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_refused_with_the_way_out(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    llmgym.AGENTS.register("newest-only", NewestOnly)

    with pytest.raises(ConfigError, match=message):
        corrections(tmp_path, **changes)


def test_a_sampler_has_its_settings_and_is_closed_with_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llmgym.sampling.torch_sampler import TorchSampler

    seen: list[Any] = []
    close = TorchSampler.close

    async def closing(self: TorchSampler) -> None:
        seen.append(self._slots)
        await close(self)

    monkeypatch.setattr(TorchSampler, "close", closing)

    train(tmp_path, {}, steps=0, sampler={"name": "torch", "max_pass_tokens": 77})

    assert len(seen) == 1
    assert 'name = "torch"\nmax_pass_tokens = 77' in (tmp_path / "config.toml").read_text()


@pytest.mark.parametrize("shares_model", [False, True])
def test_before_a_sampler_of_its_own_wakes_the_memory_that_torch_keeps_for_later_is_given_back(
    monkeypatch: pytest.MonkeyPatch, shares_model: bool
) -> None:
    told: list[str] = []

    class Sleeper:
        async def sleep(self) -> None:
            told.append("sleep")

        async def update_weights(self, source: Any, *, version: int) -> None:
            told.append(f"weights {version}")

        async def wake(self) -> None:
            told.append("wake")

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: told.append("room"))
    parts = SimpleNamespace(sampler=Sleeper(), shares_model=shares_model)
    source: Any = Synchronous(SimpleNamespace(parts=parts))  # type: ignore[arg-type]

    async def step() -> None:
        await source.learn(1, lambda: told.append("update"))
        await source.hand_over(None, version=1)

    asyncio.run(step())
    assert told == ["sleep", "update", *([] if shares_model else ["room"]), "weights 1", "wake"]
