"""The documentation is run, complete and built: no page says what the code does not do."""

import re
import shlex
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
from support.markdown import blocks_of, is_understood, run_tiny

import llmgym
from llmgym import errors
from llmgym.episode.check_rules import RULES
from llmgym.registry import AGENTS
from llmgym.training import parse_config

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {str(path.relative_to(DOCS)): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
BLOCKS = {name: blocks_of(text) for name, text in PAGES.items()}
RUN = {
    name: [block for block in blocks if block.language == "python" or block.commands]
    for name, blocks in BLOCKS.items()
    if any(block.language == "python" or block.commands for block in blocks)
}
LIGHT = [name for name, blocks in RUN.items() if not any(block.needs_torch for block in blocks)]
COMMANDS = sorted({command for blocks in BLOCKS.values() for block in blocks for command in block.commands})

sys.path.append(str(DOCS))


@pytest.mark.slow
def test_pages_run_and_print_what_they_say(tmp_path):
    assert_they_print_what_they_say(LIGHT, tmp_path)


@pytest.mark.slow
def test_pages_that_train_run_with_tiny_settings_and_print_what_they_say(tmp_path):
    assert_they_print_what_they_say(sorted(set(RUN) - set(LIGHT)), tmp_path)


def assert_they_print_what_they_say(names, folder):
    """All pages in one interpreter: importing takes longer than running."""
    printed = run_tiny([RUN[name] for name in names], folder)
    for name in names:
        for block, lines in zip(RUN[name], printed, strict=False):
            if block.promised_lines:
                assert lines == block.promised_lines, f"{name}\n{block.text}"


@pytest.mark.parametrize("command", COMMANDS)
def test_command_exists_with_all_that_it_names(command):
    program, *arguments = shlex.split(command)

    assert program in ("llmgym", "pip")
    assert program == "pip" or is_understood(arguments)


def test_run_files_that_are_shown_are_understood():
    shown = [block.text for name in PAGES for block in BLOCKS[name] if block.language == "toml"]
    tables = [tomllib.loads(text) for text in shown]

    for text, values in zip(shown, tables, strict=True):
        env = "" if {"env", "envs"} & values.keys() else '\n[env]\nid = "llmgym/Copy-v0"'
        if "project" not in values:  # a part of pyproject.toml
            assert parse_config(text + env).environments


def test_every_code_block_is_of_a_kind_that_is_tested_or_made_from_the_code():
    directives = {"toctree", "eval-rst", "settings", "agent-settings", "agent-list", "environment-list", "metrics",
                  "commands", "paper-index", "registered-modules", "top-level-names"}  # fmt: skip
    for name, blocks in BLOCKS.items():
        for block in blocks:
            kind = block.language.split()[0].strip("{}")
            assert kind in directives | {"python", "bash", "toml"}, (name, block.text)


def test_every_command_and_every_error_has_its_place():
    code = import_module("site_parts.code")
    names = [name for name, value in vars(errors).items() if isinstance(value, type)]

    assert {"envs", "agents", "check", "play", "train", "show", "eval"} <= set(code.command_names(code.command_help()))
    assert [name for name in names if f"`{name}`" not in PAGES["troubleshooting.md"]] == []


def test_every_rule_of_the_conformance_check_is_listed():
    rows = re.findall(r"^\| ([a-z, ]+) \|", PAGES["guides/environment.md"], re.MULTILINE)

    assert RULES.keys() - {name for row in rows for name in row.split(", ")} == set()


def test_reference_holds_every_package_and_every_module_that_registers_something():
    described = set(re.findall(r"automodule:: (\S+)", " ".join(PAGES.values())))
    packages = {f"llmgym.{path.parent.name}" for path in (ROOT / "llmgym").glob("*/__init__.py")} - {"llmgym.cli"}
    registered = import_module("site_parts.code").registered_modules

    assert packages - described == set()
    assert {"llmgym.agents.grpo", "llmgym.agents.ppo"} <= set(registered("agents"))
    assert {"llmgym.envs.copying", "llmgym.envs.math"} <= set(registered("environments"))


def test_every_paper_that_is_cited_has_a_name_and_every_name_is_cited():
    papers = import_module("site_parts.papers")

    citations = papers.citations()

    assert "llmgym.learning.advantages.gae_advantages" in citations["1506.02438"]
    assert set(citations) == set(papers.PAPERS)


def test_docstrings_become_markup_without_losing_a_character():
    converted = import_module("site_parts.docstrings").converted
    given = ["A `name`, `x + y", "z` and `step`s a*b|c.", "", "    A = b * c", "", "Args:", "    a: one"]

    text, *rest = converted(given)

    assert text == r"A :py:obj:`name`, ``x + y z`` and :py:obj:`step`\ s a\*b\|c."
    assert rest == ["", "::", "", "    A = b * c", "", "Args:", "    a: one"]


def test_tables_of_settings_hold_every_field_with_its_meaning():
    settings = import_module("site_parts.settings")
    from llmgym.learning import LearnerConfig
    from llmgym.training import RunConfig

    configs = [RunConfig, LearnerConfig, *(nested.config for nested in settings.nested_settings(RunConfig))]
    configs += [type(AGENTS.lookup(name)().config) for name in AGENTS.names()]

    for config in configs:
        documented = settings.field_docs(config)
        assert [name for name, (_, text) in documented.items() if not text] == [], config


def test_every_name_of_the_top_level_says_what_it_is():
    described = import_module("site_parts.code").described

    assert [name for name in llmgym.__all__ if not described(name)[1]] == []


@pytest.mark.slow
def test_site_builds_without_a_warning_and_asks_no_network(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", str(DOCS), str(tmp_path)]

    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert built.returncode == 0, built.stderr
    page = (tmp_path / "run-files.html").read_text()
    assert "learning_rate" in page
    loaded = re.findall(r'(?:src|<link[^>]* href)="(https?:[^"]+)"', page)
    assert loaded == []
