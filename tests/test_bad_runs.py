"""What a caller can get wrong about runs, evaluations, extras and commands, as `test_bad_input.py` for the rest."""

import json
import subprocess
import sys

import pytest
from support.complaints import assert_says, complaint

import llmgym
from llmgym.cli import main
from llmgym.errors import (
    CheckError,
    ConfigError,
    InvalidAction,
    MissingExtraError,
    OutputFolderError,
    UnknownAgentError,
    UnknownSamplerError,
)

COPY = "llmgym/Copy-v0"


# -- runs ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "error", "builtin", "words"),
    [
        ({"agent": "gropo"}, UnknownAgentError, LookupError, ["'gropo'", "Did you mean 'grpo'?"]),
        ({"agent": 3}, ConfigError, ValueError, ["agent is 3 (int)", "table of settings"]),
        ({"agent": {}}, ConfigError, ValueError, ["agent.name is missing", '"grpo"']),
        ({"agent": {"name": 3}}, ConfigError, ValueError, ["agent.name is 3", "name of a registered agent"]),
        ({"agent": "sft"}, ConfigError, ValueError, ["'sft' learns from demonstrations", "'grpo'", "[cold_start]"]),
        (
            {"agent": {"name": "grpo", "group_sise": 4}},
            ConfigError,
            ValueError,
            ["agent.group_sise is not a setting", "Did you mean 'group_size'?"],
        ),
        ({"agent": {"name": "grpo", "group_size": 1}}, ConfigError, ValueError, ["group_size is 1", "at least 2"]),
        ({"agent": {"name": "grpo", "clip_low": "x"}}, ConfigError, ValueError, ["agent.clip_low is 'x'", "a number"]),
        ({"sampler": "torhc"}, UnknownSamplerError, LookupError, ["'torhc'", "Did you mean 'torch'?"]),
        ({"sampler": 3}, ConfigError, ValueError, ["sampler is 3 (int)", "a text"]),
        ({"env": 3}, ConfigError, ValueError, ["env.id is 3 (int)", "a text"]),
        ({"env_kwargs": 3}, ConfigError, ValueError, ["env.kwargs is 3 (int)", "table of settings"]),
        ({"env_kwargs": {"txt": "hi"}}, ConfigError, ValueError, ["'txt'", "Did you mean 'text'?"]),
        ({"step": 3}, ConfigError, ValueError, ["step is not a setting", "Did you mean 'steps'?"]),
        ({"steps": "3"}, ConfigError, ValueError, ["steps is '3' (str)", "a whole number"]),
        ({"steps": -1}, ConfigError, ValueError, ["steps is -1", "negative"]),
        ({"rollout": {"task_per_step": 3}}, ConfigError, ValueError, ["rollout.task_per_step", "'tasks_per_step'"]),
        ({"rollout": {"tasks_per_step": 0}}, ConfigError, ValueError, ["rollout.tasks_per_step is 0", "at least 1"]),
        ({"rollout": {"concurrency": 0}}, ConfigError, ValueError, ["rollout.concurrency is 0", "at least 1"]),
        ({"learner": {"learning_rate": -1.0}}, ConfigError, ValueError, ["learning_rate is -1.0", "above 0"]),
        ({"learner": {"learningrate": 1.0}}, ConfigError, ValueError, ["learner.learningrate", "'learning_rate'"]),
        ({"evaluation": {"num_tasks": 0}}, ConfigError, ValueError, ["evaluation.num_tasks is 0", "at least 1"]),
        (
            {"env_kwargs": {"text": "hi"}},
            ConfigError,
            ValueError,
            ["200 distinct tasks", "has 1", "Ask for 1 or fewer"],
        ),
        ({"cold_start": {"solve_share": 2.0}}, ConfigError, ValueError, ["cold_start.solve_share is 2.0", "0 to 1"]),
    ],
)
def test_setting_of_a_run_leaves_no_folder_behind(tmp_path, settings, error, builtin, words):
    run = {"env": COPY, "output": str(tmp_path / "run"), **settings}

    assert_says(complaint(error, builtin, lambda: llmgym.train(**run)), *words)

    assert not (tmp_path / "run").exists()


