"""The commands that measure and show: what they print, as text and as JSON, and how they end."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.utils import http_backoff
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

import llmgym
from llmgym.cli import main
from llmgym.learning import save_policy
from llmgym.registry import SAMPLERS
from llmgym.sampling import ScriptedSampler
from llmgym.training.tiny_model import TinyModelConfig, build_character_tokenizer, build_tiny_model

SMALL = ["limits.turn_tokens=6", "limits.episode_tokens=12", "limits.context_tokens=64"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    backend = build_character_tokenizer()
    save_policy(build_tiny_model(TinyModelConfig(hidden_size=16, num_layers=1), backend, seed=0), folder)
    backend.save_pretrained(folder)
    return folder


def printed(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_eval_in_json_is_one_document_and_quiet(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["eval", "llmgym/Calculator-v0", "--model", model, "--tasks", 5, "--samples", 4, *SMALL, "--json"]

    code, out, err = printed(capsys, *arguments)

    document = json.loads(out)
    assert (code, err) == (0, "")
    assert list(document["sampled"]["pass_at_k"]) == ["1", "2", "4"]
    assert (document["sampled"]["num_episodes"], document["greedy"]["num_episodes"]) == (20, 5)
    assert document["env_kwargs"]["limits"]["turn_tokens"] == 6


def test_eval_gives_the_sampler_its_settings(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["eval", "llmgym/Copy-v0", "--model", model, "--tasks", 2, "limits.turn_tokens=4", "--set"]

    assert printed(capsys, *arguments, "max_pass_tokens=32")[0] == 0
    code, _, error = printed(capsys, *arguments, "max_pas_tokens=32")
    assert (code, "Did you mean 'max_pass_tokens'?" in error) == (2, True)


class LoadsModels(ScriptedSampler):
    """A sampler that takes a folder instead of a model, as vLLM's does."""

    loads_models = True

    def __init__(self, model: Any, *, word: str, tokenizer: Any, **decided: Any) -> None:
        super().__init__(lambda prompt, params, rng: [*tokenizer.encode(word), tokenizer.eos_id])
        self.tokenizer = tokenizer
        MADE.append(model)

    async def close(self) -> None:
        MADE.append("closed")


MADE: list[Any] = []


