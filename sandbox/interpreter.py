"""The Python that a sandbox on this machine runs: how it is started, and the folders that it needs."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import dataclass

from llmgym.errors import ConfigError, SandboxError

_ASK = "import json, sys; print(json.dumps([sys.executable, sys.prefix, sys.base_prefix, sys._base_executable]))"


@dataclass(frozen=True)
class Interpreter:
    """A Python of this machine."""

    argv: tuple[str, ...]
    """Its start, before -c."""
    folders: tuple[str, ...]
    """Folders outside /usr that it needs."""

    @classmethod
    def find(cls, python: str | None, *, for_everybody: bool = False) -> Interpreter:
        """The interpreter at path `python` with its packages, or the one of this process without packages.

        Args:
            python: path, or None.
            for_everybody: it must be within reach of any user; the system's Python then stands in for that of this
                process, if that is not.

        Raises:
            ConfigError: there is no Python at that path.
            SandboxError: no Python is within reach of other users.
        """
        options = ("-s", "-B")
        if python is None:
            base = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
            if for_everybody and not _is_open_to_all(base):
                if not _is_open_to_all("/usr/bin/python3"):
                    raise SandboxError(
                        f"The interpreter {base} is not within reach of other users, whom runs are given to, and there "
                        "is no /usr/bin/python3. Install one (apt-get install python3), or name one with python=."
                    )
                return cls(("/usr/bin/python3", "-S", *options), ())
            return cls((base, "-S", *options), _outside_usr(sys.base_prefix, os.path.dirname(base)))
        try:
            answer = subprocess.run([python, "-c", _ASK], capture_output=True, check=True, timeout=60)
            executable, prefix, base_prefix, base_executable = json.loads(answer.stdout)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise ConfigError(f"{python!r} is no working Python: {error}.") from error
        real = os.path.dirname(os.path.realpath(base_executable))
        return cls((executable, *options), _outside_usr(prefix, base_prefix, real))


def _is_open_to_all(path: str) -> bool:
    """Whether any user may execute the file."""
    real = os.path.realpath(path)
    above = [os.path.dirname(real)]
    while above[-1] != "/":
        above.append(os.path.dirname(above[-1]))
    return os.path.exists(real) and all(os.stat(part).st_mode & stat.S_IXOTH for part in (real, *above))


def _outside_usr(*folders: str) -> tuple[str, ...]:
    """The folders that are neither below /usr nor below another of them."""
    real = sorted({folder.rstrip("/") or "/" for folder in folders})
    kept: list[str] = []
    for folder in real:
        if not any(f"{folder}/".startswith(f"{above}/") for above in ("/usr", *kept)):
            kept.append(folder)
    return tuple(kept)
