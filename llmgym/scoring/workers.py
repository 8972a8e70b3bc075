"""Killable worker processes for checks that may be slow, hang, or eat memory.

The deadline of a call is CPU time that the worker itself used, counted by the kernel from the moment the function
starts: waiting for a free worker, starting one, importing the function's module and being crowded out by other
programs do not count, so a loaded machine does not change a verdict. A wall-clock limit far beyond it catches a worker
that sleeps; that is reported as LOST, a failure of our machinery, never as the function's own.
"""

from __future__ import annotations

import functools
import json
import math
import os
import select
import signal
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ..errors import ConfigError, VerifierError
from .worker_main import HEADER, pack

_WALL_PER_CPU = 20
"""Wall seconds allowed for each CPU second: a machine twenty times overcommitted changes nothing."""


class WorkStatus(StrEnum):
    """The four ways a call can end."""

    RETURNED = "returned"
    """The function returned `WorkResult.value`."""
    RAISED = "raised"
    """The function raised; `WorkResult.error` is its text."""
    OVERRUN = "overrun"
    """The function used more CPU time or memory than it may; the worker was replaced."""
    LOST = "lost"
    """The worker died or fell silent for a reason of its own: this says nothing about the call."""


@dataclass(frozen=True)
class WorkResult:
    """How a call ended."""

    status: WorkStatus
    value: Any = None
    """What the function returned, as JSON has it: tuples are lists, keys are strings."""
    error: str = ""
    """What went wrong, where something did."""


class WorkerPool:
    """A few worker processes, started on demand, each killed and replaced when a call overruns.

    Calls may come from any thread; no signal handler is installed here and no thread is started. Workers end with
    `close`, with the interpreter, or with the death of this process.

    Args:
        num_workers: at most so many processes, at least 1; further calls wait for a free one.
        memory_mib: address space of each worker.
        calls_per_worker: a worker is replaced after so many calls, before caches can fill its memory.
        wall_grace_s: wall seconds of a call beyond 20 times its CPU limit; then its worker counts as lost.
    """

    def __init__(
        self,
        num_workers: int = 2,
        *,
        memory_mib: int = 2048,
        calls_per_worker: int = 500,
        wall_grace_s: float = 60.0,
    ) -> None:
        for name, value in (("num_workers", num_workers), ("calls_per_worker", calls_per_worker)):
            if value < 1:
                raise ConfigError(f"{name} is {value}, but it must be at least 1.")
        if memory_mib < 64:
            raise ConfigError(f"memory_mib is {memory_mib}, but Python itself needs about 64 MiB of address space.")
        self.num_workers, self.memory_mib = num_workers, memory_mib
        self.calls_per_worker, self.wall_grace_s = calls_per_worker, wall_grace_s
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._changed = threading.Condition()
        self._is_closed = False
        self._finalizer = weakref.finalize(self, _kill_all, self._workers)
        _pools.add(self)

    def run(self, function: str, *args: Any, timeout_s: float) -> WorkResult:
        """Call `function` in a worker and wait for it.

        Args:
            function: "package.module:name"; the worker imports it before its time starts.
            args: JSON values.
            timeout_s: CPU seconds that the function may use.

        Raises:
            ConfigError: an argument cannot be sent, or `timeout_s` is not above 0.
            VerifierError: the worker cannot import the function, or the pool is closed.
        """
        if not 0 < timeout_s < math.inf:
            raise ConfigError(f"timeout_s is {timeout_s}, but it must be above 0 and finite.")
        try:
            request = pack({"function": function, "args": args, "timeout_s": timeout_s})
        except (TypeError, ValueError) as error:
            raise ConfigError(f"Arguments of a worker's function must be JSON values: {error}.") from error
        wall_limit_s = self.wall_grace_s + _WALL_PER_CPU * timeout_s
        worker = self._take()
        try:
            reply = worker.call(request, wall_limit_s)
        except BaseException:  # an interrupted call leaves its reply in the pipe, so its worker is of no more use
            worker.kill()
            raise
        finally:
            self._give_back(worker)
        if reply["status"] == "unusable":
            raise VerifierError(f"A worker could not import {function!r}: {reply['error']}.")
        return self._result_of(reply, timeout_s)

    def close(self) -> None:
        """Kill all workers; calls under way end as LOST. Calling it twice is harmless."""
        with self._changed:
            self._is_closed = True
            idle, self._idle = self._idle, []
            busy = [worker for worker in self._workers if worker not in idle]
            self._workers.clear()
            self._changed.notify_all()
        for worker in idle:
            worker.dispose()
        _kill_all(busy)  # the thread that waits for a busy worker sees its end, and disposes of it

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _result_of(self, reply: dict[str, Any], timeout_s: float) -> WorkResult:
        match reply["status"]:
            case "returned":
                return WorkResult(WorkStatus.RETURNED, value=reply["value"])
            case "raised":
                return WorkResult(WorkStatus.RAISED, error=reply["error"])
            case "out of time":
                return WorkResult(WorkStatus.OVERRUN, error=f"used more than {timeout_s:g} s of CPU time")
            case "out of memory":
                return WorkResult(WorkStatus.OVERRUN, error=f"used more than {self.memory_mib} MiB of memory")
        return WorkResult(WorkStatus.LOST, error=reply["error"])

    def _take(self) -> _Worker:
        with self._changed:
            while True:
                if self._is_closed:
                    raise VerifierError("The worker pool is closed. Make a new one.")
                while self._idle:
                    worker = self._idle.pop()
                    if worker.is_alive():
                        return worker
                    self._workers.remove(worker)
                    worker.dispose()
                if len(self._workers) < self.num_workers:
                    worker = _Worker(self.memory_mib)
                    self._workers.append(worker)
                    return worker
                self._changed.wait()

    def _give_back(self, worker: _Worker) -> None:
        is_spent = worker.is_killed or worker.num_calls >= self.calls_per_worker
        with self._changed:
            if self._is_closed:
                is_spent = True
            elif is_spent:
                self._workers.remove(worker)
            else:
                self._idle.append(worker)
            self._changed.notify()
        if is_spent:
            worker.dispose()

    def _forget_workers(self) -> None:
        """In a forked child: the workers are the parent's, and a lock may be held by a thread that is not here."""
        for worker in self._workers:
            worker.abandon()
        self._workers.clear()
        self._idle.clear()
        self._changed = threading.Condition()


