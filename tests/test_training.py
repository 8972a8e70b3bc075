"""Training runs: what they write, that they repeat, and that they learn."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

import llmgym
from llmgym.cli import main
from llmgym.cli.runs import recipe_path, run_file
from llmgym.episode import Role
from llmgym.errors import ConfigError, InfrastructureError, OutputFolderError
from llmgym.rollout import Collector, TaskCursor, load_trajectories
from llmgym.sampling import ScriptedSampler
from llmgym.training import RunConfig, RunProgress, Trainer, load_config, parse_config
from llmgym.training.cold_start import ColdStartConfig, make_demonstrations
from llmgym.training.config import EnvConfig, to_toml
from llmgym.training.metrics import MetricsLog, read_metrics

QUICK = [
    "steps=2",
    "cold_start.steps=3",
    "cold_start.num_demonstrations=64",
    "cold_start.learner.warmup_steps=1",
    "learner.warmup_steps=1",
    "rollout.tasks_per_step=2",
    "evaluation.num_tasks=8",
    "evaluation.every=1",
]
QUIET = RunProgress(quiet=True)


def quick_run(folder: Path, *overrides: str) -> Any:
    return run_file("demo", [*QUICK, *overrides, f"output={json.dumps(str(folder))}"], progress=QUIET)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run for all who only look at what one leaves."""
    return quick_run(tmp_path_factory.mktemp("finished") / "run")


def untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if "second" not in name} for row in rows]


def test_the_same_seed_gives_the_same_metrics_tokens_and_weights(finished: Any, tmp_path: Path) -> None:
    again, other = quick_run(tmp_path / "again"), quick_run(tmp_path / "other", "seed=4")

    def everything(result: Any) -> tuple[Any, ...]:
        rows = [
            untimed(read_metrics(result.folder / "metrics.jsonl", p)) for p in ("cold_start", "train", "evaluation")
        ]
        tokens = [s.token_ids.tolist() for t in result.after["sampled"].trajectories for s in t.segments]
        return (*rows, tokens, (result.folder / "model" / "model.safetensors").read_bytes())

    assert everything(finished) == everything(again)
    assert everything(finished)[-1] != everything(other)[-1]


def test_a_run_folder_holds_what_the_run_was_and_did(finished: Any) -> None:
    written = {path.name for path in finished.folder.iterdir()}
    assert written >= {
        "config.toml",
        "metrics.jsonl",
        "tensorboard",
        "trajectories",
        "model",
        "curve.png",
        "samples.txt",
    }
    assert load_config(finished.folder / "config.toml").evaluation.num_tasks == 8
    assert [row["step"] for row in read_metrics(finished.folder / "metrics.jsonl", "train")] == [1, 2]
    stored = list(load_trajectories(finished.folder / "trajectories" / "step-000002.jsonl.gz"))
    assert len(stored) == 16
    assert all(set(s.weight_version[s.action_mask].tolist()) == {1} for t in stored for s in t.segments)  # type: ignore[index]
    assert (finished.folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "policy" in (finished.folder / "samples.txt").read_text()


def test_the_written_model_loads_elsewhere_and_goes_on_from_there(finished: Any, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = str(finished.folder / "model")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "37*81"}], add_generation_prompt=True, return_dict=False
    )
    assert tokenizer.decode(prompt) == "<user>37*81<end><assistant>"
    assert model(torch.tensor([prompt])).logits.shape == (1, len(prompt), len(tokenizer))

    second = quick_run(tmp_path / "second", f"model.path={json.dumps(folder)}")
    (before,) = [r for r in read_metrics(second.folder / "metrics.jsonl", "cold_start") if r["step"] == 0]
    (fresh,) = [r for r in read_metrics(finished.folder / "metrics.jsonl", "cold_start") if r["step"] == 0]
    assert before["loss"] < fresh["loss"]


def test_a_model_wider_than_its_tokenizer_never_samples_padding(tmp_path: Path) -> None:
    from llmgym.training.tiny_model import TinyModelConfig, build_character_tokenizer, build_tiny_model

    tokenizer = build_character_tokenizer()
    model = build_tiny_model(TinyModelConfig(hidden_size=32, num_layers=1), tokenizer, seed=0)
    model.resize_token_embeddings(len(tokenizer) + 300)
    model.save_pretrained(tmp_path / "wide")
    tokenizer.save_pretrained(tmp_path / "wide")

    result = quick_run(tmp_path / "run", f"model.path={json.dumps(str(tmp_path / 'wide'))}")

    sampled = [s.token_ids.max() for t in result.before["sampled"].trajectories for s in t.segments]
    assert max(sampled) < len(tokenizer)
    rows = read_metrics(result.folder / "metrics.jsonl", "train")
    assert max(row["max_logprob_gap"] for row in rows) < 1e-4


