"""Docker: one warm container per worker, with the same guest program; each run is a process of a user of its own in it.

It stops: reaching files of the host, the network, processes outside the container, more memory and processes than
allowed, and leftovers of a run. It does not stop: an attack on the kernel, which the containers share with the host,
and measuring time. Runs of one container share its memory limit and its files in /tmp, one after another, never
two at once.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from llmgym.errors import SandboxError
from llmgym.execution import Backend, Channel, WorkerLost, boot_arguments
from llmgym.extras import require

_USERS = (10_000, 40_000)
_START = 'p=$(command -v python3 || command -v python) || exit 127; exec "$p" -s -B "$@"'
_FRAME = struct.Struct(">BxxxI")
_STDOUT = 1
_SHORTCUT = "/run/llmgym"
_CAPABILITIES = ["SETUID", "SETGID", "KILL", "CHOWN", "DAC_OVERRIDE", "FOWNER"]
"""What the guest program needs to give runs to users of their own and to clean up after them; runs have none."""


class DockerBackend(Backend):
    """A container per worker: no network, read-only, capabilities dropped, memory and processes limited.

    Args:
        image: any image with Python 3.9 or newer.
        base_url: the daemon's address, such as "unix:///var/run/docker.sock"; by default as DOCKER_HOST says.
        memory_mib: of the container, files in memory included.
        disk_mib: of /tmp, which is in memory.
        num_processes: of the container.
    """

    level: ClassVar[str] = "docker"

    def __init__(
        self,
        *,
        image: str = "llmgym-sandbox",
        base_url: str | None = None,
        memory_mib: int = 1024,
        disk_mib: int = 64,
        num_processes: int = 256,
    ) -> None:
        self.image, self.memory_mib = image, memory_mib
        self.disk_mib, self.num_processes = disk_mib, num_processes
        docker: ModuleType = require("docker", extra="docker", purpose="The sandbox 'docker'")
        self._errors: Any = docker.errors
        try:
            self._client = docker.DockerClient(base_url) if base_url else docker.from_env()
            self._client.ping()
        except (self._errors.DockerException, OSError) as error:
            raise SandboxError(
                f"No Docker daemon answers: {error}. Start it (systemctl start docker), set DOCKER_HOST, or join the "
                "group docker."
            ) from error

    def start(self, *, home: str = "") -> Channel:  # noqa: ARG002
        is_local = str(self._client.api.base_url).startswith("http+docker")  # on a socket of this machine
        shortcut = Shortcut() if is_local else None
        try:
            container, stream = self._start(shortcut)
        except SandboxError:
            if shortcut is None:
                raise
            shortcut.close()
            shortcut = None  # a daemon that does not see this machine's files
            container, stream = self._start(None)
        return DockerChannel(stream, self._client, container, gone=self._errors.APIError, shortcut=shortcut)

    def _start(self, shortcut: Shortcut | None) -> tuple[str, Any]:
        api = self._client.api
        mount = {"Type": "bind", "Source": shortcut.folder, "Target": _SHORTCUT, "ReadOnly": True} if shortcut else None
        try:
            host = api.create_host_config(
                mounts=[mount] if mount else [],
                network_mode="none",
                read_only=True,
                cap_drop=["ALL"],
                cap_add=_CAPABILITIES,
                security_opt=["no-new-privileges"],
                pids_limit=self.num_processes,
                mem_limit=f"{self.memory_mib}m",
                memswap_limit=f"{self.memory_mib}m",
                shm_size="16m",
                tmpfs={"/tmp": f"size={self.disk_mib}m,nr_inodes=10k,mode=0755,exec"},
                auto_remove=True,
                oom_score_adj=500,
            )
            container = api.create_container(
                self.image,
                entrypoint=["/bin/sh", "-c", _START, "sh", *boot_arguments()],
                command=[],
                stdin_open=True,  # and open once: when this process is gone, the guest sees the end, and ends
                working_dir="/",
                user="0:0",
                environment={"PYTHONHASHSEED": "0", "LANG": "C.UTF-8"},
                network_disabled=True,
                labels={"llmgym": "sandbox"},
                host_config=host,
            )["Id"]
            stream = api.attach_socket(container, params={"stdin": 1, "stdout": 1, "stream": 1})
            api.start(container)
        except self._errors.ImageNotFound as error:
            raise SandboxError(
                f"There is no Docker image {self.image!r}. Build it (docker build -t {self.image} "
                f"{Path(__file__).parent}), or name any image with Python: image='python:3.12-slim'."
            ) from error
        except (self._errors.DockerException, OSError) as error:
            raise SandboxError(f"Docker did not start a container: {error}.") from error
        return str(container), stream

    def new_home(self, episode: int) -> str:  # noqa: ARG002  (each episode has a world of its own)
        return "/tmp/work"

    def settings(self) -> dict[str, Any]:
        settings = {"isolation": "container", "scratch": "/tmp", "users": list(_USERS)}
        return {**settings, "owns_scratch": True, "owns_shared_memory": True, "shortcut": f"{_SHORTCUT}/socket"}

    def close(self) -> None:
        self._client.close()


class Shortcut:
    """A socket in a folder that the container sees: what goes through the daemon wakes three more processes."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="llmgym-")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{self.folder}/socket")
        self._listener.listen(1)

    def accept(self) -> socket.socket:
        """The guest, which has connected already."""
        self._listener.settimeout(1)
        stream, _ = self._listener.accept()
        return stream

    def close(self) -> None:
        self._listener.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class DockerChannel(Channel):
    """The attached stream of a container, in which are frames of stdout and stderr, or the shortcut past it."""

    def __init__(
        self, stream: Any, client: Any, container: str, *, gone: type[Exception], shortcut: Shortcut | None
    ) -> None:
        self._owner = stream  # closes the socket when it is collected
        super().__init__(getattr(stream, "_sock", stream))
        self._client, self._container, self._gone = client, container, gone
        self._attached, self._shortcut = self._stream, shortcut
        self._left = 0
        self._is_stdout = True
        self._said = bytearray()

    def begin(self, about: dict[str, Any]) -> None:
        if self._shortcut is not None:
            with contextlib.suppress(OSError):
                if about["has_shortcut"]:
                    self._stream = self._shortcut.accept()
                    self._stream.setblocking(False)
            self._forget_shortcut()

    def receive_some(self, size: int, deadline: float) -> bytes:
        if self._stream is not self._attached:
            return super().receive_some(size, deadline)
        while True:
            while self._left == 0:
                header = b""
                while len(header) < _FRAME.size:
                    part = super().receive_some(_FRAME.size - len(header), deadline)
                    if not part:
                        return b""
                    header += part
                kind, self._left = _FRAME.unpack(header)
                self._is_stdout = kind == _STDOUT
            data = super().receive_some(min(self._left, size if self._is_stdout else self._left), deadline)
            self._left -= len(data)
            if self._is_stdout or not data:
                return data
            self._said += data[: 4000 - len(self._said)]

    def complaint(self) -> str:
        if self._stream is not self._attached:
            self._stream.close()
            self._stream = self._attached
            with contextlib.suppress(WorkerLost):
                self.receive_some(1, time.monotonic() + 0.2)
        return self._said.decode("utf-8", "replace").strip()

    def dispose(self) -> None:
        super().dispose()
        self._attached.close()
        self._forget_shortcut()

    def abandon(self) -> None:
        super().abandon()
        self._attached.close()

    def _forget_shortcut(self) -> None:
        if self._shortcut is not None:
            self._shortcut.close()
            self._shortcut = None

    def _end(self) -> None:
        with contextlib.suppress(self._gone, OSError):
            self._client.api.remove_container(self._container, force=True)
