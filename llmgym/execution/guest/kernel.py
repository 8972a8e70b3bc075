"""The system calls that Python has no function for, and the family of a process."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterable

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND = 2, 4, 8, 4096
_NAMESPACES = {"user": 0x10000000, "pid": 0x20000000, "mount": 0x00020000, "ipc": 0x08000000}
_CAPABILITY_VERSION_3 = 0x20080522

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> int:
    """`result` of a C function, or OSError where it is -1."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def prctl(option: int, value: int) -> None:
    checked(libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), f"prctl({option})")


def adopt_orphans() -> None:
    """From now on, descendants whose parents died become children of this process."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def hide_memory() -> None:
    """Nobody of the same user may trace this process or read its memory. Children inherit it."""
    prctl(_PR_SET_DUMPABLE, 0)


def show_memory() -> None:
    """Undo `hide_memory` for this process, whose files in /proc are else the administrator's."""
    prctl(_PR_SET_DUMPABLE, 1)


def own_namespaces(*names: str) -> None:
    """Move into a new user namespace, as the same user, and into new ones of the given kinds. Memory stays hidden."""
    user, group = os.getuid(), os.getgid()
    flags = sum(_NAMESPACES[name] for name in names)
    checked(libc.unshare(_NAMESPACES["user"] | flags), "unshare")
    show_memory()
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    hide_memory()


def leave_shared_mounts() -> None:
    checked(libc.unshare(_NAMESPACES["mount"]), "unshare of mounts")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    what = (source.encode(), target.encode(), kind.encode())
    checked(libc.mount(*what, ctypes.c_ulong(flags), data.encode()), f"mount of {kind or source} on {target}")


def drop_capabilities() -> None:
    """Give up all of the administrator's rights within this user namespace."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    checked(libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def end_of_process(pid: int) -> int:
    """A descriptor that is readable when the process has ended, or -1 where the kernel has none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return -1


def has_ended(pid: int) -> bool:
    """Whether this child has ended. It stays to be waited for."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def descendants(ancestor: int) -> list[int]:
    """All processes below `ancestor`, which adopts orphans."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parent = int(file.read().rpartition(b")")[2].split()[1])
            except OSError:
                continue  # it is gone
            children.setdefault(parent, []).append(int(name))
    found, waiting = [], [ancestor]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def kill_children(known: Iterable[int] = ()) -> None:
    """Kill every descendant of this process, which adopts orphans, and wait for all of them.

    Args:
        known: children whose numbers are known: where there are no others, /proc is not searched.
    """
    for pid in known:
        _kill(pid)
        os.waitpid(pid, 0)
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        for pid in descendants(os.getpid()):
            _kill(pid)
        time.sleep(0.001)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def memory_of(pids: list[int], enough: int) -> int:
    """Bytes that processes hold together. Looked at closely only where a quick sum is above `enough`.

    The quick sum counts pages as often as they are shared after a fork.
    """
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm", "rb") as file:
                _, resident, shared, *_ = map(int, file.read().split())
        except OSError:
            continue
        total += (resident - shared) * os.sysconf("SC_PAGE_SIZE")
    return min(total, sum(map(_proportional_bytes, pids))) if total > enough else total


def _proportional_bytes(pid: int) -> int:
    """Memory of one process, each shared page divided by those who share it."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 1 << 50  # not to be known: the quick sum stands
