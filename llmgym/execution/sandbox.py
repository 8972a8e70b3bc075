"""A pool of workers behind one kind of walls, for threads and for asyncio."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..errors import ConfigError, SandboxError
from .backend import Backend
from .channel import WorkerLost
from .contract import Outcome, Request
from .limits import Limits
from .session import Session
from .worker import Worker

_RUNS_PER_WORKER = 1000
_ATTEMPTS = 3


class Sandbox:
    """Runs requests, each apart from all others, in a few worker processes that are started on demand.

    Any thread may call. Further calls wait for a free worker; a lost one is replaced by the next call. Workers end
    with `close`, with the interpreter, and with the death of this process, and so does all that they started.

    Args:
        backend: how a worker is started.
        num_workers: at most so many at one time; by default the number of CPUs.
        info: how this sandbox was chosen, for logs.
    """

    def __init__(
        self, backend: Backend, *, num_workers: int | None = None, info: Mapping[str, Any] | None = None
    ) -> None:
        num_workers = num_workers or os.cpu_count() or 1
        if num_workers < 1:
            raise ConfigError(f"num_workers is {num_workers}, but it must be at least 1.")
        self.level, self.num_workers = backend.level, num_workers
        self.info: dict[str, Any] = {"level": backend.level, "num_workers": num_workers, **(info or {})}
        self.backend = backend
        self._workers: list[Worker] = []
        self._idle: list[Worker] = []
        self._changed = threading.Condition()
        self._num_starting = 0
        self._sessions: weakref.WeakSet[Session] = weakref.WeakSet()
        self._threads: ThreadPoolExecutor | None = None
        self._is_closed = False
        self._pid = os.getpid()
        self._finalizer = weakref.finalize(self, _end_all, self._workers, backend, self._pid)

    def run(self, request: Request) -> Outcome:
        """Do one run and wait for it.

        Raises:
            SandboxError: the sandbox failed. This says nothing about the request, and is never a reward.
        """
        return self._run(request, _Call())

    async def arun(self, request: Request) -> Outcome:
        """`run` for asyncio. A cancelled call kills its run.

        Raises:
            SandboxError: as `run`.
        """
        call = _Call()
        future = asyncio.wrap_future(self._executor().submit(self._run, request, call))
        try:
            return await future
        except asyncio.CancelledError:
            call.cancel()
            raise

    def run_many(self, requests: Iterable[Request]) -> list[Outcome]:
        """The outcomes of all requests, in their order, on all workers at once.

        Raises:
            SandboxError: as `run`; the other runs are then cancelled.
        """
        calls: list[_Call] = []
        futures = []
        for request in requests:
            calls.append(_Call())
            futures.append(self._executor().submit(self._run, request, calls[-1]))
        try:
            return [future.result() for future in futures]
        finally:
            for future, call in zip(futures, calls, strict=True):
                if not future.done():
                    future.cancel()
                    call.cancel()

    def session(self, *, limits: Limits | None = None) -> Session:
        """A sandbox for one episode, with a worker and a working directory of its own. Close it, or close this.

        Args:
            limits: of each of its runs that names no others.

        Raises:
            SandboxError: it does not start.
        """
        return Session(self.backend, self._sessions, limits=limits)

    def close(self) -> None:
        """End all workers; runs under way raise `SandboxError`. Calling it twice is harmless."""
        with self._changed:
            self._is_closed = True
            workers, self._idle = list(self._workers), []
            self._changed.notify_all()
        if os.getpid() == self._pid:
            for session in list(self._sessions):
                session.close()
            for worker in workers:
                worker.channel.kill()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        for worker in workers:
            worker.channel.dispose()
        self._workers.clear()
        self._finalizer()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, request: Request, call: _Call) -> Outcome:
        reasons = []
        for _ in range(_ATTEMPTS):
            worker = self._take()
            try:
                call.begin(worker)
                return worker.run(request)
            except WorkerLost as error:
                if call.is_cancelled:
                    raise SandboxError("The run was cancelled.") from error
                reasons.append(str(error))
            finally:
                call.end()
                self._give_back(worker)
        raise SandboxError(
            f"{_ATTEMPTS} workers of the {self.level!r} sandbox were lost in one run: {'; '.join(reasons)}."
        )

    def _take(self) -> Worker:
        self._forget_workers_of_parent()
        with self._changed:
            while True:
                if self._is_closed:
                    raise SandboxError("The sandbox is closed. Open a new one.")
                while self._idle:
                    worker = self._idle.pop()
                    if worker.channel.is_alive():
                        return worker
                    self._workers.remove(worker)
                    worker.channel.dispose()
                if len(self._workers) + self._num_starting < self.num_workers:
                    self._num_starting += 1
                    break
                self._changed.wait()
        started: list[Worker] = []
        try:
            started.append(Worker(self.backend))
        finally:
            with self._changed:
                self._num_starting -= 1
                self._workers += started
                self._changed.notify()
        return started[0]

    def _give_back(self, worker: Worker) -> None:
        is_spent = worker.channel.is_killed or worker.num_runs >= _RUNS_PER_WORKER
        with self._changed:
            if self._is_closed:
                return  # `close` disposes of it
            if is_spent:
                self._workers.remove(worker)
            else:
                self._idle.append(worker)
            self._changed.notify()
        if is_spent:
            worker.channel.dispose()

    def _executor(self) -> ThreadPoolExecutor:
        self._forget_workers_of_parent()
        with self._changed:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self.num_workers, thread_name_prefix="llmgym-sandbox")
            return self._threads

    def _forget_workers_of_parent(self) -> None:
        """In a forked child: the workers are the parent's, and a lock may be held by a thread that is not here."""
        if os.getpid() == self._pid:
            return
        for worker in self._workers:
            worker.channel.abandon()
        self._workers.clear()
        self._idle.clear()
        self._changed, self._threads, self._pid, self._num_starting = threading.Condition(), None, os.getpid(), 0
        self._finalizer.detach()
        self._finalizer = weakref.finalize(self, _end_all, self._workers, self.backend, self._pid)


class _Call:
    """A run that may be cancelled from another thread, before, while or after a worker does it."""

    def __init__(self) -> None:
        self.is_cancelled = False
        self._worker: Worker | None = None
        self._lock = threading.Lock()

    def begin(self, worker: Worker) -> None:
        with self._lock:
            if self.is_cancelled:
                raise SandboxError("The run was cancelled.")
            self._worker = worker

    def end(self) -> None:
        with self._lock:
            self._worker = None

    def cancel(self) -> None:
        with self._lock:
            self.is_cancelled = True
            if self._worker is not None:
                self._worker.channel.kill()


def _end_all(workers: list[Worker], backend: Backend, pid: int) -> None:
    if os.getpid() != pid:
        return
    for worker in list(workers):
        worker.channel.kill()
    backend.close()