def test_an_output_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("mine")

    with pytest.raises(OutputFolderError, match="not empty"):
        quick_run(tmp_path / "run")

    assert [path.name for path in (tmp_path / "run").iterdir()] == ["precious.txt"]


def test_runs_without_a_name_take_the_next_free_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    folders = [run_file("demo", [*QUICK, "steps=0"], progress=QUIET).folder for _ in range(2)]

    assert [str(folder) for folder in folders] == ["runs/Calculator-v0-001", "runs/Calculator-v0-002"]


def test_a_batch_that_failed_as_a_whole_is_an_error(tmp_path: Path) -> None:
    class BrokenEnv(llmgym.MessageEnv):
        steps = 0

        def tasks(self, split: str) -> llmgym.TaskSource:
            return llmgym.FiniteTasks([llmgym.Task(key=str(n), prompt=str(n)) for n in range(9)])

        def reset(self, task: llmgym.Task, rng: np.random.Generator) -> llmgym.InitialMessages:
            return llmgym.InitialMessages((llmgym.Message("user", task.prompt),))

        def step(self, message: llmgym.AssistantMessage) -> llmgym.EnvResponse:
            type(self).steps += 1
            if type(self).steps > 16:  # both evaluations pass, the first batch does not
                raise OSError("the database is gone")
            return llmgym.EnvResponse(score=llmgym.Score(reward=0.0), terminated=True)

        def solve(self, task: llmgym.Task) -> list[str]:
            return ["x"]

    llmgym.register_env("test-training/Broken-v0", BrokenEnv, limits={"turn_tokens": 5000, "context_tokens": 5000})
    overrides = ["env.id=test-training/Broken-v0", "cold_start.num_demonstrations=1", "cold_start.batch_size=1"]

    with pytest.raises(InfrastructureError):
        quick_run(tmp_path / "run", *overrides)


def test_demonstrations_mix_reference_turns_and_guesses_in_the_asked_share() -> None:
    collector = Collector("llmgym/Calculator-v0", ScriptedSampler(lambda prompt, params, rng: [0]))
    config = ColdStartConfig(num_demonstrations=600, solve_share=0.4)

    cursor = TaskCursor(collector.tasks("train"), seed=1)
    demonstrations = list(make_demonstrations(collector.example_env, cursor, config, seed=1))

    assert {demonstration.role for demonstration in demonstrations} == {Role.DEMONSTRATION}
    assert len({demonstration.task_key for demonstration in demonstrations}) == 600
    assert np.mean([d.reward for d in demonstrations]) == pytest.approx(0.4, abs=0.07)
    assert {len(d.turns) for d in demonstrations if d.reward < 1} == {1}


def test_a_config_survives_its_way_through_toml() -> None:
    config = load_config(recipe_path("demo"), ["env.kwargs.digits=2", "agent.clip_high=0.28"])

    assert parse_config(to_toml(config)) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stepz=3", "Did you mean 'steps'"),
        ("learner.learningrate=3", "learner.learningrate is not a setting. Did you mean 'learning_rate'"),
        ("agent.group_sise=3", "group_sise"),
        ("agent.name=grppo", "Did you mean 'grpo'"),
        ("sampler=torhc", "Did you mean 'torch'"),
        ("steps=many", "whole number"),
        ("steps=-1", "negative"),
        ("cold_start.solve_share=2", "share from 0 to 1"),
        ("evaluation.num_tasks=100000", "distinct tasks were asked for"),
        ("env.id=llmgym/Calculater-v0", "Calculat"),
        ("no-equals-sign", "dotted.name=value"),
        ("steps.more=3", "is a value and not a table"),
        ("seed=-1", "seed is -1"),
        ("model.tiny.num_heads=0", "model.tiny.num_heads is 0"),
        ("model.tiny.head_size=31", "head_size must be even"),
        ("agent.temperature=nan", "temperature is nan"),
    ],
)
def test_a_wrong_setting_is_named_before_anything_runs(
    override: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["train", "demo", *QUICK, override, "--output", str(tmp_path / "run"), "--json"])

    captured = capsys.readouterr()
    assert code == 2
    assert message in captured.err
    assert captured.out == ""


def test_keywords_from_python_that_toml_has_no_word_for_can_still_be_written_down() -> None:
    kwargs = {"max_length": np.int64(3), "sizes": (np.float64(0.5), None), "folder": Path("/a/b"), "reward": len}

    config = RunConfig(env=EnvConfig(id="llmgym/Copy-v0", kwargs=kwargs))

    written = parse_config(to_toml(config)).env.kwargs
    assert written == {"max_length": 3, "sizes": [0.5], "folder": "/a/b", "reward": "<built-in function len>"}


def test_an_agent_that_the_learner_cannot_serve_is_refused_before_the_run_begins(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"learner\.correction has the level 'token'"):
        quick_run(tmp_path / "run", 'agent={name="rloo"}', 'learner.correction={level="token"}')

    assert not (tmp_path / "run").exists()


