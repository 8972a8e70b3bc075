"""Waiting with a limit, and threads for calls that block beside an event loop."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import cache, partial
from itertools import count
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_MAX_THREADS = 64
"""Calls of tools and verifiers, of all episodes, that run at once; one that was left behind does not count."""


class TookTooLong(TimeoutError):
    """The wait ended, not what was waited for: that may raise a TimeoutError of its own."""


async def in_time(awaitable: Awaitable[T], timeout_s: float | None) -> T:
    """What is waited for, cancelled after `timeout_s` seconds; None: no limit.

    Raises:
        TookTooLong: it was cancelled.
    """
    limit = asyncio.timeout(timeout_s)
    try:
        async with limit:
            return await awaitable
    except TimeoutError as error:
        if limit.expired():
            raise TookTooLong(f"it took longer than {timeout_s:g} seconds") from error
        raise


class Call(Generic[T]):
    """A call in a thread, or on its way there. Its futures cannot be cancelled: whoever stops waiting just does."""

    def __init__(self, work: Callable[[], T]) -> None:
        self.work = work
        self.begun: Future[None] = Future()
        self.result: Future[T] = Future()
        self.left_behind = threading.Event()
        for future in (self.begun, self.result):
            future.set_running_or_notify_cancel()


class DaemonThreads:
    """Runs blocking calls in threads that nobody waits for: an interrupted run need not wait for what hangs.

    The executors of the standard library join their threads when the process ends, however long that takes.

    Args:
        max_threads: calls that run at once; further ones queue. One that was left behind does not count.
    """

    def __init__(self, max_threads: int) -> None:
        self._max_threads, self._num_threads = max_threads, 0
        self._lock, self._numbers = threading.Lock(), count(1)
        self._calls: SimpleQueue[Call[Any] | None] = SimpleQueue()

    async def run(self, work: Callable[[], T], *, timeout_s: float | None = None) -> T:
        """What `work` returns or raises.

        Where the wait is cancelled or takes longer than `timeout_s` seconds from the call's beginning, a call that has
        begun goes on unheard and gives up its place; one that has not never begins.

        Raises:
            TookTooLong: it takes too long.
        """
        call = self.submit(work)
        try:
            if timeout_s is not None:
                await asyncio.wrap_future(call.begun)
            return await in_time(asyncio.wrap_future(call.result), timeout_s)
        finally:
            self._leave(call)

    def submit(self, work: Callable[[], T]) -> Call[T]:
        """Have `work` run as soon as a thread is free."""
        call = Call(work)
        self._calls.put(call)
        with self._lock:
            is_full = self._num_threads >= self._max_threads
            self._num_threads += not is_full
        if not is_full:
            self._add_thread()
        return call

    def close(self) -> None:
        """Let the threads end once they have nothing to do."""
        with self._lock:
            num_threads, self._num_threads = self._num_threads, 0
        for _ in range(num_threads):
            self._calls.put(None)

    def _add_thread(self) -> None:
        threading.Thread(target=self._work, name=f"llmgym-call-{next(self._numbers)}", daemon=True).start()

    def _leave(self, call: Call[Any]) -> None:
        """Nobody waits for `call` any more; where it runs on, another thread takes the place of its own."""
        with self._lock:
            call.left_behind.set()
            is_running = call.begun.done() and not call.result.done()
        if is_running:
            self._add_thread()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            with self._lock:
                if call.left_behind.is_set():
                    continue
                call.begun.set_result(None)
            try:
                end = partial(call.result.set_result, call.work())
            except BaseException as error:  # whoever waits must hear of any failure, or waits for ever
                end = partial(call.result.set_exception, error)
            with self._lock:
                end()
                if call.left_behind.is_set():
                    return
            del call, end  # an idle thread keeps nothing of a call alive


async def in_thread(work: Callable[[], T], *, timeout_s: float | None = None) -> T:
    """As `DaemonThreads.run`, in threads that all tools and environments of the process share."""
    return await _shared(os.getpid()).run(work, timeout_s=timeout_s)


@cache
def _shared(process: int) -> DaemonThreads:  # noqa: ARG001  a fork has no threads
    return DaemonThreads(_MAX_THREADS)
