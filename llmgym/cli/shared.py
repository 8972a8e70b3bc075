"""What the commands share: exit codes, keywords of environments, and how they print."""

import json
import math
import textwrap
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter, _SubParsersAction
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from rich.console import Console
from rich.table import Table

from ..progress import RunProgress
from ..settings import override_setting

DONE, FOUND, ASKED_WRONGLY, OUR_FAILURE, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes; see `llmgym --help`."""

Commands: TypeAlias = "_SubParsersAction[ArgumentParser]"

_HELP_WIDTH = 80
_PLAIN_WIDTH = 240
_RECIPES = Path(__file__).parent.parent / "training" / "recipes"


def add_command(commands: Commands, name: str, *, summary: str, about: str = "", examples: str) -> ArgumentParser:
    """A command whose help ends in examples, one a line."""
    lines = "\n".join(f"  {line.strip()}" for line in examples.strip().splitlines())
    return commands.add_parser(
        name,
        help=summary,
        description=textwrap.fill(about or f"{summary[0].upper()}{summary[1:]}.", _HELP_WIDTH),
        epilog=f"examples:\n{lines}",
        formatter_class=RawDescriptionHelpFormatter,
    )


def add_env(parser: ArgumentParser) -> None:
    """The id of an environment, and keywords for it."""
    parser.add_argument("env", metavar="ID", help="of the environment, e.g. llmgym/Math-v0 or package:my/Task-v0")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="name=value",
        help="keywords of the environment, by dotted name, e.g. limits.turn_tokens=256",
    )


def add_json(parser: ArgumentParser) -> None:
    """The switch to JSON."""
    parser.add_argument("--json", action="store_true", help="print one JSON document on standard output, nothing else")


def env_kwargs(options: Namespace) -> dict[str, Any]:
    """The keywords that were given by dotted name.

    Raises:
        ConfigError: one has another form than "dotted.name=value".
    """
    values: dict[str, Any] = {}
    for override in options.overrides:
        override_setting(values, override)
    return values


def recipes() -> dict[str, Path]:
    """The run files that llmgym brings, by name."""
    return {path.stem: path for path in sorted(_RECIPES.glob("*.toml"))}


def console() -> Console:
    """Standard output; what reads it instead of a person gets no line broken and no colour."""
    out = Console(highlight=False)
    return out if out.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)


def progress(options: Namespace) -> RunProgress:
    """On standard error; quiet where JSON was asked for."""
    return RunProgress(quiet=options.json)


def table(*columns: str, title: str | None = None) -> Table:
    """A table without lines."""
    made = Table(title=title, box=None, pad_edge=False, title_justify="left", header_style="bold", padding=(0, 3, 0, 0))
    for column in columns:
        made.add_column(column)
    return made


def print_json(values: Any) -> None:
    """One document; numbers that JSON does not know are null."""
    print(json.dumps(_finite(values), indent=2, allow_nan=False))


def _finite(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {str(key): _finite(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values
