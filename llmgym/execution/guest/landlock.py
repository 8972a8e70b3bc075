"""Landlock: files that a process and all it starts may use, without any rights or namespaces. Linux 6.2 or newer."""

from __future__ import annotations

import ctypes
import os
import struct

from .kernel import checked, libc

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE, _READ, _READ_FOLDER, _TRUNCATE, _DEVICE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14, 1 << 15
_MAKE_DEVICES = 1 << 6 | 1 << 11
_SCOPE = 0b11
"""Signals, and abstract Unix sockets, only within."""
SIGNALS_ABI = 6
"""From this version on, other processes are safe from signals."""
_OLDEST_ABI = 3
"""Older ones let any file be truncated."""


def abi() -> int:
    """The kernel's version of Landlock.

    Raises:
        OSError: there is none, or it is too old.
    """
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))
    if version < _OLDEST_ABI:
        have = "no Landlock" if version < 1 else f"only version {version} of Landlock"
        raise OSError(
            f"this kernel has {have}. Linux 6.2 or newer with CONFIG_SECURITY_LANDLOCK=y and landlock in lsm= is needed"
        )
    return int(version)


def restrict_files(read_only: list[str], read_write: list[str], devices: list[str]) -> None:
    """From now on, for this process and all it starts, let no other file be used. Needs `no_new_privileges` first.

    Args:
        read_only: folders and files that may be read and executed; those that are not there are left out.
        read_write: folders in which everything may be done.
        devices: files that may be read and written.
    """
    version = abi()
    everything = (1 << (15 if version < 5 else 16)) - 1
    attributes = struct.pack("=QQQ", everything, 0, _SCOPE)[: 8 if version < 4 else 16 if version < SIGNALS_ABI else 24]
    ruleset = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    checked(ruleset, "landlock_create_ruleset")
    reading = _EXECUTE | _READ | _READ_FOLDER
    for access, paths in (
        (reading, read_only),
        (everything & ~_MAKE_DEVICES, read_write),
        (_READ | _WRITE | _TRUNCATE | (everything & _DEVICE), devices),
    ):
        for path in paths:
            _allow(ruleset, path, access)
    checked(libc.syscall(_RESTRICT_SELF, ruleset, ctypes.c_uint32(0)), "landlock_restrict_self")
    os.close(ruleset)


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    if not os.path.isdir(path):
        access &= _EXECUTE | _READ | _WRITE | _TRUNCATE | _DEVICE
    rule = struct.pack("=Qi", access, folder)
    checked(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, ctypes.c_uint32(0)), f"landlock_add_rule for {path}")
    os.close(folder)
