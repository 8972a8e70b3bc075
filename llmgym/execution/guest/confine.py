"""How a child is shut in: by settings that the host gave, step by step, for each level."""

from __future__ import annotations

import math
import os
import resource
import shutil
from typing import Any

from . import kernel, seccomp

_MIB = 1 << 20
_MAX_FILES = 10_000
_QUIET = kernel.MS_NOSUID | kernel.MS_NODEV


class Confinement:
    """Only resource limits and a directory of its own: what every level has at least."""

    def __init__(self, settings: dict[str, Any], program: dict[str, Any]) -> None:
        self.settings, self.limits = settings, program["limits"]
        self.home = program.get("home", "")
        self.directory = self.home or os.path.join(
            settings.get("scratch", ""), f"run-{os.getpid()}-{os.urandom(4).hex()}"
        )

    def prepare(self) -> None:
        """In the supervisor, before the child is made."""
        os.makedirs(self.directory, mode=0o700, exist_ok=True)

    def enter(self) -> str:
        """In the child, before it runs anything of others. Returns its working directory."""
        os.setsid()
        os.chdir(self.directory)
        self.limit_resources(self.num_processes())
        return self.directory

    def enter_tester(self) -> None:
        """In the tester, which is not hostile, but is not ours either."""
        os.setsid()
        os.chdir("/")
        self.limit_resources(self.num_processes())

    def close_door(self) -> None:
        """In the child, last of all, when its directory is filled."""

    def num_processes(self) -> int:
        """The kernel counts all processes of a user, so those that are there already are added."""
        return int(self.limits["num_processes"]) + _processes_of_user()

    def clean(self) -> None:
        """In the supervisor, after every process of the run is gone."""
        if not self.home:
            shutil.rmtree(self.directory, ignore_errors=True)

    def limit_resources(self, num_processes: int) -> None:
        limits = self.limits
        cpu_s = math.ceil(limits["cpu_s"])
        memory = int(limits["memory_mib"] * _MIB)
        for name, soft, hard in (
            ("CPU", cpu_s, cpu_s + 1),
            ("AS", memory, memory),
            ("FSIZE", int(limits["file_mib"] * _MIB), int(limits["file_mib"] * _MIB)),
            ("NOFILE", int(limits["num_open_files"]), int(limits["num_open_files"])),
            ("NPROC", num_processes, num_processes),
            ("CORE", 0, 0),
            ("MSGQUEUE", 0, 0),
            ("STACK", min(64 * _MIB, memory // 4), memory),
        ):
            number = getattr(resource, f"RLIMIT_{name}", None)
            if number is not None:
                _set_limit(number, soft, hard)


def _set_limit(number: int, soft: int, hard: int) -> None:
    _, ceiling = resource.getrlimit(number)
    if ceiling != resource.RLIM_INFINITY:
        soft, hard = min(soft, ceiling), min(hard, ceiling)
    resource.setrlimit(number, (soft, hard))


def _processes_of_user() -> int:
    user, count = os.getuid(), 0
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == user:
                    count += len(os.listdir(f"/proc/{name}/task"))
            except OSError:
                continue
    return count


class NamespaceConfinement(Confinement):
    """User, process, mount and IPC namespaces, and a file system in memory, made anew for each run.

    The network, the host's name and the read-only files are those of the worker's own namespaces.
    """

    def prepare(self) -> None:
        kernel.own_namespaces("pid", "mount", "ipc")

    def enter(self) -> str:
        os.setsid()
        kernel.mount("proc", "/proc", "proc", _QUIET | kernel.MS_NOEXEC)
        self.mount_memory()
        if self.home:
            self.directory = self.home
        else:
            self.directory = "/tmp/work"
            os.mkdir(self.directory, 0o700)
        os.chdir(self.directory)
        self.limit_resources(self.num_processes())
        return self.directory

    def enter_tester(self) -> None:
        os.setsid()
        kernel.own_namespaces("mount", "ipc")
        self.mount_memory()
        os.chdir("/tmp")
        self.limit_resources(self.num_processes())
        self.close_door()

    def mount_memory(self) -> None:
        data = f"size={int(self.limits['disk_mib'])}m,nr_inodes={_MAX_FILES},mode=0700"
        kernel.mount("tmpfs", "/tmp", "tmpfs", _QUIET, data)
        os.mkdir("/tmp/.shm", 0o700)
        kernel.mount("/tmp/.shm", "/dev/shm", "", kernel.MS_BIND)

    def num_processes(self) -> int:
        return int(self.limits["num_processes"]) + 1  # the kernel counts those of this namespace: the supervisor too

    def close_door(self) -> None:
        kernel.drop_capabilities()
        seccomp.no_new_privileges()
        if seccomp.is_known_machine():
            seccomp.filter_system_calls(has_sockets=True, has_ipc=True, can_signal=True, can_change_metadata=True)

    def clean(self) -> None:
        """Everything was in namespaces that are gone."""


_KINDS = {"none": Confinement, "namespaces": NamespaceConfinement}


def confinement_of(settings: dict[str, Any], program: dict[str, Any]) -> Confinement:
    return _KINDS[settings["isolation"]](settings, program)
