"""What a run file can ask for beyond one environment: mixtures, curricula, resampling, alarms, devices."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from support.models import VOCABULARY, tiny_model
from transformers import AutoModelForCausalLM

import llmgym
from llmgym.errors import ConfigError, PromptTooLong
from llmgym.rollout import load_trajectories
from llmgym.settings import from_mapping
from llmgym.training import RunConfig, RunProgress, RunResult, Trainer, parse_config
from llmgym.training.alarms import ALARMS
from llmgym.training.config import to_toml
from llmgym.training.device import move, take_device
from llmgym.training.metrics import read_metrics

COPY, REVERSE = "llmgym/Copy-v0", "llmgym/Reverse-v0"
SMALL: dict[str, Any] = {
    "model": {"tiny": {"hidden_size": 16, "num_layers": 1, "num_heads": 2}},
    "agent": {"name": "grpo", "group_size": 2},
    "steps": 3,
    "rollout": {"tasks_per_step": 8},
    "evaluation": {"num_tasks": 4, "every": 2},
}
TWO = [
    {"id": COPY, "name": "copy", "weight": 3.0, "kwargs": {"max_length": 2, "limits": {"turn_tokens": 3}}},
    {"id": REVERSE, "kwargs": {"max_length": 2, "limits": {"turn_tokens": 4}}},
]


class Lines(RunProgress):
    """Keeps what people are told."""

    def __init__(self) -> None:
        super().__init__(console=Console(quiet=True))
        self.told: list[str] = []

    def line(self, text: str) -> None:
        self.told.append(text)


def run(folder: Path, progress: RunProgress | None = None, **settings: Any) -> RunResult:
    config = from_mapping(RunConfig, {**SMALL, **settings, "output": str(folder)})
    return Trainer(config, progress=progress or Lines()).run()


def rows(result: RunResult, phase: str = "train") -> list[dict[str, Any]]:
    return read_metrics(result.folder / "metrics.jsonl", phase)


def test_a_step_logs_all_that_one_wants_to_see_of_it(tmp_path: Path) -> None:
    settings = {
        "env": {"id": "llmgym/Calculator-v0", "kwargs": {"limits": {"turn_tokens": 8, "episode_tokens": 16}}},
        "agent": {"name": "grpo", "group_size": 2, "epochs": 2, "scale_by_std": False},
        "learner": {"kl": {"coef": 0.01}},
    }
    row = rows(run(tmp_path / "run", **settings))[-1]

    assert row.keys() >= {
        "reward", "success", "success_low", "success_high",
        "advantage_std", "zero_variance_share", "num_zero_variance_groups",
        "clip_share", "ratio_mean", "ratio_max", "kl", "entropy", "grad_norm", "learning_rate", "loss",
        "mean_action_tokens", "p50_action_tokens", "p95_action_tokens", "max_action_tokens", "mean_turns",
        "stop_reasons", "repetition", "num_invalid", "num_retries", "num_invalid_scores", "num_long_prompts",
        "num_tool_calls", "num_tool_errors", "tool_share",
        "num_samples", "num_resample_rounds", "num_dropped_groups", "is_skipped", "num_replaced_envs",
        "seconds", "seconds_sampling", "seconds_env", "seconds_learning",
        "tokens_per_second_sampling", "tokens_per_second_learning",
    }  # fmt: skip


def test_several_environments_share_batches_by_weight_with_limits_and_figures_of_their_own(tmp_path: Path) -> None:
    result = run(tmp_path / "run", envs=TWO)

    for row in rows(result):
        assert [row[f"env/{name}/num_episodes"] for name in ("copy", REVERSE)] == [12, 4]
        assert row["env/copy/weight"] == 0.75
    for row in rows(result, "evaluation"):
        shares = [row[f"env/{name}/success"] for name in ("copy", REVERSE)]
        assert row["success"] == pytest.approx(np.mean(shares))
        assert row["num_episodes"] == 8
    stored = list(load_trajectories(result.folder / "trajectories" / "step-000003.jsonl.gz"))
    longest = {name: max(t.num_actions for t in stored if t.metadata["env"] == name) for name in ("copy", REVERSE)}
    assert longest == {"copy": 3, REVERSE: 4}
    assert {t.env_id for t in stored} == {COPY, REVERSE}


@pytest.mark.slow
def test_a_curriculum_moves_tasks_to_where_success_is_near_its_target(tmp_path: Path) -> None:
    # The policy always fails at both, and 0 is the target for none: weights stay as configured.
    levels = [{"id": COPY, "name": name, "kwargs": {"max_length": 8}} for name in ("one", "two")]
    row = rows(run(tmp_path / "even", envs=levels, curriculum={}))[-1]
    assert row["env/one/weight"] == pytest.approx(0.5)

    class PaidEnv(llmgym.MessageEnv):
        """Pays for anything."""

        def tasks(self, split: str) -> llmgym.TaskSource:
            return llmgym.FiniteTasks([llmgym.Task(key=f"{split}{n}", prompt=f"{split}{n}") for n in range(9)])

        def reset(self, task: llmgym.Task, rng: np.random.Generator) -> llmgym.InitialMessages:
            return llmgym.InitialMessages((llmgym.Message("user", task.prompt),), prefill="x")

        def step(self, message: llmgym.AssistantMessage) -> llmgym.EnvResponse:
            return llmgym.EnvResponse(score=llmgym.Score(reward=1.0), terminated=True)

    llmgym.register_env("test-settings/Paid-v0", PaidEnv, limits={"turn_tokens": 400}, stop_strings=list("aeiou "))
    mixed = [levels[0], {"id": "test-settings/Paid-v0", "name": "paid"}]
    later = rows(run(tmp_path / "mixed", envs=mixed, curriculum={"target": 1.0, "floor": 0.25}))
    assert later[0]["env/paid/weight"] == 0.5
    assert later[-1]["env/paid/weight"] == pytest.approx(0.875, abs=0.01)
    assert later[-1]["env/paid/num_episodes"] == 14


def test_a_cold_start_shows_every_environment_in_its_share(tmp_path: Path) -> None:
    cold_start = {"num_demonstrations": 16, "steps": 2, "batch_size": 4, "learner": {"warmup_steps": 1}}

    values = {**SMALL, "envs": TWO, "cold_start": cold_start, "steps": 1, "output": str(tmp_path / "run")}
    trainer = Trainer(from_mapping(RunConfig, values), progress=Lines())
    trainer.run()

    # 16 demonstrations, then a batch of 8 tasks.
    assert trainer._parts.mixture.state_dict()["positions"] == {"copy": 12 + 6, REVERSE: 4 + 2}


def test_a_step_of_which_nothing_is_left_is_skipped_with_a_line_and_counted(tmp_path: Path) -> None:
    lines = Lines()
    agent = {"name": "dapo", "group_size": 2, "resample_rounds": 1}

    result = run(tmp_path / "run", lines, env={"id": COPY, "kwargs": {"max_length": 8}}, agent=agent, steps=2)

    assert [(row["is_skipped"], row["num_resample_rounds"], row["num_dropped_groups"]) for row in rows(result)] == [
        (1, 1, 16), (1, 1, 16),
    ]  # fmt: skip
    assert [row["num_samples"] for row in rows(result)] == [32, 64]
    assert "step 1: nothing to learn from, as the agent dropped all 16 groups (rounds: 2); the step is skipped." in (
        lines.told
    )


def test_an_alarm_is_a_line_for_people_and_one_in_the_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = Lines()
    monkeypatch.setitem(ALARMS, "late", lambda train, evaluations, config: "look" if len(train) == 2 else None)

    result = run(tmp_path / "run", lines, env={"id": COPY})

    assert rows(result, "alarm") == [{"phase": "alarm", "step": 2, "name": "late", "text": "look"}]
    assert lines.told.count("step 2: ALARM: look") == 1


class UnevenEnv(llmgym.MessageEnv):
    """Has a prompt that is too long."""

    def tasks(self, split: str) -> llmgym.TaskSource:
        lengths = (5, 6, 7, 500) if split == "train" else (8, 9, 10, 11)
        return llmgym.FiniteTasks([llmgym.Task(key=f"{split}{n}", prompt="x" * n) for n in lengths])

    def reset(self, task: llmgym.Task, rng: np.random.Generator) -> llmgym.InitialMessages:
        return llmgym.InitialMessages((llmgym.Message("user", task.prompt),))

    def step(self, message: llmgym.AssistantMessage) -> llmgym.EnvResponse:
        return llmgym.EnvResponse(score=llmgym.Score(reward=0.0), terminated=True)


llmgym.register_env("test-settings/Uneven-v0", UnevenEnv, limits={"turn_tokens": 4, "context_tokens": 64})


def test_prompts_that_are_too_long_are_left_out_counted_and_told_once(tmp_path: Path) -> None:
    lines = Lines()

    result = run(tmp_path / "run", lines, env={"id": "test-settings/Uneven-v0"})

    assert [(row["num_long_prompts"], row["num_invalid"]) for row in rows(result)] == [(4, 4)] * 3
    (told,) = [line for line in lines.told if "long prompts" in line]
    assert "step 1: episodes left out for their long prompts: 4 of 16" in told
    assert "The prompt of task 'train500' has 503 tokens, but the context holds 64" in told


def test_a_run_of_which_every_prompt_is_too_long_ends_with_the_lengths(tmp_path: Path) -> None:
    env = {"id": "test-settings/Uneven-v0", "kwargs": {"limits": {"context_tokens": 8}}}

    with pytest.raises(PromptTooLong, match=r"has \d+ tokens, but the context holds 8"):
        run(tmp_path / "run", env=env)


def test_environments_in_threads_make_the_same_tasks_of_a_run(tmp_path: Path) -> None:
    rollout = {"tasks_per_step": 8, "deterministic": False}

    beside, between = run(tmp_path / "a", env={"id": COPY}, rollout=rollout), run(tmp_path / "b", env={"id": COPY})

    batches = [list(load_trajectories(r.folder / "trajectories" / "step-000003.jsonl.gz")) for r in (beside, between)]
    assert [t.task_key for t in batches[0]] == [t.task_key for t in batches[1]]
    assert all(t.is_valid for t in batches[0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"neither \[env\] nor \[\[envs\]\]"),
        ({"env": {"id": COPY}, "envs": TWO}, r"both \[env\] and \[\[envs\]\]"),
        ({"envs": [{"id": COPY}, {"id": COPY}]}, "Two environments are called 'llmgym/Copy-v0'. Give each a name"),
        ({"envs": [{"id": COPY, "weight": 0.0}]}, "weight of llmgym/Copy-v0 is 0.0"),
        ({"env": {"id": COPY}, "curriculum": {}}, "only one"),
        ({"envs": TWO, "curriculum": {"flor": 0.1}}, "Did you mean 'floor'"),
        ({"envs": [{"id": COPY}, {"id": REVERSE, "nam": "x"}]}, r"envs\[1\]\.nam is not a setting"),
        ({"env": {"id": COPY}, "alarms": {"windw": 1}}, "Did you mean 'window'"),
        ({"env": {"id": COPY}, "model": {"dtype": "float16"}}, "'float32', 'bfloat16'"),
        ({"env": {"id": COPY}, "model": {"device": "cudda"}}, "model.device is 'cudda'"),
        ({"env": {"id": COPY}, "model": {"device": "cuda:99"}}, r"cannot use here: .* Set it to 'cpu'"),
    ],
)
def test_a_setting_that_makes_no_sense_is_explained(settings: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        run(tmp_path / "run", **settings)

    assert not (tmp_path / "run").exists()


def test_environments_that_pay_on_different_scales_are_no_mixture(tmp_path: Path) -> None:
    class RichEnv(UnevenEnv):
        reward_range = (0.0, 5.0)

    llmgym.register_env("test-settings/Rich-v0", RichEnv)

    with pytest.raises(ConfigError, match="llmgym/Copy-v0 pays 1, test-settings/Rich-v0 pays 5"):
        run(tmp_path / "run", envs=[{"id": COPY}, {"id": "test-settings/Rich-v0"}])


def test_a_run_file_with_several_environments_survives_its_way_through_toml() -> None:
    config = from_mapping(RunConfig, {**SMALL, "envs": TWO, "curriculum": {"floor": 0.5}, "trackers": []})

    written = to_toml(config)

    assert parse_config(written) == config
    assert "[[envs]]" in written
    assert (config.environments, config.env_label) == (config.envs, f"copy + {REVERSE}")


def test_auto_is_the_first_gpu_or_the_cpu() -> None:
    assert take_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert take_device("cpu") == torch.device("cpu")


def test_a_gpu_with_a_number_becomes_the_one_that_kernels_start_on(monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[torch.device] = []
    monkeypatch.setattr(torch, "empty", lambda *_, device: device)  # none is here
    monkeypatch.setattr(torch.cuda, "set_device", current.append)

    taken = [take_device(name) for name in ("cuda:1", "cuda", "cpu")]

    assert taken == [torch.device(name) for name in ("cuda:1", "cuda", "cpu")]
    assert current == [torch.device("cuda:1")]


def test_a_run_in_bfloat16_learns_samples_and_writes_in_bfloat16(tmp_path: Path) -> None:
    from safetensors import safe_open

    model = {**SMALL["model"], "device": "cpu", "dtype": "bfloat16"}
    learner = {"max_sampling_gap": 1.0}

    result = run(tmp_path / "run", env={"id": COPY}, model=model, learner=learner, steps=1)

    with safe_open(result.folder / "model" / "model.safetensors", "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {torch.bfloat16}  # noqa: SIM118
    assert json.loads((result.folder / "run.json").read_text())["device"] == "cpu"


def test_a_model_moved_into_bfloat16_is_the_one_that_transformers_loads_in_bfloat16(tmp_path: Path) -> None:
    tiny_model(max_position_embeddings=2048).save_pretrained(tmp_path)
    loaded, moved = (AutoModelForCausalLM.from_pretrained(tmp_path, dtype=dtype) for dtype in ("bfloat16", "float32"))

    move(moved, "cpu", "bfloat16")

    assert {parameter.dtype for parameter in moved.parameters()} == {torch.bfloat16}
    assert torch.equal(moved.model.rotary_emb.inv_freq, loaded.model.rotary_emb.inv_freq)
    ids = torch.arange(2000)[None] % VOCABULARY
    assert torch.equal(moved(ids).logits, loaded(ids).logits)


def test_python_names_several_environments_and_the_models_settings_too(tmp_path: Path) -> None:
    settings = {name: value for name, value in SMALL.items() if name != "model"} | {"steps": 1}
    model = {**SMALL["model"], "device": "cpu"}

    result = llmgym.train(env=TWO, model=model, progress=Lines(), output=str(tmp_path / "run"), **settings)

    assert {f"env/{name}/reward" for name in ("copy", REVERSE)} <= rows(result)[-1].keys()


def test_python_names_kwargs_of_several_environments_one_by_one() -> None:
    with pytest.raises(ConfigError, match="Put kwargs into each mapping"):
        llmgym.train(env=[COPY, REVERSE], env_kwargs={"max_length": 2})
