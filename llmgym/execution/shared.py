"""Sandboxes that all environments and tools of this process share."""

import threading

from .opening import open_sandbox
from .sandbox import Sandbox

_shared: dict[tuple[str, bool], Sandbox] = {}
_lock = threading.Lock()


def shared_sandbox(level: str = "auto", *, allow_unsafe: bool = False) -> Sandbox:
    """The sandbox of this level, opened by the first call; it ends with the process.

    Raises:
        SandboxError, UnknownSandboxError, ConfigError: see `open_sandbox`.
    """
    with _lock:  # two threads that ask at once open one
        if (level, allow_unsafe) not in _shared:
            _shared[level, allow_unsafe] = open_sandbox(level, allow_unsafe=allow_unsafe)
        return _shared[level, allow_unsafe]
