"""`llmgym envs` and `llmgym agents`: what there is."""

import ast
import inspect
from argparse import Namespace
from collections.abc import Mapping
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

import gymnasium as gym

from ..episode.register import is_llmgym_env
from ..registry import AGENTS
from .shared import DONE, Commands, add_command, add_json, console, print_json, table


def add_envs(commands: Commands) -> None:
    """Add the command `envs`."""
    parser = add_command(
        commands,
        "envs",
        summary="list the environments",
        about="List the environments of installed packages. Each is a Gymnasium environment of the same id.",
        examples="""
        llmgym envs
        llmgym envs --json
        """,
    )
    add_json(parser)
    parser.set_defaults(run=_envs)


def add_agents(commands: Commands) -> None:
    """Add the command `agents`."""
    parser = add_command(
        commands,
        "agents",
        summary="list the learning agents",
        about="List the learning agents: the names that agent.name takes in a training run.",
        examples="""
        llmgym agents
        llmgym train demo agent.name=rloo
        """,
    )
    add_json(parser)
    parser.set_defaults(run=_agents)


def _envs(options: Namespace) -> int:
    specs = [spec for spec in gym.registry.values() if is_llmgym_env(spec)]
    return _list(options, "environment", {spec.id: spec.kwargs["env"] for spec in specs})


def _agents(options: Namespace) -> int:
    return _list(options, "agent", {name: AGENTS.entry(name) for name in AGENTS.names()})


def _list(options: Namespace, what: str, entries: Mapping[str, Any]) -> int:
    about = {name: _first_line(entry) for name, entry in sorted(entries.items())}
    if options.json:
        print_json({name: {"made_by": str(entries[name]), "about": line} for name, line in about.items()})
        return DONE
    shown = table(what, "about", "made by")
    for name, line in about.items():
        shown.add_row(name, line, str(entries[name]))
    console().print(shown)
    return DONE


def _first_line(entry: Any) -> str:
    """The first line of what an entry's docstring says; read from the file, as importing may take seconds."""
    if not isinstance(entry, str):
        return (inspect.getdoc(entry) or "").partition("\n")[0]
    module, _, name = entry.partition(":")
    try:
        spec = find_spec(module)
    except Exception:  # packages of others are imported on the way, and may raise anything; a list is still a list
        return ""
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return ""
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
            return (ast.get_docstring(node) or "").partition("\n")[0]
        if isinstance(node, ast.ImportFrom) and any((alias.asname or alias.name) == name for alias in node.names):
            original = next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
            package = module if spec.submodule_search_locations else module.rpartition(".")[0]
            return _first_line(f"{resolve_name('.' * node.level + (node.module or ''), package)}:{original}")
    return ""
