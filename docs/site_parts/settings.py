"""Tables of settings, made from the dataclasses that hold them."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from docutils import nodes
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

from llmgym.registry import AGENTS, load_object

from .code import link, section, summary, table


class Settings(SphinxDirective):
    """A dataclass as a table of its fields, and a section for each dataclass among them.

    The argument is "package.module.Name"; the option `table` is its dotted name in a run file, "" for the top level.
    """

    required_arguments = 1
    option_spec = {"table": str}  # noqa: RUF012  as Sphinx has it

    def run(self) -> list[nodes.Node]:
        module, _, name = self.arguments[0].rpartition(".")
        config, prefix = load_object(f"{module}:{name}"), self.options.get("table", "")
        made = self.parse_text_to_nodes(settings_table(config))
        titles: dict[type, str] = {}
        for nested in nested_settings(config, prefix):
            title = f"[[{nested.name}]]" if nested.is_repeated else f"[{nested.name}]"
            if nested.config in titles:
                text = f"Several of them, each with the settings of `{titles[nested.config]}`."
            else:
                text = f"{summary(nested.config)}\n\n{settings_table(nested.config)}"
            titles.setdefault(nested.config, title)
            made.append(section(self, title, text))
        return made


class AgentSettings(SphinxDirective):
    """A section for each registered agent with its settings; a relative of another shows what differs."""

    def run(self) -> list[nodes.Node]:
        configs = {name: type(AGENTS.lookup(name)().config) for name in AGENTS.names()}
        return [section(self, f'agent.name = "{name}"', agent_text(name, configs)) for name in configs]


def agent_text(name: str, configs: Mapping[str, type]) -> str:
    """What an agent is, and its table."""
    config, agent = configs[name], AGENTS.lookup(name)
    head = f"{summary(agent)} See {link(f'{agent.__module__}.{agent.__name__}')}."
    parents = [other for other, parent in configs.items() if parent is not config and issubclass(config, parent)]
    if not parents:
        return f"{head}\n\n{settings_table(config)}"
    parent = configs[parents[0]]
    defaults = {field.name: default_text(field) for field in dataclasses.fields(parent)}
    differing = [f.name for f in dataclasses.fields(config) if defaults.get(f.name) != default_text(f)]
    rest = f"The settings of `{parents[0]}`, "
    if not differing:
        return f"{head} {rest}all of them with the same defaults."
    return f"{head} {rest}of which these differ:\n\n{settings_table(config, only=differing)}"


def settings_table(config: type, *, only: list[str] | None = None) -> str:
    """The fields of a dataclass in Markdown: name, kind, default, meaning."""
    documented = field_docs(config)
    rows = [
        [f"`{field.name}`", f"`{kind}`", default_text(field), text]
        for field in dataclasses.fields(config)
        for kind, text in [documented[field.name]]
        if only is None or field.name in only
    ]
    return table(["setting", "kind", "default", "meaning"], rows)


class Nested(NamedTuple):
    """A dataclass among the fields of another one."""

    name: str
    """Dotted."""
    config: type
    is_repeated: bool
    """There may be several."""


def nested_settings(config: type, prefix: str = "") -> Iterator[Nested]:
    """The dataclasses among the fields, at any depth."""
    for name, kind in get_type_hints(config).items():
        for part in (kind, *get_args(kind)):
            if dataclasses.is_dataclass(part) and isinstance(part, type):
                dotted = f"{prefix}.{name}" if prefix else name
                yield Nested(dotted, part, is_repeated=get_origin(kind) is tuple)
                yield from nested_settings(part, dotted)


def field_docs(config: type) -> dict[str, tuple[str, str]]:
    """By field: its type as written, and the text under it, of the class itself or of one that it inherits from."""
    found: dict[str, tuple[str, str]] = {}
    for cls in reversed(config.__mro__[:-1]):
        analyzer = ModuleAnalyzer.for_module(cls.__module__)
        analyzer.analyze()
        for (owner, name), kind in analyzer.annotations.items():
            if owner == cls.__qualname__:
                lines = analyzer.attr_docs.get((owner, name), [])
                found[name] = (kind, " ".join(" ".join(lines).split()))
    for nested in nested_settings(config):
        if nested.name in found and not found[nested.name][1]:
            found[nested.name] = (found[nested.name][0], summary(nested.config))
    return found


def default_text(field: "dataclasses.Field[Any]") -> str:
    """The default as a run file would write it, in Markdown."""
    value = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
    if value is dataclasses.MISSING:
        return "required"
    if value is None:
        return "none"
    return "see its table" if dataclasses.is_dataclass(value) else f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    if isinstance(value, Enum):
        return _toml(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_toml(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    return "inf" if value == math.inf else str(value)
