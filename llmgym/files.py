"""Files that are whole at any time."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

UNFINISHED = "unfinished-"
"""How the name of a file begins that is being written, or that a killed process left."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """The path of another file, written in the block, that takes the place of `path` in one step at its end.

    Whoever reads `path`, also after a crash or on a full disk, finds the former file or the new one.
    """
    unfinished = path.with_name(f"{UNFINISHED}{path.name}")
    try:
        unfinished.unlink(missing_ok=True)
        yield unfinished
        sync(unfinished)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    sync(path.parent)


def replace_file(path: Path, text: str) -> None:
    """Write a text as `replacing` does."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def replace_json(path: Path, values: Any) -> None:
    """Write values, for people to read too, as `replacing` does."""
    replace_file(path, json.dumps(values, indent=2) + "\n")


def sync(path: Path) -> None:
    """Make sure that a file or folder is on disk, not only in memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
