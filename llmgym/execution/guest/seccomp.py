"""A filter of system calls: those that no tested program needs, and that attack the kernel or leave the walls."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from .kernel import checked, libc, prctl

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_SET, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _ARGUMENT_0, _ARGUMENT_1 = 0, 4, 16, 24
"""Offsets in struct seccomp_data; of arguments the low half."""
_NAMESPACES = 0x7E020000 | 0x80
"""CLONE_NEW* of clone(): mount, cgroup, UTS, IPC, user, PID, network, and time."""
_X32_BIT = 0x40000000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _MODE_FILTER = 38, 22, 2

_MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# name: (x86_64, aarch64); None where the machine has no such call.
_NUMBERS: dict[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "adjtimex": (159, 171), "clock_adjtime": (305, 266),
    "syslog": (103, 116), "acct": (163, 89), "quotactl": (179, 60), "sethostname": (170, 161),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "fanotify_init": (300, 262),
}  # fmt: skip
_CLONE, _CLONE3 = (56, 220), 435
_SYSV_IPC: dict[str, tuple[int | None, int | None]] = {
    "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
}  # fmt: skip
_SOCKET = (41, 198)
_SIGNALS: dict[str, tuple[int | None, int | None]] = {
    "kill": (62, 129), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
}  # fmt: skip
_OTHER_SIGNALS = {"tkill": (200, 130), "pidfd_send_signal": (424, 424)}
_METADATA: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "lchown": (94, None), "fchown": (93, 55), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
}  # fmt: skip


_INSTRUCTION = struct.Struct("=HBBI")
"""Code, where to jump for yes and for no, and a value."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.c_char_p))


def is_known_machine() -> bool:
    return os.uname().machine in _MACHINES


def no_new_privileges() -> None:
    """No program that is executed from now on, setuid or not, gets more rights than this process has."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def filter_of(*, has_sockets: bool, has_ipc: bool, can_signal: bool, can_change_metadata: bool, pid: int = 0) -> Filter:
    """A filter that refuses what no tested program needs.

    Args:
        has_sockets: sockets may be made: the network is shut off otherwise.
        has_ipc: System V and POSIX message queues and segments may be made: they end with the run otherwise.
        can_signal: other processes may get signals: they are safe otherwise.
        can_change_metadata: modes, owners, times and attributes of files may be changed; else such calls do nothing.
        pid: the only process that gets signals where others may not.
    """
    machine = list(_MACHINES).index(os.uname().machine)
    code = [(_LOAD, 0, 0, _ARCH), (_JUMP_EQUAL, 1, 0, list(_MACHINES.values())[machine]), (_RETURN, 0, 0, _KILL)]
    code.append((_LOAD, 0, 0, _NUMBER))
    if machine == 0:
        code += [(_JUMP_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    refused = dict(_NUMBERS)
    if not has_ipc:
        refused.update(_SYSV_IPC)
    if not has_sockets:
        refused["socket"] = _SOCKET
    if not can_signal:
        refused.update(_OTHER_SIGNALS)
    answers = [(numbers[machine], errno.EPERM) for numbers in refused.values()]
    answers.append((_CLONE3, errno.ENOSYS))  # its flags cannot be seen here; libc then falls back on clone
    if not can_change_metadata:
        answers += [(numbers[machine], 0) for numbers in _METADATA.values()]
    for number, answer in answers:
        if number is not None:
            code += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | answer)]
    code += [
        (_JUMP_EQUAL, 0, 3, _CLONE[machine]),
        (_LOAD, 0, 0, _ARGUMENT_0),
        (_JUMP_SET, 0, 1, _NAMESPACES & ~0x80),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if not can_signal:
        for numbers in _SIGNALS.values():
            code += _only_to(pid, numbers[machine] or 0)
    code.append((_RETURN, 0, 0, _ALLOW))
    return Filter(b"".join(_INSTRUCTION.pack(*fields) for fields in code))


def _only_to(pid: int, number: int) -> list[tuple[int, int, int, int]]:
    """Its first argument must be this process, which is the one that may then start others."""
    return [
        (_JUMP_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, _ARGUMENT_0),
        (_JUMP_EQUAL, 1, 0, pid),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_LOAD, 0, 0, _NUMBER),
    ]


class Filter:
    """Held to it by `install` are this process and all it starts, from then on. Needs `no_new_privileges` first."""

    def __init__(self, code: bytes) -> None:
        self._program = _Program(len(code) // _INSTRUCTION.size, code)
        self._reference = ctypes.byref(self._program)

    def install(self) -> None:
        checked(libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, self._reference, 0, 0), "prctl(PR_SET_SECCOMP)")
