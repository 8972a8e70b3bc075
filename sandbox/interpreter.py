"""The Python that a sandbox on this machine runs: how it is started, and the folders that it needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass

from llmgym.errors import ConfigError

_ASK = "import json, sys; print(json.dumps([sys.executable, sys.prefix, sys.base_prefix, sys._base_executable]))"


@dataclass(frozen=True)
class Interpreter:
    """A Python of this machine."""

    argv: tuple[str, ...]
    """Its start, before -c."""
    folders: tuple[str, ...]
    """Folders outside /usr that it needs."""

    @classmethod
    def find(cls, python: str | None) -> Interpreter:
        """The interpreter at path `python` with its packages, or the one of this process without packages.

        Raises:
            ConfigError: there is no Python at that path.
        """
        options = ("-s", "-B")
        if python is None:
            base = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
            return cls((base, "-S", *options), _outside_usr(sys.base_prefix, os.path.dirname(base)))
        try:
            answer = subprocess.run([python, "-c", _ASK], capture_output=True, check=True, timeout=60)
            executable, prefix, base_prefix, base_executable = json.loads(answer.stdout)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise ConfigError(f"{python!r} is no working Python: {error}.") from error
        real = os.path.dirname(os.path.realpath(base_executable))
        return cls((executable, *options), _outside_usr(prefix, base_prefix, real))


def _outside_usr(*folders: str) -> tuple[str, ...]:
    """The folders that are neither below /usr nor below another of them."""
    real = sorted({folder.rstrip("/") or "/" for folder in folders})
    kept: list[str] = []
    for folder in real:
        if not any(f"{folder}/".startswith(f"{above}/") for above in ("/usr", *kept)):
            kept.append(folder)
    return tuple(kept)
