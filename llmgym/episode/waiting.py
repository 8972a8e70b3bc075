"""Waiting for an awaitable from code that is not asynchronous."""

import asyncio
import os
import threading
from collections.abc import Awaitable, Coroutine
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")

_thread = threading.local()
"""`depth`, of a thread that runs one of our loops: how many loops wait for it, itself included."""


def resolved(value: T | Awaitable[T]) -> T:
    """The value itself; an awaitable is awaited on a loop of llmgym's own, also where another loop is running."""
    if isinstance(value, Awaitable):
        # What runs on such a loop may come here again; it would wait for itself for ever, so it waits for the next.
        loop = _event_loop(os.getpid(), getattr(_thread, "depth", 0))
        answer: T = asyncio.run_coroutine_threadsafe(_awaited(value), loop).result()
        return answer
    return value


def run_to_end(coroutine: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, also where a loop is running already, as in a notebook: then in a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run(coroutine, _UnderWay())
    task, end = _UnderWay(), Future[T]()

    def run() -> None:
        try:
            end.set_result(_run(coroutine, task))
        except BaseException as error:  # is raised where the result is asked for
            end.set_exception(error)

    try:
        threading.Thread(target=run, name="llmgym-run").start()
        while not wait([end], timeout=1).done:
            pass  # CPython raises an interrupt that came just before a wait only when that wait is over
        return end.result()
    except KeyboardInterrupt:  # is raised here, where the run is not
        if task.cancel():
            wait([end])
        raise


class _UnderWay:
    """The task of a run, for another thread to cancel, also before there is one."""

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._is_cancelled = False

    def begin(self) -> None:
        """It is the task that calls."""
        self._task = asyncio.current_task()
        if self._task is not None and self._is_cancelled:
            self._task.cancel()

    def cancel(self) -> bool:
        """Returns whether it had begun."""
        self._is_cancelled = True
        if self._task is None:
            return False
        with suppress(RuntimeError):  # its loop is closed
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)
        return True


def _run(coroutine: Coroutine[Any, Any, T], task: _UnderWay) -> T:
    """Run it on a new loop."""
    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(_complain)
        results: list[T] = []

        async def keep() -> None:
            task.begin()
            results.append(await coroutine)

        runner.run(keep())  # not the coroutine itself: CPython writes a task's result out in full, and throws that away
        return results[0]


def _complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Of what nobody else hears; an interruption is raised where the loop runs, and is no task's failure."""
    if not isinstance(context.get("exception"), KeyboardInterrupt):
        loop.default_exception_handler(context)


async def _awaited(value: Awaitable[T]) -> T:
    return await value


@cache
def _event_loop(process: int, depth: int) -> asyncio.AbstractEventLoop:  # noqa: ARG001  a fork has no threads
    loop = asyncio.new_event_loop()

    def run() -> None:
        _thread.depth = depth + 1
        loop.run_forever()

    threading.Thread(target=run, name="llmgym-waiting", daemon=True).start()
    return loop
