"""Waiting for an awaitable from code that is not asynchronous."""

import asyncio
import threading
from collections.abc import Awaitable
from functools import cache
from typing import TypeVar

T = TypeVar("T")


def resolved(value: T | Awaitable[T]) -> T:
    """The value itself; an awaitable is awaited on a loop of llmgym's own, also where another loop is running."""
    if isinstance(value, Awaitable):
        answer: T = asyncio.run_coroutine_threadsafe(_awaited(value), _event_loop()).result()
        return answer
    return value


async def _awaited(value: Awaitable[T]) -> T:
    return await value


@cache
def _event_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="llmgym-waiting", daemon=True).start()
    return loop
