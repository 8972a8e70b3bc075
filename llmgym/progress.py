"""How long work shows that it is alive: bars in a terminal, plain lines elsewhere, nothing where it must be quiet."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 10.0


class Phase(Protocol):
    """A part of the run that takes a known number of steps."""

    def advance(self, text: str = "") -> None:
        """One step is done; `text` says how it went."""

    def show(self, text: str) -> None:
        """`text` says how the step under way goes."""


class RunProgress:
    """Shows phases and lines.

    Args:
        quiet: show nothing.
        console: where; the standard error where None.
    """

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False, quiet=quiet)

    def line(self, text: str) -> None:
        """A line of text."""
        self.console.print(text, soft_wrap=True)

    @contextmanager
    def phase(self, name: str, total: int) -> Iterator[Phase]:
        """Show a phase while the block runs."""
        if not self.console.is_terminal:
            yield _Lines(self.console, name, total)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
        )
        with Progress(*columns, console=self.console) as bars:
            yield _Bar(bars, name, total)


class _Bar:
    def __init__(self, bars: Progress, name: str, total: int) -> None:
        self._bars = bars
        self._task = bars.add_task(name, total=total, text="")

    def advance(self, text: str = "") -> None:
        self._bars.update(self._task, advance=1, text=text)

    def show(self, text: str) -> None:
        self._bars.update(self._task, text=text)


class _Lines:
    """One line now and then, and always the last."""

    def __init__(self, console: Console, name: str, total: int) -> None:
        self._console, self._name, self._total = console, name, total
        self._num_done = 0
        self._shown_at = monotonic()

    def advance(self, text: str = "") -> None:
        self._num_done += 1
        self._say(text, is_last=self._num_done == self._total)

    def show(self, text: str) -> None:
        self._say(text)

    def _say(self, text: str, *, is_last: bool = False) -> None:
        if is_last or monotonic() - self._shown_at >= _SECONDS_BETWEEN_LINES:
            self._shown_at = monotonic()
            self._console.print(f"{self._name} {self._num_done}/{self._total}  {text}".rstrip(), soft_wrap=True)
