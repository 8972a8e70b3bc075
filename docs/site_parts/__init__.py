"""Parts of the site that are made from the code, so that they cannot drift from it."""

from typing import Any

from sphinx.application import Sphinx

from .code import AgentList, Commands, EnvironmentList, Metrics, RegisteredModules, TopLevelNames
from .docstrings import to_restructured_text
from .papers import PaperIndex
from .settings import AgentSettings, Settings


def setup(app: Sphinx) -> dict[str, Any]:
    """What Sphinx calls."""
    app.connect("autodoc-process-docstring", to_restructured_text, priority=400)  # before napoleon, at 500
    for name, directive in {
        "agent-list": AgentList,
        "agent-settings": AgentSettings,
        "commands": Commands,
        "environment-list": EnvironmentList,
        "metrics": Metrics,
        "paper-index": PaperIndex,
        "registered-modules": RegisteredModules,
        "settings": Settings,
        "top-level-names": TopLevelNames,
    }.items():
        app.add_directive(name, directive)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
