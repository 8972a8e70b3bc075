"""Files that are whole at any time, and what is said where there is no room for them."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import DiskFullError

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


@contextmanager
def telling_full_disk(folder: Path, *, remedy: str) -> Iterator[None]:
    """Says what to do where the block finds no room to write in a folder.

    Raises:
        DiskFullError: the disk is full, or as much of it as its user may have.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFullError(f"No space is left to write to {str(folder)!r}. Make room, then {remedy}") from error
