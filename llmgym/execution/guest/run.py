"""One run, as the zygote looks after it: its processes, their deadline, what they wrote, and their end.

The zygote is what later runs are copied from, so nothing of a run is ever in its memory: the run's own processes read
their parts of the request, and what they write is moved through maps of memory that end with the `Run`.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import select
import time
from collections.abc import Callable
from typing import Any

from . import kernel
from .child import run_child
from .confine import Confinement
from .pipes import LENGTH, LOST, PART, RAN, REPLY, VERDICTS, read_into, write_frame, write_views
from .tester import run_tests

_TICK_S = 0.1
_CHUNK_BYTES = 1 << 16
_READY = b"+"


class GuestFailure(Exception):
    """The sandbox could not do its work. This says nothing about the code in it."""


class OwnerGone(Exception):
    """Nobody is there for whom to run anything."""


class Run:
    """One run.

    Args:
        confinement: the walls.
        header: what `HEADER` holds.
    """

    def __init__(self, confinement: Confinement, header: tuple[Any, ...]) -> None:
        self.confinement = confinement
        self.tests_size, self.program_size, self.stdin_size, self.wall_s, self.memory_bytes = header[:5]
        self.output_bytes, self.max_output_bytes, self.value_bytes = header[5:]
        self.open: set[int] = set()
        self.child = self.tester = 0
        self.sinks: dict[int, _Sink] = {}
        self.control = self.stdin = -1
        self.cpu_s, self.max_memory_kib = 0.0, 0
        self.verdict = ""
        """Why the run was ended, where it did not end by itself."""

    def execute(self) -> None:
        """Do it, from the request on descriptor 0 to the reply on descriptor 1, and leave nothing behind.

        Raises:
            GuestFailure: there was no run, and how much of the request was read is not known.
            OwnerGone: the run was ended, as nobody waits for it.
            OSError: as `GuestFailure`.
        """
        try:
            self.start()
            stdin = self.read_stdin()
            started = time.monotonic()
            end = self.watch(started + self.wall_s, stdin)
            wall_s = time.monotonic() - started
            self.kill()
            for descriptor, sink in self.sinks.items():
                while sink.read(descriptor):
                    pass
                if sink.is_over and not self.verdict:
                    self.verdict = "output"
            self.report(end, wall_s)
        finally:
            self.kill()
            for descriptor in self.open:
                os.close(descriptor)

    def pipe(self) -> tuple[int, int]:
        ends = os.pipe()
        self.open.update(ends)
        return ends

    def close(self, *descriptors: int) -> None:
        for descriptor in descriptors:
            self.open.discard(descriptor)
            os.close(descriptor)

    def start(self) -> None:
        """Make the tester, where there is one, and then the child, which so cannot know what the tester was told."""
        stdin, stdout, stderr, values, control = (self.pipe() for _ in range(5))
        values_out, questions_in = values[1], stdin[0]
        if self.tests_size:
            questions, answers, verdicts, ready = (self.pipe() for _ in range(4))
            values_out, questions_in = answers[1], questions[0]
            self.tester = self.confinement.fork_tester()
            if self.tester == 0:
                kept = [0, -1, -1, answers[0], questions[1], ready[1], verdicts[1]]
                _as_child(kept, lambda: run_tests(self.confinement, self.tests_size, ready=5, verdicts=6))
            self.close(ready[1])
            if os.read(ready[0], 1) != _READY:
                raise GuestFailure("the tester did not start")
            self.close(answers[0], questions[1], verdicts[1])
            self.sinks[verdicts[0]] = _Sink(self.value_bytes, self.value_bytes)
        self.confinement.prepare()
        self.child = self.confinement.fork()
        if self.child == 0:
            kept = [stdin[0], stdout[1], stderr[1], values_out, questions_in, control[1], 0]
            _as_child(kept, lambda: run_child(self.confinement, self.program_size, control=5, request=6))
        self.close(*{stdin[0], stdout[1], stderr[1], values[1], values_out, questions_in, control[1]})
        self.sinks = {
            stdout[0]: _Sink(self.output_bytes, self.max_output_bytes),
            stderr[0]: _Sink(self.output_bytes, self.max_output_bytes),
            values[0]: _Sink(self.value_bytes, self.value_bytes),
            **self.sinks,
        }
        self.stdin, self.control = stdin[1], control[0]
        for descriptor in (self.stdin, *self.sinks):
            os.set_blocking(descriptor, False)
        message = os.read(self.control, 1000)
        if message != _READY:
            raise GuestFailure(message.decode("utf-8", "replace") or "the child ended before it was shut in")

    def read_stdin(self) -> _Stdin | None:
        """What the program is to read, where that does not fit into its pipe at once."""
        if self.stdin_size:
            stdin = _Stdin(self.stdin_size)
            if not stdin.feed(self.stdin):
                return stdin
        self.close(self.stdin)
        return None

    def watch(self, deadline: float, stdin: _Stdin | None) -> int | None:
        """Wait for the end of the run, moving bytes. Returns the child's wait status, or None if it lives."""
        poll = select.poll()
        poll.register(0, 0)  # only its hangup: the host is gone
        for descriptor in self.sinks:
            poll.register(descriptor, select.POLLIN)
        if stdin is not None:
            poll.register(self.stdin, select.POLLOUT)
        awaited = self.tester or self.child
        ends = kernel.end_of_process(awaited)
        if ends >= 0:
            self.open.add(ends)
            poll.register(ends, select.POLLIN)
        next_look = time.monotonic() + _TICK_S
        while True:
            now = time.monotonic()
            if now >= deadline:
                self.verdict = "timeout"
                return None
            if now >= next_look:
                next_look = now + _TICK_S
                if kernel.memory_of(kernel.descendants(os.getpid()), self.memory_bytes) > self.memory_bytes:
                    self.verdict = "memory"
                    return None
            tick = min(deadline, next_look) - now if ends >= 0 else 0.005
            is_end_seen = ends < 0
            for descriptor, events in poll.poll(max(1, tick * 1000)):
                if descriptor == ends:
                    is_end_seen = True
                elif descriptor == 0 and events & (select.POLLHUP | select.POLLERR):
                    raise OwnerGone
                elif descriptor in self.sinks:
                    sink = self.sinks[descriptor]
                    if not sink.read(descriptor) and events & select.POLLHUP:
                        poll.unregister(descriptor)
                    if sink.is_over:
                        self.verdict = "output"
                        return None
                elif descriptor == self.stdin and stdin is not None and stdin.feed(self.stdin):
                    poll.unregister(self.stdin)
                    self.close(self.stdin)
            if is_end_seen and kernel.has_ended(awaited):
                if self.tester and not kernel.has_ended(self.child):
                    return None
                status, self.child = self.wait(self.child), 0
                return status

    def wait(self, pid: int) -> int:
        """Kill a child, if it has not ended. Returns its wait status."""
        status, used = kernel.kill_and_wait(pid)
        self.cpu_s += used.ru_utime + used.ru_stime
        self.max_memory_kib = max(self.max_memory_kib, used.ru_maxrss)
        return status

    def kill(self) -> None:
        """Kill every process of the run, however far it has run away, and wait for all of them."""
        for pid in (self.child, self.tester):
            if pid:
                self.wait(pid)
        self.child = self.tester = 0
        kernel.kill_children()

    def report(self, end: int | None, wall_s: float) -> None:
        exit_code = number = -1
        if end is not None and os.WIFSIGNALED(end):
            number = os.WTERMSIG(end)
        elif end is not None and (told := os.read(self.control, 10)):
            number = int(told)
        elif end is not None:
            exit_code = os.WEXITSTATUS(end)
        elif not self.verdict:
            exit_code = 0  # it still waited for questions when its tester was done
        head = REPLY.pack(
            VERDICTS.index(self.verdict),
            self.tests_size > 0,
            wall_s,
            self.cpu_s,
            self.max_memory_kib,
            exit_code,
            number,
        )
        sinks = self.sinks.values()
        head += b"".join(PART.pack(sink.num_bytes, sink.num_head_bytes, sink.num_kept) for sink in sinks)
        size = len(RAN + head) + sum(sink.num_kept for sink in sinks)
        write_views(1, [LENGTH.pack(size) + RAN + head, *(part for sink in sinks for part in sink.parts())])