class PlainAgent:
    """Not made from a config, so that its signature is all there is to check."""

    def __init__(self, group_size: int) -> None:
        self.group_size = group_size


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"group_size": 2, "clip": 1}, ["agent.clip is not a setting", "'group_size'"]),
        ({"group_size": "2"}, ["agent.group_size is '2' (str)", "a whole number"]),
        ({}, ["agent.group_size is missing"]),
    ],
)
def test_setting_of_an_agent_of_ones_own(tmp_path, monkeypatch, settings, words):
    monkeypatch.setitem(llmgym.AGENTS._all(), "plain", PlainAgent)
    run = {"env": COPY, "agent": {"name": "plain", **settings}, "output": str(tmp_path / "run")}

    assert_says(complaint(ConfigError, ValueError, lambda: llmgym.train(**run)), *words)


@pytest.mark.parametrize(("agent", "words"), [(3, ["int breaks 9", "no `data`"]), (PlainAgent, ["pass an instance"])])
def test_what_is_no_agent(agent, words):
    assert_says(complaint(CheckError, AssertionError, lambda: llmgym.check_agent(agent)), *words)


def test_output_folder_that_is_not_empty_stays_as_it_is(tmp_path):
    (tmp_path / "kept.txt").write_text("kept")

    message = complaint(OutputFolderError, FileExistsError, lambda: llmgym.train(env=COPY, output=str(tmp_path)))

    assert_says(message, str(tmp_path), "is not empty", "Name a new one, or move it away")
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
    assert (tmp_path / "kept.txt").read_text() == "kept"


def test_output_folder_that_is_a_file_or_below_one(tmp_path):
    file = tmp_path / "file"
    file.write_text("kept")

    assert_says(
        complaint(OutputFolderError, FileExistsError, lambda: llmgym.train(env=COPY, output=str(file))),
        f"'{file}' is a file",
        "Name a folder",
    )
    below = str(file / "run")
    assert_says(
        complaint(OutputFolderError, FileExistsError, lambda: llmgym.train(env=COPY, output=below)),
        f"'{below}' cannot be made",
        "Name another one",
    )
    assert file.read_text() == "kept"


@pytest.mark.parametrize(
    ("policy", "keywords", "error", "words"),
    [
        (3, {}, ConfigError, ["int is not a policy", "model folder", "function"]),
        (lambda messages: 3, {}, InvalidAction, ["of type int", "takes a str"]),
        (str, {"num_tasks": 0}, ConfigError, ["0 tasks", "at least 1"]),
        (str, {"num_samples": 0}, ConfigError, ["0 episodes", "at least 1"]),
        (str, {"split": "dev"}, ConfigError, ["split is 'dev'", '"train" and "test"']),
        (str, {"env_kwargs": {"txt": "hi"}}, ConfigError, ["'txt'", "Did you mean 'text'?"]),
    ],
)
def test_argument_of_evaluate(policy, keywords, error, words):
    call = {"num_tasks": 2, **keywords}

    assert_says(complaint(error, ValueError, lambda: llmgym.evaluate(policy, COPY, **call)), *words)


# -- missing extras --------------------------------------------------------------------------------------------

WITHOUT = "import sys; sys.modules[{package!r}] = None\n"
"""Begins a program for which a package is not there."""


@pytest.mark.parametrize(
    ("package", "code", "words"),
    [
        ("torch", "llmgym.train(env='llmgym/Copy-v0')", ["'torch'", 'pip install "llmgym[train]"']),
        ("torch", "llmgym.evaluate('a/model', 'llmgym/Copy-v0')", ["'torch'", 'pip install "llmgym[train]"']),
        ("torch", "llmgym.check_agent(None)", ["'torch'", 'pip install "llmgym[train]"']),
        ("torch", "llmgym.AGENTS.lookup('grpo')", ["'torch'", 'pip install "llmgym[train]"']),
        ("transformers", "gymnasium.make('llmgym/Copy-v0', tokenizer='a/b')", ["'a/b'", "llmgym[train]"]),
        ("transformers", "llmgym.train(env='llmgym/Copy-v0')", ["'transformers'", "llmgym[train]"]),
        ("datasets", "gymnasium.make('llmgym/Math-v0', dataset='a/b').reset()", ["'datasets'", "llmgym[hub]"]),
        ("pyarrow", "gymnasium.make('llmgym/Math-v0', dataset='rows.parquet').reset()", ["'pyarrow'", "llmgym[hub]"]),
        ("math_verify", "gymnasium.make('llmgym/Math-v0', dataset='rows.jsonl').reset()", ["llmgym[math]"]),
    ],
)
def test_missing_extra_is_named_with_the_line_that_installs_it(tmp_path, package, code, words):
    (tmp_path / "rows.jsonl").write_text('{"problem": "?", "answer": "\\\\unknown{x}"}\n')
    (tmp_path / "rows.parquet").write_text("anything")
    program = WITHOUT.format(package=package) + (
        "import gymnasium, llmgym\n"
        f"try:\n    {code}\n"
        "except ImportError as error:\n    print(type(error).__name__, error)\n"
    )

    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert issubclass(MissingExtraError, ImportError)
    assert_says(result.stdout + result.stderr, "MissingExtraError", *words)