class _Worker:
    """One worker process and the pipes to it. Used by one thread at a time, except for `kill`."""

    def __init__(self, memory_mib: int) -> None:
        settings = {"parent_pid": os.getpid(), "memory_mib": memory_mib, "path": sys.path}
        main = Path(__file__).with_name("worker_main.py")
        # One thread for linear algebra: each further one reserves address space, which is limited here.
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        # One order of sets of texts, so that the same call has the same answer in every worker.
        environment = {**os.environ, **threads, "PYTHONHASHSEED": "0"}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(main), json.dumps(settings)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise VerifierError(f"A worker process could not be started: {error}.") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._replies = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._requests, False)
        self.num_calls = 0
        self.is_killed = False
        self._kill_lock = threading.Lock()

    def is_alive(self) -> bool:
        """False where it was killed from outside while it was idle."""
        return not self.is_killed and not _is_ready(self._replies, select.POLLIN, time.monotonic())

    def call(self, request: bytes, wall_limit_s: float) -> dict[str, Any]:
        """Send a call and read its reply; after any other end than a reply the worker is dead."""
        self.num_calls += 1
        deadline = time.monotonic() + wall_limit_s
        reply: dict[str, Any] = {}
        try:
            self._send(request, deadline)
            reply = self._receive(deadline)
            if reply["status"] == "started":
                reply = self._receive(deadline)
        except TimeoutError:
            self.kill()
            return {"status": "lost", "error": f"the worker gave no reply within {wall_limit_s:g} s of wall time"}
        except (EOFError, OSError, ValueError):
            returncode = self.kill()
            if returncode == -signal.SIGPROF and reply:
                return {"status": "out of time"}
            return {"status": "lost", "error": f"the worker ended with status {returncode}"}
        if reply["status"] == "out of memory":
            self.kill()
        return reply

    def kill(self) -> int:
        """Kill the process and all that it started, and reap it. Returns its exit status."""
        with self._kill_lock:
            if not self.is_killed:
                self.is_killed = True
                # Not reaped yet, so the group's number cannot belong to anybody else.
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
            return self._process.returncode

    def dispose(self) -> None:
        """Kill, and close the pipes: only where no thread waits for them, as their numbers may be reused at once."""
        self.kill()
        self._close_pipes()

    def abandon(self) -> None:
        """Let go of a process that is somebody else's child."""
        self.is_killed = True
        self._process.returncode = 0
        self._close_pipes()

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _send(self, data: bytes, deadline: float) -> None:
        rest = memoryview(data)
        while rest:
            if not _is_ready(self._requests, select.POLLOUT, deadline):
                raise TimeoutError
            rest = rest[os.write(self._requests, rest) :]

    def _receive(self, deadline: float) -> dict[str, Any]:
        (size,) = HEADER.unpack(self._read(HEADER.size, deadline))
        reply: dict[str, Any] = json.loads(self._read(size, deadline))
        return reply

    def _read(self, size: int, deadline: float) -> bytes:
        data = bytearray()
        while len(data) < size:
            if not _is_ready(self._replies, select.POLLIN, deadline):
                raise TimeoutError
            chunk = os.read(self._replies, size - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        return bytes(data)


def _is_ready(pipe: int, event: int, deadline: float) -> bool:
    poll = select.poll()
    poll.register(pipe, event)
    remaining_s = max(0.0, deadline - time.monotonic())
    return bool(poll.poll(math.ceil(remaining_s * 1000)))


def _kill_all(workers: list[_Worker]) -> None:
    for worker in list(workers):
        worker.kill()


_pools: weakref.WeakSet[WorkerPool] = weakref.WeakSet()


def _forget_workers_of_parent() -> None:
    for pool in list(_pools):
        pool._forget_workers()


os.register_at_fork(after_in_child=_forget_workers_of_parent)


@functools.cache
def shared_pool() -> WorkerPool:
    """The pool that all verifiers of this process share; it starts its first worker with the first call."""
    return WorkerPool(max(1, min(4, os.cpu_count() or 1)))
