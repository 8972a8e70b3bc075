"""How a child is shut in: by settings that the host gave, step by step, for each level."""

from __future__ import annotations

import math
import os
import resource
import stat
from typing import Any

from . import kernel, landlock, seccomp

_MIB = 1 << 20
_MAX_FILES = 10_000
_DEVICES = [f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom")]
_QUIET = kernel.MS_NOSUID | kernel.MS_NODEV


class Confinement:
    """Only resource limits and a directory of its own: what every level has at least."""

    def __init__(self, settings: dict[str, Any], program: dict[str, Any]) -> None:
        self.settings, self.limits = settings, program["limits"]
        self.home = program.get("home", "")
        name = f"run-{os.getpid()}-{os.urandom(4).hex()}"
        self.directory = self.home or os.path.join(settings.get("scratch", ""), name)

    def prepare(self) -> None:
        """In the supervisor, before the child is made."""
        if not os.path.isdir(self.directory):
            os.makedirs(self.directory, mode=0o700)

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
            empty_folder(self.directory)
            os.rmdir(self.directory)

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


def empty_folder(folder: str) -> None:
    """Delete all that is in `folder`, however deep: this process goes down into it, so no path grows long."""
    os.chdir(folder)
    above: list[tuple[str, list[str]]] = []
    names = os.listdir(".")
    while names or above:
        if not names:
            os.chdir("..")
            done, names = above.pop()
            os.rmdir(done)
            continue
        name = names.pop()
        if stat.S_ISDIR(os.lstat(name).st_mode):
            os.chmod(name, 0o700)
            os.chdir(name)
            above.append((name, names))
            names = os.listdir(".")
        else:
            os.unlink(name)


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
        kernel.own_namespaces("pid", "ipc")

    def enter(self) -> str:
        os.setsid()
        kernel.leave_shared_mounts()  # not the supervisor's, which needs its own /proc
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
        kernel.hide_memory()

    def mount_memory(self) -> None:
        data = f"size={int(self.limits['disk_mib'])}m,nr_inodes={_MAX_FILES},mode=0700"
        kernel.mount("tmpfs", "/tmp", "tmpfs", _QUIET, data)
        os.mkdir("/tmp/.shm", 0o700)
        kernel.mount("/tmp/.shm", "/dev/shm", "", kernel.MS_BIND)

    def num_processes(self) -> int:
        return int(self.limits["num_processes"]) + 1  # the kernel counts those of this namespace: the supervisor too

    def close_door(self) -> None:
        kernel.drop_capabilities()
        kernel.show_memory()  # to the supervisor, who adds it up; nobody else is in this namespace
        seccomp.no_new_privileges()
        if seccomp.is_known_machine():
            seccomp.filter_system_calls(has_sockets=True, has_ipc=True, can_signal=True, can_change_metadata=True)

    def clean(self) -> None:
        """Everything was in namespaces that are gone."""


class UserConfinement(Confinement):
    """A user of its own for each run, where the worker runs as root, and a filter of system calls: in a container.

    A run cannot reach what another user has: the supervisor, the worker, or another run's tester.
    """

    has_sockets = True

    def __init__(self, settings: dict[str, Any], program: dict[str, Any]) -> None:
        super().__init__(settings, program)
        self.is_root = os.getuid() == 0
        first, count = settings["users"]
        self.user, self.tester_user = (first + int.from_bytes(os.urandom(4), "big") % count for _ in range(2))
        if self.home:
            self.user = first + program["episode"] % count  # its files are there from run to run

    def prepare(self) -> None:
        super().prepare()
        if self.is_root and os.stat(self.directory).st_uid == 0:
            os.chown(self.directory, self.user, self.user)

    def enter(self) -> str:
        os.setsid()
        self.become(self.user)
        os.chdir(self.directory)
        return self.directory

    def enter_tester(self) -> None:
        os.setsid()
        self.become(self.tester_user)
        os.chdir("/")
        self.shut([])

    def become(self, user: int) -> None:
        self.limit_resources(self.num_processes())
        if self.is_root:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            kernel.die_with_parent()  # the change of user undid it

    def num_processes(self) -> int:
        return int(self.limits["num_processes"]) if self.is_root else super().num_processes()

    def close_door(self) -> None:
        self.shut([self.directory])

    def shut(self, writable: list[str]) -> None:  # noqa: ARG002  (files are the container's affair)
        seccomp.no_new_privileges()
        self.filter_calls(can_signal=self.is_root)

    def filter_calls(self, *, can_signal: bool) -> None:
        seccomp.filter_system_calls(
            has_sockets=self.has_sockets,
            has_ipc=False,
            can_signal=can_signal,
            can_change_metadata=self.is_root,
        )

    def clean(self) -> None:
        super().clean()
        if self.settings.get("owns_shared_memory"):
            empty_folder("/dev/shm")


class LandlockConfinement(UserConfinement):
    """Landlock for files, the filter of system calls for sockets, and a user of its own where the worker is root."""

    has_sockets = False

    def shut(self, writable: list[str]) -> None:
        seccomp.no_new_privileges()
        landlock.restrict_files(self.settings["read_only"], writable, _DEVICES)
        self.filter_calls(can_signal=self.is_root or landlock.abi() >= landlock.SIGNALS_ABI)


_KINDS = {
    "none": Confinement,
    "namespaces": NamespaceConfinement,
    "landlock": LandlockConfinement,
    "container": UserConfinement,
}


def confinement_of(settings: dict[str, Any], program: dict[str, Any]) -> Confinement:
    return _KINDS[settings["isolation"]](settings, program)
