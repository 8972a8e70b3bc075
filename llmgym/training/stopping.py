"""Stopping a run on request: the step under way is finished first."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class StopRequest:
    """Whether somebody asked the run to stop."""

    is_made = False


@contextmanager
def heeding_signals(on_request: Callable[[str], None]) -> Iterator[StopRequest]:
    """While the block runs, SIGINT or SIGTERM is a request; a second one does what it does without us.

    Signals reach the main thread only; elsewhere nothing changes.

    Args:
        on_request: hears the signal's name.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    former: dict[signal.Signals, Any] = {}

    def restore() -> None:
        for number, handler in former.items():
            signal.signal(number, handler)

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        request.is_made = True
        restore()
        on_request(signal.Signals(number).name)

    for number in (signal.SIGINT, signal.SIGTERM):
        former[number] = signal.signal(number, ask)
    try:
        yield request
    finally:
        restore()
