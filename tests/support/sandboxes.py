"""One sandbox of each level for the tests of a module, and a look at the machine around it."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmgym.errors import SandboxError
from llmgym.execution import Sandbox, open_sandbox

LEVELS = ("process", "landlock", "bwrap", "docker")
SAFE_LEVELS = LEVELS[1:]


def sandbox_of(level: str, require, **options) -> Sandbox:
    try:
        return open_sandbox(level, allow_unsafe=level == "process", **options)
    except SandboxError as error:
        if level == "process":
            raise
        require(level, False, str(error))
        raise


@pytest.fixture(scope="module", params=LEVELS)
def sandbox(request, require) -> Iterator[Sandbox]:
    with sandbox_of(request.param, require, num_workers=2) as opened:
        yield opened


@pytest.fixture(scope="module", params=SAFE_LEVELS)
def safe_sandbox(request, require) -> Iterator[Sandbox]:
    """With one worker, so that each run meets what the last one left."""
    with sandbox_of(request.param, require, num_workers=1) as opened:
        yield opened


def guest_processes() -> set[int]:
    """Every process of this machine that is a guest program of ours, or was forked from one."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                if f"llmgym-guest-of-{os.getpid()}\0".encode() in (folder / "cmdline").read_bytes():
                    found.add(int(folder.name))
            except OSError:
                continue
    return found


def until(condition, seconds: float = 60.0) -> bool:
    """Whether `condition()` came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