def test_agents_that_divide_by_the_longest_trajectory_take_it_from_the_environments_limits(tmp_path: Path) -> None:
    trainer = Trainer(load_config(recipe_path("demo"), [*QUICK, 'agent={name="drgrpo"}']), progress=QUIET)

    assert trainer.learner_config.max_actions == trainer.config.env.kwargs["limits"]["episode_tokens"]
    assert quick_run(tmp_path / "run", 'agent={name="drgrpo"}').after["sampled"].num_invalid == 0


def test_the_longest_trajectory_is_what_all_turns_together_may_sample(tmp_path: Path) -> None:
    limits = ["env.kwargs.limits={turns=2, turn_tokens=24, episode_tokens=72}", 'agent={name="dapo"}']
    trainer = Trainer(load_config(recipe_path("demo"), [*QUICK, *limits]), progress=QUIET)

    assert trainer.learner_config.max_actions == 48


def test_a_run_without_a_step_is_the_cold_start_alone(tmp_path: Path) -> None:
    result = run_file(
        "demo", [*QUICK, "learner.warmup_steps=5", "steps=0", f"output={tmp_path / 'run'}"], progress=QUIET
    )

    assert result.before == result.after
    assert (result.folder / "model" / "model.safetensors").is_file()
    assert read_metrics(result.folder / "metrics.jsonl", "train") == []


@pytest.mark.parametrize("agent", ["ppo", "rloo", "reinforce", "drgrpo", "dapo"])
def test_every_online_agent_runs_by_its_name(tmp_path: Path, agent: str) -> None:
    settings = ", resample_rounds=1" if agent == "dapo" else ""  # it would look nine times for groups that differ
    result = quick_run(tmp_path / "run", f'agent={{name="{agent}"{settings}}}')

    rows = read_metrics(result.folder / "metrics.jsonl", "train")
    assert [row["step"] for row in rows] == [1, 2]
    assert all(row["max_logprob_gap"] < 1e-3 for row in rows if "max_logprob_gap" in row)


def test_metrics_that_are_not_finite_leave_lines_that_any_json_reader_reads(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.log("train", 1, {"loss": float("nan"), "grad_norm": float("inf"), "reward": 0.5, "num_samples": 2})
    log.close()

    assert json.loads(log.path.read_text(), parse_constant=pytest.fail) == {
        "phase": "train",
        "step": 1,
        "loss": None,
        "grad_norm": None,
        "reward": 0.5,
        "num_samples": 2,
    }


@pytest.mark.parametrize("arguments", [["envs"], ["envs", "--json"]])
def test_whoever_reads_only_the_first_line_of_a_listing_sees_no_traceback(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)

    ended = subprocess.run([sys.executable, "-m", "llmgym", *arguments], stdout=writer, stderr=subprocess.PIPE)

    os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, b"")


def test_progress_is_lines_where_there_is_no_terminal_and_nothing_where_it_is_quiet(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        progress = RunProgress(console=Console(file=file, force_terminal=False))
        run_file("demo", [*QUICK, f"output={json.dumps(str(tmp_path / 'run'))}"], progress=progress)

    log = (tmp_path / "log").read_text()
    assert "cold start 3/3" in log
    assert "training 2/2" in log
    assert "step 2: held-out success" in log
    assert "\x1b" not in log


def test_json_output_is_one_object_and_nothing_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = main(["train", "demo", *QUICK, "--output", str(tmp_path / "run"), "--seed", "2", "--json"])

    captured = capfd.readouterr()
    assert code == 0
    assert set(json.loads(captured.out)) == {"folder", "is_complete", "before", "after"}
    assert captured.err == ""


def test_python_and_a_run_file_make_the_same_run(tmp_path: Path) -> None:
    quick = {"learner": {"learning_rate": 1e-3}, "evaluation": {"num_tasks": 5}, "rollout": {"tasks_per_step": 2}}

    result = llmgym.train(
        env="llmgym/Copy-v0", agent={"name": "grpo", "group_size": 4}, steps=1, env_kwargs={"max_length": 2},
        output=str(tmp_path / "run"), progress=QUIET, **quick,
    )  # fmt: skip

    config = load_config(result.folder / "config.toml")
    assert isinstance(config, RunConfig)
    assert (config.env.kwargs, config.agent["group_size"]) == ({"max_length": 2}, 4)


@pytest.mark.slow
def test_the_demo_makes_a_visibly_better_policy(tmp_path: Path) -> None:
    result = run_file("demo", [f"output={json.dumps(str(tmp_path / 'run'))}"], progress=QUIET)

    assert 0.3 <= result.before["sampled"].success.value <= 0.55
    assert result.after["sampled"].success.low > 0.9
    assert result.after["greedy"].success.value > 0.95
    assert result.after["sampled"].num_invalid == 0
