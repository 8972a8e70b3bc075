"""How a child is shut in: by settings that the host gave, step by step, for each level."""

from __future__ import annotations

import math
import os
import resource
import stat
from collections.abc import Callable
from typing import Any

from . import kernel, landlock, seccomp

_MIB = 1 << 20
_MAX_FILES = 10_000
_DEVICES = [f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom")]
_RESOURCES = tuple(
    getattr(resource, f"RLIMIT_{name}", None)
    for name in ("CPU", "AS", "FSIZE", "NOFILE", "NPROC", "CORE", "MSGQUEUE", "STACK")
)
_OWN_FILES = ("main.py", "solution.py")
"""What nearly every run leaves in its directory: the program itself."""
_QUIET = kernel.MS_NOSUID | kernel.MS_NODEV


class Confinement:
    """Only resource limits and a directory of its own: what every level has at least. One for all runs of a worker."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings, self.home = settings, settings["home"]
        self.directory = self.home or self.new_directory()
        """Where runs work; made anew for each, if it is no home."""

    def new_directory(self) -> str:
        return os.path.join(self.settings["scratch"], f"run-{os.getpid()}-{os.urandom(4).hex()}")

    def prepare(self) -> None:
        """In the zygote, before the child of a run is made."""
        if not self.home:
            os.mkdir(self.directory, 0o700)
        elif not os.path.isdir(self.home):
            os.makedirs(self.home, mode=0o700)
        else:
            os.chmod(self.home, 0o700)  # an earlier run may have shut it, and nobody could work in it then

    def fork(self) -> int:
        return os.fork()

    def fork_tester(self) -> int:
        return os.fork()

    def enter(self, limits: dict[str, Any]) -> None:
        """In the child, before it runs anything of others: it is then in its directory."""
        os.setsid()
        os.chdir(self.directory)
        self.limit_resources(limits, self.num_processes(limits))

    def enter_tester(self, limits: dict[str, Any]) -> None:
        """In the tester, which is not hostile, but is not ours either."""
        os.setsid()
        os.chdir("/")
        self.limit_resources(limits, self.num_processes(limits))

    def close_door(self) -> None:
        """In the child, last of all, when its directory is filled."""

    def num_processes(self, limits: dict[str, Any]) -> int:
        """The kernel counts all processes of a user, so those that are there already are added."""
        return int(limits["num_processes"]) + _processes_of_user()

    def clean(self) -> bool:
        """In the zygote, after every process of a run is gone. Returns whether nothing is left."""
        if self.home:
            return True
        for name in _OWN_FILES:
            try:
                os.unlink(f"{self.directory}/{name}")
            except OSError:
                pass  # it was not written, or is a folder now
        try:
            os.rmdir(self.directory)
        except FileNotFoundError:
            pass
        except OSError:
            return _in_a_process_of_its_own(lambda: remove_folder(self.directory))
        return True

    def limit_resources(self, limits: dict[str, Any], num_processes: int) -> None:
        cpu_s = math.ceil(limits["cpu_s"])
        memory = int(limits["memory_mib"] * _MIB)
        file_bytes, num_files = int(limits["file_mib"] * _MIB), int(limits["num_open_files"])
        values: tuple[tuple[int, int], ...]
        values = ((cpu_s, cpu_s + 1), (memory, memory), (file_bytes, file_bytes), (num_files, num_files))
        values += ((num_processes, num_processes), (0, 0), (0, 0), (min(64 * _MIB, memory // 4), memory))
        for number, (soft, hard) in zip(_RESOURCES, values):  # noqa: B905  (Python 3.9 has no strict=)
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


def remove_folder(folder: str) -> None:
    empty_folder(folder)
    os.rmdir(folder)


def _in_a_process_of_its_own(work: Callable[[], None]) -> bool:
    """Whether `work` was done. The zygote so never holds the names of a run's files, or works in its folders."""
    worker = os.fork()
    if worker == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(worker, 0)[1] == 0


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

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self.user, self.group = os.getuid(), os.getgid()
        self.filter: seccomp.Filter | None = None
        if seccomp.is_known_machine():
            self.filter = seccomp.filter_of(has_sockets=True, has_ipc=True, can_signal=True, can_change_metadata=True)

    def new_directory(self) -> str:
        return "/tmp/work"

    def prepare(self) -> None:
        """The child makes its own directory."""

    def fork(self) -> int:
        return kernel.fork_into("pid", "mount", "ipc")

    def fork_tester(self) -> int:
        return kernel.fork_into("mount", "ipc")

    def enter(self, limits: dict[str, Any]) -> None:
        kernel.name_user(self.user, self.group)
        os.setsid()
        kernel.mount("proc", "/proc", "proc", _QUIET | kernel.MS_NOEXEC)
        self.mount_memory(limits)
        if self.home:
            os.chmod(self.home, 0o700)
        else:
            os.mkdir(self.directory, 0o700)
        os.chdir(self.directory)
        self.limit_resources(limits, self.num_processes(limits))

    def enter_tester(self, limits: dict[str, Any]) -> None:
        kernel.name_user(self.user, self.group)
        os.setsid()
        self.mount_memory(limits)
        os.chdir("/tmp")
        self.limit_resources(limits, self.num_processes(limits))
        self.close_door()
        kernel.hide_memory()

    def mount_memory(self, limits: dict[str, Any]) -> None:
        data = f"size={int(limits['disk_mib'])}m,nr_inodes={_MAX_FILES},mode=0700"
        kernel.mount("tmpfs", "/tmp", "tmpfs", _QUIET, data)
        os.mkdir("/tmp/.shm", 0o700)
        kernel.mount("/tmp/.shm", "/dev/shm", "", kernel.MS_BIND)

    def num_processes(self, limits: dict[str, Any]) -> int:
        return int(limits["num_processes"])  # the kernel counts those of this namespace

    def close_door(self) -> None:
        kernel.drop_capabilities()
        kernel.show_memory()  # to the zygote, who adds it up; nobody else is in this namespace
        seccomp.no_new_privileges()
        if self.filter:
            self.filter.install()

    def clean(self) -> bool:
        """Everything was in namespaces that are gone."""
        return True


class UserConfinement(Confinement):
    """A user of its own for each run, where the worker runs as root, and a filter of system calls: in a container.

    A run cannot reach what another user has: the worker, or another run's tester.
    """

    has_sockets = True

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(settings)
        self.is_root = os.getuid() == 0
        self.user = self.tester_user = 0
        self.filter = self.filter_of(0) if self.can_signal() else None
        """The same for all runs, where it does not name the process."""

    def prepare(self) -> None:
        super().prepare()
        first, count = self.settings["users"]
        # The files of an episode are its user's from run to run.
        number = self.settings["episode"] if self.home else int.from_bytes(os.urandom(4), "big")
        self.user = first + number % count
        if self.is_root and os.stat(self.directory).st_uid == 0:
            os.chown(self.directory, self.user, self.user)

    def fork_tester(self) -> int:
        first, count = self.settings["users"]
        self.tester_user = first + int.from_bytes(os.urandom(4), "big") % count
        return super().fork_tester()

    def enter(self, limits: dict[str, Any]) -> None:
        os.setsid()
        self.become(self.user, limits)
        os.chdir(self.directory)

    def enter_tester(self, limits: dict[str, Any]) -> None:
        os.setsid()
        self.become(self.tester_user, limits)
        os.chdir("/")
        self.shut([])

    def become(self, user: int, limits: dict[str, Any]) -> None:
        self.limit_resources(limits, self.num_processes(limits))
        if self.is_root:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            kernel.die_with_parent()  # the change of user undid it

    def num_processes(self, limits: dict[str, Any]) -> int:
        return int(limits["num_processes"]) if self.is_root else super().num_processes(limits)

    def close_door(self) -> None:
        self.shut([self.directory])

    def shut(self, writable: list[str]) -> None:  # noqa: ARG002  (files are the container's affair)
        seccomp.no_new_privileges()
        (self.filter or self.filter_of(os.getpid())).install()

    def can_signal(self) -> bool:
        return self.is_root

    def filter_of(self, pid: int) -> seccomp.Filter:
        return seccomp.filter_of(
            has_sockets=self.has_sockets,
            has_ipc=False,
            can_signal=self.can_signal(),
            can_change_metadata=self.is_root,
            pid=pid,
        )

    def clean(self) -> bool:
        is_clean = super().clean()
        # The size of a folder in memory counts what is in it.
        if self.settings.get("owns_shared_memory") and os.stat("/dev/shm").st_size:
            is_clean = _in_a_process_of_its_own(lambda: empty_folder("/dev/shm")) and is_clean
        return is_clean


class LandlockConfinement(UserConfinement):
    """Landlock for files, the filter of system calls for sockets, and a user of its own where the worker is root."""

    has_sockets = False

    def shut(self, writable: list[str]) -> None:
        seccomp.no_new_privileges()
        landlock.restrict_files(self.settings["read_only"], writable, _DEVICES)
        (self.filter or self.filter_of(os.getpid())).install()

    def can_signal(self) -> bool:
        return self.is_root or landlock.abi() >= landlock.SIGNALS_ABI


_KINDS = {
    "none": Confinement,
    "namespaces": NamespaceConfinement,
    "landlock": LandlockConfinement,
    "container": UserConfinement,
}


def confinement_of(settings: dict[str, Any]) -> Confinement:
    return _KINDS[settings["isolation"]](settings)
