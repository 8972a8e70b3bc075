"""The system calls that Python has no function for, and the family of a process."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND = 2, 4, 8, 4096
_NAMESPACES = {"user": 0x10000000, "pid": 0x20000000, "mount": 0x00020000, "ipc": 0x08000000}
_THIS_PROCESS, _NO_CAPABILITIES = struct.pack("=II", 0x20080522, 0), bytes(24)
"""The arguments of capset(), of version 3."""

_CLONE_CHILD_CLEARTID, _CLONE_CHILD_SETTID = 0x00200000, 0x01000000
_PR_GET_TID_ADDRESS = 40

libc = ctypes.CDLL(None, use_errno=True)
_libc_with_lock = ctypes.PyDLL(None, use_errno=True)
_page = bytearray(1 << 12)


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


def fork_into(*names: str) -> int:
    """`os.fork`, with the child in a new user namespace and in new ones of the given kinds: one process, not two.

    The child has yet to call `name_user`.
    """
    call = 56 if os.uname().machine == "x86_64" else 220
    flags = signal.SIGCHLD | _NAMESPACES["user"] | sum(_NAMESPACES[name] for name in names)
    number = ctypes.c_void_p()  # where the C library keeps the thread's number, as its own fork tells the kernel
    if libc.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(number), 0, 0, 0) == 0 and number.value:
        flags |= _CLONE_CHILD_CLEARTID | _CLONE_CHILD_SETTID
    last = (number, None) if call == 56 else (None, number)
    python = ctypes.pythonapi
    python.PyOS_BeforeFork()
    pid: int = _libc_with_lock.syscall(call, ctypes.c_ulong(flags), None, None, *last)
    if pid == 0:
        python.PyOS_AfterFork_Child()
        return 0
    error = ctypes.get_errno()
    python.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(error, f"clone: {os.strerror(error)}")
    return pid


def name_user(user: int, group: int) -> None:
    """In a new user namespace, be the same user as outside. Memory stays hidden."""
    show_memory()
    for name, text in (
        ("setgroups", b"deny"),
        ("uid_map", b"%d %d 1" % (user, user)),
        ("gid_map", b"%d %d 1" % (group, group)),
    ):
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY)
        os.write(descriptor, text)
        os.close(descriptor)
    hide_memory()


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    what = (source.encode(), target.encode(), kind.encode())
    checked(libc.mount(*what, ctypes.c_ulong(flags), data.encode()), f"mount of {kind or source} on {target}")


def drop_capabilities() -> None:
    """Give up all of the administrator's rights within this user namespace."""
    checked(libc.capset(_THIS_PROCESS, _NO_CAPABILITIES), "capset")


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
    """All processes below `ancestor`, which adopts orphans. Names that they gave themselves are not kept in memory."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                file = os.open(f"/proc/{name}/stat", os.O_RDONLY)
                size = os.readv(file, [_page])
                os.close(file)
            except OSError:
                continue  # it is gone
            parent = int(_page[_page.rindex(b")", 0, size) : size].split(None, 3)[2])
            children.setdefault(parent, []).append(int(name))
    _page[:] = bytes(len(_page))
    found, waiting = [], [ancestor]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def kill_and_wait(pid: int) -> tuple[int, resource.struct_rusage]:
    """Kill a child. Returns its wait status, and what it and its own children that it waited for have used."""
    _kill(pid)
    _, status, used = os.wait4(pid, 0)
    return status, used


def kill_children() -> None:
    """Kill every descendant of this process, which adopts orphans, and wait for all of them."""
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
    quick = {pid: _own_bytes(pid) for pid in pids}
    total = sum(quick.values())
    return sum(min(_proportional_bytes(pid), own) for pid, own in quick.items()) if total > enough else total


def _own_bytes(pid: int) -> int:
    """Memory of one process that no file backs; nothing where it has ended."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            _, resident, shared, *_ = map(int, file.read().split())
    except OSError:
        return 0
    return int((resident - shared) * os.sysconf("SC_PAGE_SIZE"))


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
