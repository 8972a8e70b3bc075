"""The README is run: every block, every command and every figure in it."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import gymnasium as gym
import pytest

from llmgym.cli import main as command_line

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


class Block(NamedTuple):
    language: str
    text: str

    @property
    def needs_torch(self):
        return any(word in self.text for word in ("llmgym.train(", "llmgym.learning", "runs/"))

    @property
    def promised_lines(self):
        """What the comments behind its prints say."""
        return re.findall(r"^print\(.*\)  # (.+)$", self.text, re.MULTILINE)


BLOCKS = [Block(*found) for found in re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
COMMANDS = [
    line.partition("#")[0].strip()
    for block in BLOCKS
    if block.language == "bash"
    for line in block.text.splitlines()
    if line.partition("#")[0].strip()
]
PROSE = " ".join(re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL).split())
COMMANDS += re.findall(r"`((?:llmgym|make|python|pytest|pip) [^`]+)`", PROSE)

TINY = """
import json, sys, types
import llmgym

train, evaluate = llmgym.train, llmgym.evaluate

def tiny_train(*, cold_start=None, **settings):
    if cold_start is not None:
        settings["cold_start"] = cold_start | {"num_demonstrations": 20, "steps": 2, "batch_size": 4}
    return train(**settings | {"steps": 1, "evaluation": {"num_tasks": 4}})

def tiny_evaluate(policy, env, **settings):
    return evaluate(policy, env, **settings | {"num_tasks": 4})

llmgym.train, llmgym.evaluate = tiny_train, tiny_evaluate
for block in json.load(sys.stdin):
    sys.modules["__main__"] = module = types.ModuleType("__main__")
    exec(compile(block, "README.md", "exec"), vars(module))
    print("-- done")
"""


def run(*arguments, folder, stdin=None):
    """What a fresh interpreter prints."""
    result = subprocess.run(
        [sys.executable, *arguments], cwd=folder, input=stdin or "", capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_every_block_is_of_a_kind_that_is_run_here():
    assert {block.language for block in BLOCKS} == {"python", "bash"}
    assert README.count("```") == 2 * len(BLOCKS)


@pytest.mark.parametrize("block", [block for block in PYTHON if not block.needs_torch])
def test_block_prints_what_its_comments_say(tmp_path, block):
    printed = run("-c", block.text, folder=tmp_path).splitlines()

    assert printed
    if block.promised_lines:
        assert printed == block.promised_lines


def test_blocks_that_train_and_use_what_was_trained_run_in_order_with_tiny_settings(tmp_path):
    blocks = [block.text for block in PYTHON if block.needs_torch]

    printed = run("-c", TINY, folder=tmp_path, stdin=json.dumps(blocks))

    assert printed.count("-- done") == len(blocks) == 3
    assert "->" in printed
    assert (tmp_path / "runs" / "leave-one-out" / "model" / "config.json").is_file()


@pytest.mark.slow
def test_blocks_as_they_stand_train_a_better_policy_and_go_on_from_it(tmp_path):
    printed = [run("-c", block.text, folder=tmp_path) for block in PYTHON if block.needs_torch]

    before, after = (float(part.split()[0]) for part in printed[0].split("->"))
    assert after > before + 0.2
    assert (tmp_path / "runs" / "leave-one-out" / "curve.png").is_file()


@pytest.mark.slow
def test_commands_as_they_stand_train_and_evaluate(tmp_path):
    smaller = ["steps=2", "cold_start.steps=5", "cold_start.num_demonstrations=50", "evaluation.num_tasks=20"]
    smaller += ["learner.warmup_steps=0", "cold_start.learner.warmup_steps=0"]
    run("-m", "llmgym", "train", "demo", *smaller, "--output", "runs/calculator", folder=tmp_path)
    commands = [shlex.split(command) for command in COMMANDS]
    rest = [arguments for program, *arguments in commands if program == "llmgym" and arguments[0] != "train"]

    printed = [run("-m", "llmgym", *arguments, folder=tmp_path) for arguments in rest]

    assert len(printed) == 4
    assert all(printed)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_exists_with_all_that_it_names(monkeypatch, command):
    program, *arguments = shlex.split(command)

    if program == "llmgym":
        assert parsed(monkeypatch, arguments)
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert arguments[0] == "install"
        assert set(re.findall(r"\w+", arguments[1])) <= extras.keys()
    elif program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    else:
        assert program in ("python", "pytest")
        assert (ROOT / arguments[0]).is_file()


def parsed(monkeypatch, arguments):
    """True where the command line understands the arguments, and a run file the overrides."""
    from llmgym.cli.runs import recipe_path
    from llmgym.training import load_config

    seen = []
    for name in ("_envs", "_agents", "_check", "_play", "_train", "_eval"):
        monkeypatch.setattr(sys.modules["llmgym.cli.main"], name, lambda options: seen.append(options) or 0)
    assert command_line(arguments) == 0
    if arguments[0] == "train":
        load_config(recipe_path(seen[0].recipe), seen[0].overrides)
    return len(seen) == 1


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)]+)\)", README))
def test_link_leads_to_a_file(target):
    assert (ROOT / target).is_file()


def test_figures_of_the_demo_are_those_of_the_benchmark():
    rows = table((ROOT / "benchmarks/results/demo_seeds.md").read_text())
    columns = dict(zip(rows[0], zip(*rows[1:], strict=True), strict=True))
    shown = {row[0]: row[1:] for row in table(README)}

    for name, column in {
        "sampled, before": "before",
        "sampled, after": "after",
        "greedy, before": "greedy_before",
        "greedy, after": "greedy_after",
    }.items():
        assert [float(value) for value in shown[name]] == [float(value) for value in columns[column]]
    assert [int(value) for value in shown["seconds in all"]] == [round(float(value)) for value in columns["seconds"]]


def test_figures_of_token_steps_are_those_of_the_benchmark():
    result = json.loads((ROOT / "benchmarks/results/token_steps.json").read_text())
    shown = {row[0]: row[1:] for row in table(README)}

    for name, key in {
        "does nothing": "trivial",
        '`observation="last"`': "last",
        '`observation="full"`': "full",
    }.items():
        steps, share = shown[name]
        assert int(steps.replace(",", "")) == pytest.approx(result["steps_per_second"][key], rel=0.005)
        assert float(share) == pytest.approx(result.get(f"ratio_{key}", 1), abs=0.005)


def table(markdown):
    """The cells of all rows of all tables."""
    lines = [line for line in markdown.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("env_id", re.findall(r"`(llmgym/\w+-v\d+)`", README))
def test_environment_that_is_named_is_registered(env_id):
    assert gym.spec(env_id)