def test_a_run_whose_extra_is_missing_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    model = {"tiny": {"hidden_size": 16, "num_layers": 1, "num_heads": 1}}
    settings = {"model": model, "learner": {"lora": {}}, "output": str(tmp_path / "run")}

    with pytest.raises(MissingExtraError, match="LoRA needs the package 'peft'"):
        llmgym.train(env=COPY, **settings)
    assert list(tmp_path.iterdir()) == []


# -- the command line ------------------------------------------------------------------------------------------


def explanation_of(arguments, folder, program=("-m", "llmgym")):
    """What a command says on standard error as it fails: nothing else is printed, and the code is 2."""
    command = [sys.executable, *program, *arguments]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["check", "llmgym/Coppy-v0"], ["Coppy", "Did you mean: `Copy`?"]),
        (["check", "CartPole-v1"], ["'CartPole-v1' is not an environment of llmgym", "`llmgym envs`"]),
        (["check", "no_such_package:my/Task-v0"], ["no module 'no_such_package'"]),
        (["eval", COPY, "--model", "/missing/model"], ["no model folder '/missing/model'"]),
        (["eval", COPY, "--model", "m", "--samples", "0"], ["--samples is 0", "at least one episode"]),
        (["train", "dmo"], ["'dmo' is neither a run file (*.toml) nor a recipe", "Did you mean 'demo'?"]),
        (["train", "missing.toml"], ["'missing.toml' cannot be read", "No such file"]),
        (["train", "broken.toml"], ["broken.toml is not TOML", "line 1"]),
        (["train", "demo", "stepss=3"], ["stepss is not a setting", "Did you mean 'steps'?"]),
        (["train", "demo", "--seed", "1", "learner.lerning_rate=3"], ["learner.lerning_rate", "'learning_rate'"]),
        (["train", "demo", "steps=many"], ["steps is 'many' (str)", "a whole number"]),
        (["train", "demo", "steps"], ["'steps' is not an override", '"dotted.name=value"']),
        (["train", "demo", "agent.name=gropo"], ["'gropo'", "Did you mean 'grpo'?"]),
        (["train", "demo", "sampler=torhc"], ["'torhc'", "Did you mean 'torch'?"]),
        (["train", "demo", "env.id=llmgym/Coppy-v0"], ["Coppy", "Did you mean: `Copy`?"]),
        (["train", "demo", "--output", "full"], ["'full' is not empty", "Name a new one"]),
    ],
)
def test_command_fails_with_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys, arguments, words):
    (tmp_path / "broken.toml").write_text("steps = = 3\n")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept.txt").write_text("kept")
    files = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)

    code = main(arguments)

    printed = capsys.readouterr()
    assert (code, printed.out, printed.err.count("\n")) == (2, "", 1)
    assert_says(printed.err, "llmgym: ", *words)
    assert sorted(tmp_path.rglob("*")) == files


@pytest.mark.slow
def test_process_of_a_command_ends_with_code_2_and_one_line(tmp_path):
    (tmp_path / "kept.txt").write_text("kept")

    for arguments in (["check", "llmgym/Coppy-v0"], ["train", "demo", "--output", "."]):
        assert explanation_of(arguments, tmp_path).count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]


def test_command_without_the_extra_that_it_needs(tmp_path):
    program = WITHOUT.format(package="torch") + "from llmgym.cli import main\nsys.exit(main(sys.argv[1:]))"

    explanation = explanation_of(["train", "demo"], tmp_path, program=("-c", program))

    assert_says(explanation, "'torch'", 'pip install "llmgym[train]"')
    assert explanation.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["trian"], ["train"], ["eval", COPY], ["train", "demo", "--sede", "1"]])
def test_command_that_is_misspelt_is_answered_with_its_usage(tmp_path, arguments):
    assert_says(explanation_of(arguments, tmp_path), "usage: llmgym", "error:")


def test_listing_in_json_is_nothing_but_json(capsys):
    assert main(["agents", "--json"]) == 0

    assert {"grpo", "sft"} <= set(json.loads(capsys.readouterr().out))
