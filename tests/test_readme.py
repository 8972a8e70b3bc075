"""The README is run: every block, every command and every figure in it."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import gymnasium as gym
import pytest
from support.markdown import blocks_of, is_understood, run, run_tiny

import llmgym  # noqa: F401  registers the environments

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


BLOCKS = blocks_of(README)
PYTHON = [block for block in BLOCKS if block.language == "python"]
COMMANDS = [command for block in BLOCKS for command in block.commands]
PROSE = " ".join(re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL).split())
COMMANDS += re.findall(r"`((?:llmgym|make|python|pytest|pip) [^`]+)`", PROSE)


def test_every_block_is_of_a_kind_that_is_run_here():
    assert {block.language for block in BLOCKS} == {"python", "bash"}
    assert README.count("```") == 2 * len(BLOCKS)


@pytest.mark.parametrize("block", [block for block in PYTHON if not block.needs_torch])
def test_block_prints_what_its_comments_say(tmp_path, block):
    printed = run("-c", block.text, folder=tmp_path).splitlines()

    assert printed
    if block.promised_lines:
        assert printed == block.promised_lines


@pytest.mark.slow
def test_blocks_that_train_and_use_what_was_trained_run_in_order_with_tiny_settings(tmp_path):
    pages = [[block] for block in PYTHON if block.needs_torch]

    printed = list(run_tiny(pages, tmp_path))

    assert len(printed) == len(pages) == 3
    assert "->" in printed[0][-1]
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
def test_command_exists_with_all_that_it_names(command):
    program, *arguments = shlex.split(command)

    if program == "llmgym":
        assert is_understood(arguments)
    elif program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert arguments[0] == "install"
        assert set(re.findall(r"\w+", arguments[1])) <= extras.keys()
    elif program == "make":
        assert re.search(rf"^{arguments[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    else:
        assert program in ("python", "pytest")
        assert (ROOT / arguments[0]).is_file()


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


@pytest.mark.parametrize("agent", ["rloo", "reinforce", "ppo"])
def test_figures_of_the_other_agents_are_those_of_the_benchmark(agent):
    path = f"benchmarks/results/demo_seeds_{agent}.md"
    rows = table((ROOT / path).read_text())
    column = [row[rows[0].index("after")] for row in rows[1:]]
    shown = {row[0]: row[1:] for row in table(README)}

    assert [float(value) for value in shown[f"[`{agent}`]({path})"]] == [float(value) for value in column]


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


def test_figures_of_the_step_beside_trl_are_those_of_the_benchmark():
    lines = (ROOT / "benchmarks/results/grpo_step.jsonl").read_text().splitlines()
    shown = {row[0]: row[1:] for row in table(README)}

    for result in map(json.loads, lines):
        cells = shown[f"{result['agent']}, {result['model']}, {result['lengths']}"]
        expected = [result["step_to_trl"], result["learner_to_trl"]]
        assert [float(cell) for cell in cells] == [pytest.approx(share, abs=0.0051) for share in expected]


def test_figures_of_the_verifier_are_those_of_the_benchmark():
    lines = (ROOT / "benchmarks/results/math_verifier.jsonl").read_text().splitlines()
    shown = {row[0]: row[1:] for row in table(README)}

    for result in map(json.loads, lines):
        kind = {"cases": "public", "adversarial": "hostile"}[result["set"]]
        figures = [float(cell.split()[0]) for cell in shown[f"{result['checker']}, {result['cases']} {kind}"]]
        assert figures[:3] == [
            pytest.approx(result["accuracy"], abs=0.05),
            result["false_positives"],
            result["false_negatives"],
        ]
        assert figures[3:] == [pytest.approx(result["cpu_ms"][key], abs=0.5) for key in ("median", "p99")]


def table(markdown):
    """The cells of all rows of all tables."""
    lines = [line for line in markdown.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("env_id", re.findall(r"`(llmgym/\w+-v\d+)`", README))
def test_environment_that_is_named_is_registered(env_id):
    assert gym.spec(env_id)
