"""Runs that end before their last step: on a plateau, or because the policy is being destroyed."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import llmgym
from llmgym.errors import ConfigError, DivergenceError
from llmgym.learning import Learner, load_policy
from llmgym.training import RunProgress
from llmgym.training.endings import DivergenceWatch, EndingConfig, has_plateaued

shares = st.lists(st.integers(0, 10).map(lambda tenths: tenths / 10), max_size=12)


@given(shares, st.integers(1, 5))
def test_a_plateau_is_a_best_that_the_last_evaluations_did_not_exceed(success: list[float], patience: int) -> None:
    earlier, last = success[:-patience], success[-patience:]

    is_plateau = bool(earlier) and max(last) <= max(earlier)

    assert has_plateaued(success, patience=patience, min_rise=0.0) == is_plateau


@given(shares)
def test_without_patience_there_is_no_plateau(success: list[float]) -> None:
    assert not has_plateaued(success, patience=0, min_rise=0.0)


def test_a_rise_that_is_too_small_is_no_new_best() -> None:
    creeping = [0.5, 0.52, 0.54]

    assert has_plateaued(creeping, patience=2, min_rise=0.05)
    assert not has_plateaued(creeping, patience=2, min_rise=0.01)


def watched(norms: list[float], *, max_growth: float = 100.0) -> DivergenceWatch:
    watch = DivergenceWatch(max_growth)
    for norm in norms:
        watch.add({"grad_norm": norm})
    return watch


@given(st.lists(st.floats(0.5, 49.0), min_size=1, max_size=80))
def test_norms_within_the_allowed_growth_never_stop_a_run(norms: list[float]) -> None:
    assert not watched(norms).is_suspicious


def test_norms_that_explode_twice_in_a_row_stop_the_run_and_once_do_not() -> None:
    usual = [1.0, 2.0, 1.0] * 5

    assert not watched([*usual, 500.0, 1.0, 500.0, 1.0]).is_suspicious
    assert watched([*usual, 500.0]).is_suspicious
    with pytest.raises(DivergenceError, match=r"500, 500 times its median of 1.*diverged.*learning_rate"):
        watched([*usual, 500.0, 500.0])


def test_a_gradient_that_is_not_finite_makes_the_weights_suspicious() -> None:
    assert watched([1.0] * 20 + [math.nan]).is_suspicious
    assert not watched([1.0] * 20 + [math.nan, 1.0]).is_suspicious


def test_a_step_without_a_gradient_says_nothing() -> None:
    watch = watched([0.0] * 20)

    watch.add({})
    watch.add({"grad_norm": 5.0})

    assert not watch.is_suspicious


def test_a_watch_goes_on_from_its_state() -> None:
    former, watch = watched([1.0] * 15 + [500.0]), DivergenceWatch(100.0)

    watch.load_state_dict(former.state_dict())

    with pytest.raises(DivergenceError):
        watch.add({"grad_norm": 500.0})


@pytest.mark.parametrize(
    "settings", [{"patience": -1}, {"min_rise": 1.0}, {"model": "first"}, {"max_norm_growth": 1.0}]
)
def test_settings_without_sense_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"ending.{next(iter(settings))}"):
        EndingConfig(**settings)  # type: ignore[arg-type]


class LengthEnv(llmgym.MessageEnv):
    """Pays a little for anything, by its length: there is much to learn, and no success."""

    default_limits = llmgym.Limits(turns=1, turn_tokens=8, episode_tokens=8, context_tokens=64)

    def tasks(self, split: str) -> llmgym.TaskSource:
        return llmgym.FiniteTasks([llmgym.Task(key=f"{split}{n}", prompt=f"{split} {n}") for n in range(7)])

    def reset(self, task: llmgym.Task, rng: np.random.Generator) -> llmgym.InitialMessages:
        return llmgym.InitialMessages((llmgym.Message("user", task.prompt),))

    def step(self, message: llmgym.AssistantMessage) -> llmgym.EnvResponse:
        return llmgym.EnvResponse(score=llmgym.Score(reward=len(message.text) / 100), terminated=True)


llmgym.register_env("test-endings/Length-v0", LengthEnv)

RUN: dict[str, Any] = {
    "env": "test-endings/Length-v0",
    "model": {"tiny": {"hidden_size": 32, "num_layers": 1, "num_heads": 1}},
    "agent": {"name": "grpo", "group_size": 8},
    "evaluation": {"every": 1, "num_tasks": 2},
    "checkpoint": {"every": 1},
    "trackers": [],
    "threads": 1,
    "progress": RunProgress(quiet=True),
}


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights_of(folder: Path) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in load_policy(folder).module.parameters()])


@pytest.mark.parametrize("mode", ["synchronous", "asynchronous"])
def test_a_run_ends_on_a_plateau_and_is_complete(tmp_path: Path, mode: str) -> None:
    result = llmgym.train(steps=9, ending={"patience": 2}, training={"mode": mode}, output=str(tmp_path / "run"), **RUN)

    told = rows(result.folder)
    assert result.is_complete
    assert [row["step"] for row in told if row["phase"] == "train"] == [1, 2]
    assert [row["text"] for row in told if row["phase"] == "ending"] == [
        "no new best held-out success in 2 evaluations; the run ends"
    ]
    assert (result.folder / "model" / "config.json").is_file()


class Killed(BaseException):
    """As by the system."""


@pytest.mark.parametrize("model", ["last", "best"])
def test_a_run_that_was_killed_after_its_plateau_goes_on_with_its_model_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    def kill(*args: Any, **kwargs: Any) -> None:
        raise Killed

    settings = {"steps": 9, "ending": {"patience": 1, "model": model}, "training": {"mode": "one-step-off"}, **RUN}
    monkeypatch.setattr("llmgym.training.trainer.save_model", kill)
    with pytest.raises(Killed):
        llmgym.train(output=str(tmp_path / "run"), **settings)
    monkeypatch.undo()

    result = llmgym.resume(tmp_path / "run", progress=RUN["progress"])

    told = [(row["phase"], row["step"]) for row in rows(result.folder) if row["phase"] in ("train", "ending")]
    assert result.is_complete
    assert told == [("train", 1), ("ending", 1)]


def test_the_model_is_that_of_the_best_checkpoint_where_it_is_asked_for(tmp_path: Path) -> None:
    untrained = llmgym.train(steps=0, output=str(tmp_path / "untrained"), **RUN)
    settings = {"steps": 3, "learner": {"learning_rate": 1e-2}, **RUN}

    last = llmgym.train(output=str(tmp_path / "last"), **settings)
    best = llmgym.train(ending={"model": "best"}, output=str(tmp_path / "best"), **settings)

    assert not torch.equal(weights_of(last.folder / "model"), weights_of(untrained.folder / "model"))
    assert torch.equal(weights_of(best.folder / "model"), weights_of(untrained.folder / "model"))
    said = [
        [t.segments[0].token_ids.tolist() for t in result.after["sampled"].trajectories] for result in (best, untrained)
    ]
    assert said[0] == said[1]


def test_a_run_that_diverges_leaves_the_best_model_that_it_had(tmp_path: Path) -> None:
    untrained = llmgym.train(steps=0, output=str(tmp_path / "untrained"), **RUN)

    with pytest.raises(DivergenceError, match=r"not finite.*The model of step 0.*Begin a new run with it"):
        llmgym.train(steps=9, learner={"learning_rate": 1e30}, output=str(tmp_path / "run"), **RUN)

    assert torch.equal(weights_of(tmp_path / "run" / "model"), weights_of(untrained.folder / "model"))


def test_a_last_step_that_destroys_the_weights_leaves_the_best_model_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def destroy(self: Learner, *args: Any, **kwargs: Any) -> dict[str, float]:
        next(self.policy.module.parameters()).data.fill_(math.inf)
        return {}

    monkeypatch.setattr(Learner, "update", destroy)

    with pytest.raises(DivergenceError, match=r"not finite numbers.*The model of step 0"):
        llmgym.train(steps=1, output=str(tmp_path / "run"), **RUN)

    assert weights_of(tmp_path / "run" / "model").isfinite().all()


def test_the_learner_is_asked_for_lost_weights_and_not_the_whole_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Learner, "has_finite_weights", False)

    with pytest.raises(DivergenceError, match=r"not finite numbers.*The model of step 0"):
        llmgym.train(steps=1, output=str(tmp_path / "run"), **RUN)
