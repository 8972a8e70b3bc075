"""Threads for calls that block, beside an event loop."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class DaemonThreads:
    """Runs blocking calls in threads that nobody waits for: an interrupted run need not wait for what hangs.

    The executors of the standard library join their threads when the process ends, however long that takes.

    Args:
        max_threads: calls that run at once; further ones queue.
    """

    def __init__(self, max_threads: int) -> None:
        self._max_threads, self._num_threads = max_threads, 0
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()

    async def run(self, call: Callable[[], T]) -> T:
        """What `call` returns or raises. Where the wait is cancelled, a call that has begun goes on unheard."""
        return await asyncio.wrap_future(self.submit(call))

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Have `call` run as soon as a thread is free."""
        future: Future[T] = Future()
        if self._num_threads < self._max_threads:
            self._num_threads += 1
            threading.Thread(target=self._work, name=f"llmgym-env-{self._num_threads}", daemon=True).start()
        self._calls.put((future, call))
        return future

    def close(self) -> None:
        """Let the threads end once they have nothing to do."""
        for _ in range(self._num_threads):
            self._calls.put(None)
        self._num_threads = 0

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            future, call = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:  # whoever waits must hear of any failure, or waits for ever
                future.set_exception(error)
            else:
                future.set_result(result)
            del future, call, item  # an idle thread keeps no environment alive