def test_eval_gives_a_sampler_that_loads_models_the_folder_and_closes_it(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    SAMPLERS.register("test-commands-loads", LoadsModels)
    arguments = ["--model", model, "--sampler", "test-commands-loads", "--set", "word=ab", "--tasks", 1, 'text="ab"']

    code, out, _ = printed(capsys, "eval", "llmgym/Copy-v0", *arguments, "--json")

    assert (code, MADE) == (0, [str(model), "closed"])
    assert json.loads(out)["greedy"]["success"] == 1.0


def test_eval_merges_an_adapter_before_a_sampler_that_loads_models_has_it(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    SAMPLERS.register("test-commands-adapts", LoadsModels)
    adapted = get_peft_model(AutoModelForCausalLM.from_pretrained(model), LoraConfig(target_modules=["q_proj"]))
    adapted.save_pretrained(str(tmp_path))
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path)
    arguments = ["--model", tmp_path, "--sampler", "test-commands-adapts", "--set", "word=ab", "--tasks", 1]

    assert printed(capsys, "eval", "llmgym/Copy-v0", *arguments)[0] == 0
    assert type(MADE[-2]).__name__ == "LlamaForCausalLM"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "m", "--api-key-env", "KEY"], "are of an --endpoint"),
        (["--endpoint", "http://localhost/v1", "--sampler", "vllm"], "samples by itself"),
        (["--endpoint", "localhost"], 'an address like "http://localhost:8000/v1"'),
        (["--endpoint", "http://localhost/v1", "--set", "retires=3"], "Did you mean 'retries'?"),
    ],
)
def test_eval_refuses_what_is_not_of_the_policy(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, error = printed(capsys, "eval", "llmgym/Copy-v0", *arguments)

    assert (code, words in error) == (2, True)


def test_eval_goes_on_in_its_folder_and_compare_and_rescore_read_it(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["eval", "llmgym/Calculator-v0", "--model", model, "--tasks", 4, *SMALL, "--output", tmp_path / "a"]
    _, first, _ = printed(capsys, *arguments)
    episodes = tmp_path / "a" / "sampled" / "episodes.jsonl"
    episodes.write_text("".join(episodes.read_text().splitlines(keepends=True)[:2]))

    code, again, err = printed(capsys, *arguments)

    assert (code, again) == (0, first)
    assert "sampled: 2 of 4 episodes were stored already" in err
    assert printed(capsys, "rescore", tmp_path / "a")[0] == 0
    result = json.loads(printed(capsys, "compare", tmp_path / "a", tmp_path / "a", "--json")[1])
    assert [(result[name]["success"]["p_value"], result[name]["warnings"]) for name in ("sampled", "greedy")] == [
        (1.0, []),
        (1.0, []),
    ]


def test_eval_of_another_model_in_the_same_folder_is_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["eval", "llmgym/Copy-v0", "--tasks", 2, "--decoding", "greedy", "limits.turn_tokens=4"]
    other = tmp_path / "model"
    other.mkdir()
    for path in model.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    moved = printed(capsys, *arguments, "--model", model, "--output", tmp_path / "a")
    same = printed(capsys, *arguments, "--model", other, "--output", tmp_path / "a")
    weights = other / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0?")

    code, _, err = printed(capsys, *arguments, "--model", other, "--output", tmp_path / "a")

    assert (moved[0], same[0], code) == (0, 0, 2)
    assert "policy is" in err


class BreakingEnv(llmgym.MessageEnv):
    """Its verifier fails on one task of four."""

    default_limits = llmgym.Limits(turns=1, turn_tokens=4, episode_tokens=4, context_tokens=32)

    def tasks(self, split: str) -> llmgym.TaskSource:
        return llmgym.FiniteTasks([llmgym.Task(key=str(n), prompt=str(n)) for n in range(4)])

    def reset(self, task: llmgym.Task, rng: Any) -> llmgym.InitialMessages:
        if task.key == "2":
            raise RuntimeError("the service is gone")
        return llmgym.InitialMessages((llmgym.Message("user", task.prompt),))

    def step(self, message: llmgym.AssistantMessage) -> llmgym.EnvResponse:
        return llmgym.EnvResponse(score=llmgym.Score(reward=1.0), terminated=True)


llmgym.register_env("test-commands/Breaking-v0", BreakingEnv)


@pytest.mark.parametrize(("allowed", "code"), [(0.05, 3), (0.25, 0)])
def test_eval_ends_with_3_where_too_many_episodes_are_not_valid(
    allowed: float, code: int, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["eval", "test-commands/Breaking-v0", "--model", model, "--max-invalid", allowed]

    ended, out, err = printed(capsys, *arguments)

    assert ended == code
    assert "1 of 4" in out
    assert ("--max-invalid" in err) == (code == 3)


def test_check_in_json_lists_what_is_broken(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = printed(capsys, "check", "test-commands/Breaking-v0", "--json", "--tasks", 4)

    problems = json.loads(out)["problems"]
    assert code == 1
    assert any(problem["rule"] == "robustness" and "the service is gone" in problem["given"] for problem in problems)


def test_a_run_that_goes_on_is_shown_as_far_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.toml").write_text('steps = 9\n[env]\nid = "llmgym/Copy-v0"\n')
    row = {"phase": "train", "step": 4, "reward": 0.5}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(row) + '\n{"phase": "tra')

    code, out, _ = printed(capsys, "show", tmp_path)
    document = json.loads(printed(capsys, "show", tmp_path, "--json")[1])

    assert code == 0
    assert "step 4 of 9; not finished" in out
    assert (document["is_finished"], document["last_step"]) == (False, row)


@pytest.mark.parametrize("command", ["envs", "agents", "check", "play", "train", "eval", "compare", "rescore", "show"])
def test_help_of_a_command_ends_in_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])

    assert ended.value.code == 0
    assert f"llmgym {command}" in capsys.readouterr().out.partition("examples:")[2]


@pytest.mark.parametrize(("verbosity", "num_lines"), [(None, 0), ("warning", 3)])
def test_attempts_to_reach_the_hub_are_told_of_where_a_level_asks_for_them(
    verbosity: str | None, num_lines: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("huggingface_hub.utils._http"), "filters", [])
    monkeypatch.delenv("HF_HUB_VERBOSITY", raising=False)
    if verbosity is not None:
        monkeypatch.setenv("HF_HUB_VERBOSITY", verbosity)
    main(["agents"])

    with pytest.raises(Exception, match="refused"):
        http_backoff("HEAD", "http://127.0.0.1:9", max_retries=1, base_wait_time=0)

    assert len(caplog.records) == num_lines