def report_lost(error: Exception) -> None:
    """Tell the host, if it is there, that there was no run."""
    with contextlib.suppress(OSError):
        write_frame(1, LOST + f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:2000])


class _Sink:
    """What was read from one pipe: the first half of what is kept, and the last."""

    def __init__(self, kept_bytes: int, max_bytes: int) -> None:
        self.kept_bytes, self.max_bytes, self.num_bytes = max(1, kept_bytes), max_bytes, 0
        self.half = self.kept_bytes // 2
        self.ring_bytes = max(self.kept_bytes - self.half, _CHUNK_BYTES)
        self.memory = mmap.mmap(-1, self.half + self.ring_bytes)

    @property
    def is_over(self) -> bool:
        return self.num_bytes > self.max_bytes

    @property
    def num_kept(self) -> int:
        return min(self.num_bytes, self.kept_bytes)

    @property
    def num_head_bytes(self) -> int:
        return self.num_bytes if self.num_bytes <= self.kept_bytes else self.half

    @property
    def position(self) -> int:
        """Where the next byte goes: round and round in the ring, once the first half is full."""
        return min(self.num_bytes, self.half) + max(0, self.num_bytes - self.half) % self.ring_bytes

    def read(self, descriptor: int) -> bool:
        """Take what is there. Returns whether there was anything, and whether it is of use to ask again."""
        start = self.position
        with memoryview(self.memory) as whole, whole[start : start + _CHUNK_BYTES] as room:
            try:
                size = os.readv(descriptor, [room])
            except BlockingIOError:
                return False
        self.num_bytes += size
        return size > 0 and not self.is_over

    def parts(self) -> list[memoryview]:
        whole, end = memoryview(self.memory), self.position
        if self.num_bytes <= self.kept_bytes:
            return [whole[: self.num_bytes]] if self.num_bytes else []
        start = end - (self.kept_bytes - self.half)
        if start >= self.half:
            return [whole[: self.half], whole[start:end]]
        return [whole[: self.half], whole[start - self.half :], whole[self.half : end]]


class _Stdin:
    """What the program reads, as far as it has not read it."""

    def __init__(self, size: int) -> None:
        self.memory, self.size, self.start = mmap.mmap(-1, size), size, 0
        with memoryview(self.memory) as whole:
            read_into(0, whole)

    def feed(self, descriptor: int) -> bool:
        """Write what the pipe takes. Returns whether that was all."""
        try:
            while self.start < self.size:
                with memoryview(self.memory) as whole, whole[self.start : self.start + _CHUNK_BYTES] as part:
                    self.start += os.write(descriptor, part)
        except BlockingIOError:
            return False
        except BrokenPipeError:
            pass
        self.memory.close()
        return True


def _as_child(kept: list[int], work: Callable[[], None]) -> None:
    """In a forked process: give descriptors the numbers 0, 1, ... and close all others, then work. Does not return.

    Where `kept` says -1 comes /dev/null.
    """
    try:
        null = os.open(os.devnull, os.O_RDWR) if -1 in kept else -1
        copies = [fcntl.fcntl(null if old < 0 else old, fcntl.F_DUPFD, 64) for old in kept]
        for new, copy in enumerate(copies):
            os.dup2(copy, new)
        os.closerange(len(kept), 1 << 16)
        work()
    finally:
        os._exit(1)
