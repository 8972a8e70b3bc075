"""Lists of what there is: environments, agents, commands, metrics, names."""

import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

import gymnasium as gym
from docutils import nodes
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

import llmgym
from llmgym.episode.register import is_llmgym_env
from llmgym.registry import AGENTS, SANDBOXES, Registry, load_object
from llmgym.report.glossary import GLOSSARY

PACKAGES = (
    "episode", "messages", "tools", "scoring", "sampling", "learning", "rollout", "training", "evaluation", "report",
)  # fmt: skip
"""Packages of the core whose `__all__` is documented."""
_MODULES = ("errors", "registry", "cli.runs")
"""Where names of the top level may be documented beside these."""


class MarkdownDirective(SphinxDirective):
    """A directive that stands for Markdown."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(self.markdown())

    def markdown(self) -> str:
        """What it stands for."""
        raise NotImplementedError


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(re.sub(r"(?<!\\)\|", r"\\|", cell) for cell in line) + " |" for line in lines)


def summary(obj: Any) -> str:
    """The first paragraph of a docstring, as one line."""
    return " ".join((inspect.getdoc(obj) or "").partition("\n\n")[0].split())


class EnvironmentList(MarkdownDirective):
    """All registered environments of llmgym, with what their class says of itself."""

    def markdown(self) -> str:
        specs = sorted((spec for spec in gym.registry.values() if is_llmgym_env(spec)), key=lambda spec: spec.id)
        rows = []
        for spec in specs:
            path = str(spec.kwargs["env"])
            rows.append([f"`{spec.id}`", summary(load_object(path)), link(path.replace(":", "."))])
        return table(["id", "task", "class"], rows)


class AgentList(MarkdownDirective):
    """All registered agents."""

    def markdown(self) -> str:
        paths = {name: str(AGENTS.entry(name)) for name in AGENTS.names()}
        rows = [[f"`{name}`", summary(load_object(path)), link(path.replace(":", "."))] for name, path in paths.items()]
        return table(["name", "what it is", "class"], rows)


class RegisteredModules(SphinxDirective):
    """The reference of each module of llmgym that registers an environment, an agent or a sampler."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        described = "```{{eval-rst}}\n.. automodule:: {}\n   :show-inheritance:\n```"
        return [section(self, name, described.format(name)) for name in registered_modules(self.arguments[0])]


def registered_modules(kind: str) -> list[str]:
    """Dotted names of the modules behind the registered "environments", "agents" or "sandboxes" of llmgym, in order."""
    registries = {"agents": AGENTS, "sandboxes": SANDBOXES}
    if kind in registries:
        paths = [str(registries[kind].entry(name)) for name in registries[kind].names()]
    else:
        paths = [str(spec.kwargs["env"]) for spec in gym.registry.values() if is_llmgym_env(spec)]
    return sorted({path.partition(":")[0] for path in paths if path.startswith("llmgym.")})


def section(directive: SphinxDirective, title: str, markdown: str) -> nodes.section:
    """A section with a heading of code."""
    made = nodes.section(ids=[nodes.make_id(title)])
    made += nodes.title("", "", nodes.literal("", title))
    made += directive.parse_text_to_nodes(markdown)
    return made


class Commands(SphinxDirective):
    """A section for each command with what its `--help` prints; first that of `llmgym` itself."""

    def run(self) -> list[nodes.Node]:
        overview = command_help()
        return [_verbatim(overview), *(self._section(name) for name in command_names(overview))]

    def _section(self, name: str) -> nodes.section:
        made = section(self, f"llmgym {name}", "")
        made += _verbatim(command_help(name))
        return made


def _verbatim(text: str) -> nodes.literal_block:
    return nodes.literal_block(text, text, language="text")


def command_help(*command: str) -> str:
    """The help of a command, or of `llmgym` itself."""
    arguments = [sys.executable, "-m", "llmgym", *command, "--help"]
    environment = os.environ | {"COLUMNS": "96", "NO_COLOR": "1"}
    return subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True).stdout


def command_names(overview: str) -> list[str]:
    """The commands that the help of `llmgym` lists."""
    listed = overview.partition("\ncommands:\n")[2].partition("\n\n")[0]
    return re.findall(r"^    (\w+)", listed, re.MULTILINE)


class Metrics(MarkdownDirective):
    """The glossary of metrics, of one part of the log."""

    required_arguments = 1

    def markdown(self) -> str:
        return table(["metric", "meaning"], [[f"`{name}`", text] for name, text in GLOSSARY[self.arguments[0]].items()])


class TopLevelNames(MarkdownDirective):
    """What `import llmgym` offers, each with a link to where it is described."""

    def markdown(self) -> str:
        rows = []
        for name in sorted({*llmgym.__all__, *llmgym._ON_FIRST_USE}, key=str.lower):
            place, text = described(name)
            rows.append([link(f"{place}.{name}", name), text])
        return table(["name", "what it is"], rows)


def link(path: str, text: str | None = None) -> str:
    """A link to the description of a Python object; code where there is none."""
    return f"{{py:obj}}`{text or path.rpartition('.')[2]} <{path}>`"


def described(name: str) -> tuple[str, str]:
    """The module whose page describes a name of the top level, and its first sentence."""
    value = getattr(llmgym, name)
    for module in map(import_module, (f"llmgym.{part}" for part in (*PACKAGES, *_MODULES))):
        if getattr(module, name, None) is value and name in getattr(module, "__all__", [name]):
            if isinstance(value, Registry):
                return module.__name__, f"The names of {value.kind}s, for `register` and `lookup`."
            is_documented = inspect.isclass(value) or inspect.isfunction(value)
            return module.__name__, summary(value) if is_documented else _attribute_summary(name, module)
    return f"llmgym.{llmgym._ON_FIRST_USE[name]}", summary(value)


def _attribute_summary(name: str, package: ModuleType) -> str:
    """What stands under an assignment somewhere in a package."""
    for module in [module for path, module in sys.modules.items() if path.startswith(package.__name__)]:
        lines = ModuleAnalyzer.for_module(module.__name__).find_attr_docs().get(("", name))
        if lines:
            return " ".join(lines).strip()
    return ""
