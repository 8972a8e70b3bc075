"""One run: its processes, their deadline, what they wrote, and their end.

The supervisor is a child of the zygote, made for one run, so nothing of a run is ever in the zygote's memory, from
which later runs are copied. It reads the request, forks the child that runs it, and is the only one that reports.
"""

from __future__ import annotations

import fcntl
import os
import resource
import select
import signal
import sys
import time
from typing import Any

from . import cells, kernel, objects, program, tester
from .codec import decode, encode
from .confine import Confinement, confinement_of
from .pipes import read_exactly, write_frame

_TICK_S = 0.1
_READY = b"+"
NOT_CLEAN = 3
"""Exit code of a supervisor that left something behind: its worker is then given up."""


class GuestFailure(Exception):
    """The sandbox could not do its work. This says nothing about the code in it."""


def supervise(settings: dict[str, Any], program_size: int, tester_size: int) -> None:
    """Serve one request from descriptor 0 and write the reply to descriptor 1."""
    kernel.adopt_orphans()
    kernel.die_with_parent()
    request = decode(read_exactly(0, program_size))
    run = _Run(settings, request, tester_size)
    try:
        reply = run.execute()
    except (GuestFailure, OSError) as error:
        run.kill()
        reply = {"lost": f"{type(error).__name__}: {error}"}
    write_frame(1, encode(reply, max_bytes=1 << 31))
    try:
        run.confinement.clean()
    except OSError:
        os._exit(NOT_CLEAN)


class _Run:
    def __init__(self, settings: dict[str, Any], request: dict[str, Any], tester_size: int) -> None:
        self.request, self.limits, self.tester_size = request, request["limits"], tester_size
        self.confinement: Confinement = confinement_of(settings, request)
        self.child = self.tester = 0
        self.sinks: dict[int, _Sink] = {}
        self.control = -1
        self.stdin, self.stdin_rest = -1, memoryview(request["stdin"])
        self.memory_bytes = int(self.limits["memory_mib"]) << 20
        self.verdict = ""
        """Why the supervisor ended the run, where it did."""

    def execute(self) -> dict[str, Any]:
        started = self.start()
        end = self.watch(started + self.limits["wall_s"])
        wall_s = time.monotonic() - started
        self.kill()
        for descriptor, sink in self.sinks.items():
            while sink.read(descriptor):
                pass
        return self.report(end, wall_s)

    def start(self) -> float:
        """Make the tester, where there is one, and then the child, which so cannot know what the tester was told."""
        stdin, stdout, stderr, values, control = (os.pipe() for _ in range(5))
        questions = answers = None
        if self.tester_size:
            questions, answers, verdicts = os.pipe(), os.pipe(), os.pipe()
            ready = os.pipe()
            self.tester = os.fork()
            if self.tester == 0:
                _keep_descriptors([0, -1, -1, answers[0], questions[1], ready[1], verdicts[1]])
                tester.run_tests(self.confinement, self.request, self.tester_size, ready=5, verdicts=6)
            os.close(ready[1])
            if os.read(ready[0], 1) != _READY:
                raise GuestFailure("the tester did not start")
            _close(ready[0], answers[0], questions[1], verdicts[1])
            self.sinks[verdicts[0]] = _Sink("tests", self.limits["value_bytes"], self.limits["value_bytes"])
        self.confinement.prepare()
        self.child = os.fork()
        if self.child == 0:
            values_out = answers[1] if answers else values[1]
            questions_in = questions[0] if questions else stdin[0]
            _keep_descriptors([stdin[0], stdout[1], stderr[1], values_out, questions_in, control[1]])
            _child(self.confinement, self.request, control=5)
        _close(stdin[0], stdout[1], stderr[1], values[1], control[1], *(answers or ())[1:], *(questions or ())[:1])
        for (descriptor, _), name in ((stdout, "stdout"), (stderr, "stderr")):
            self.sinks[descriptor] = _Sink(name, self.limits["output_bytes"], self.limits["max_output_bytes"])
        self.sinks[values[0]] = _Sink("values", self.limits["value_bytes"], self.limits["value_bytes"])
        self.stdin = stdin[1]
        os.set_blocking(self.stdin, False)
        for descriptor in self.sinks:
            os.set_blocking(descriptor, False)
        message = os.read(control[0], 1000)
        self.control = control[0]
        if message != _READY:
            raise GuestFailure(message.decode("utf-8", "replace") or "the child ended before it was shut in")
        return time.monotonic()

    def watch(self, deadline: float) -> int | None:
        """Wait for the end of the run, moving bytes. Returns the child's wait status, or None if it lives."""
        poll = select.poll()
        poll.register(0, 0)  # only its hangup: the host is gone
        for descriptor in self.sinks:
            poll.register(descriptor, select.POLLIN)
        if self.stdin_rest:
            poll.register(self.stdin, select.POLLOUT)
        else:
            self.close_stdin()
        awaited = self.tester or self.child
        ends = kernel.end_of_process(awaited)
        if ends >= 0:
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
            for descriptor, events in poll.poll(max(1, tick * 1000)):
                if descriptor == 0 and events & (select.POLLHUP | select.POLLERR):
                    self.kill()
                    self.confinement.clean()
                    os._exit(NOT_CLEAN)
                elif descriptor in self.sinks:
                    sink = self.sinks[descriptor]
                    if not sink.read(descriptor) and events & select.POLLHUP:
                        poll.unregister(descriptor)
                    if sink.is_over:
                        self.verdict = "output"
                        return None
                elif descriptor == self.stdin:
                    self.feed(poll)
            if kernel.has_ended(awaited):
                end = self.child_end(os.WNOHANG if self.tester else 0)
                self.child = 0 if end is not None else self.child
                return end

    def child_end(self, flags: int) -> int | None:
        pid, status = os.waitpid(self.child, flags)
        return status if pid else None

    def feed(self, poll: Any) -> None:
        try:
            self.stdin_rest = self.stdin_rest[os.write(self.stdin, self.stdin_rest[: 1 << 16]) :]
        except BrokenPipeError:
            self.stdin_rest = memoryview(b"")
        except BlockingIOError:
            return
        if not self.stdin_rest:
            poll.unregister(self.stdin)
            self.close_stdin()

    def close_stdin(self) -> None:
        if self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1

    def kill(self) -> None:
        """Kill every process of the run, however far it has run away, and wait for all of them."""
        kernel.kill_children([pid for pid in (self.child, self.tester) if pid])
        self.child = self.tester = 0

    def report(self, end: int | None, wall_s: float) -> dict[str, Any]:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        reply: dict[str, Any] = {
            "wall_s": wall_s,
            "cpu_s": used.ru_utime + used.ru_stime,
            "max_memory_kib": used.ru_maxrss,
            "exit_code": None,
            "signal": None,
        }
        for sink in self.sinks.values():
            reply[sink.name] = [bytes(sink.head + sink.tail), sink.num_bytes, len(sink.head)]
        if end is not None and os.WIFSIGNALED(end):
            reply["signal"] = os.WTERMSIG(end)
        elif end is not None and (number := os.read(self.control, 10)):
            reply["signal"] = int(number)
        elif end is not None:
            reply["exit_code"] = os.WEXITSTATUS(end)
        elif not self.verdict:
            reply["exit_code"] = 0  # it still waited for questions when its tester was done
        reply["status"] = self.verdict or self.status_of(reply)
        return reply

    def status_of(self, reply: dict[str, Any]) -> str:
        if reply["exit_code"] == 0:
            return "ok"
        by_cpu = reply["cpu_s"] >= self.limits["cpu_s"] and reply["signal"] == signal.SIGKILL
        if reply["signal"] == signal.SIGXCPU or by_cpu:
            return "timeout"
        if reply["exit_code"] == 1 and reply["stderr"][0].rstrip().endswith(b"\nMemoryError"):
            return "memory"
        return "failed" if reply["exit_code"] is not None else "crashed"


class _Sink:
    """What was read from one pipe: the first half of what is kept, and the last."""

    def __init__(self, name: str, kept_bytes: float, max_bytes: float) -> None:
        self.name, self.kept_bytes, self.max_bytes = name, int(kept_bytes), int(max_bytes)
        self.head, self.tail, self.num_bytes = bytearray(), bytearray(), 0

    @property
    def is_over(self) -> bool:
        return self.num_bytes > self.max_bytes

    def read(self, descriptor: int) -> bool:
        """Take what is there. Returns whether there was anything, and whether it is of use to ask again."""
        try:
            data = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return False
        room = self.kept_bytes - self.num_bytes if self.num_bytes <= self.kept_bytes else 0
        self.num_bytes += len(data)
        self.head += data[:room]
        self.tail += data[room:]
        if self.num_bytes > self.kept_bytes:
            half = self.kept_bytes // 2
            if len(self.head) > half:  # the first time that there is too much
                self.tail = self.head[half:] + self.tail
                del self.head[half:]
            del self.tail[: -(self.kept_bytes - half)]
        return bool(data) and not self.is_over


def _child(confinement: Confinement, request: dict[str, Any], *, control: int) -> None:
    """In the child: be shut in, then run what was asked for. Does not return."""
    try:
        kernel.die_with_parent()
        directory = confinement.enter()
        _set_environment(directory, request)
        _lay_files(request["files"])
        _seed_random()
        confinement.close_door()
        os.write(control, _READY)
    except BaseException as error:
        os.write(control, f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:1000])
        os._exit(1)
    if request["argv"]:
        os.closerange(3, 5)
        program.run_command(request, control=control)
    is_plain = not request["calls"] and not request["is_served"]
    os.closerange(3 if is_plain else 4 if request["calls"] else 5, 6)
    if request.get("is_cell"):
        cells.run_cell(request)
    elif request["calls"]:
        program.run_calls(request)
    elif request["is_served"]:
        objects.serve(request)
    else:
        program.run_program(request)


def _set_environment(directory: str, request: dict[str, Any]) -> None:
    os.environ.clear()
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    os.environ.update({"PATH": path, "HOME": directory, "TMPDIR": directory, "LANG": "C.UTF-8"})
    os.environ.update({"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", **request["env"]})


def _seed_random() -> None:
    if "random" in sys.modules:
        sys.modules["random"].seed(os.urandom(16))


def _lay_files(files: dict[str, bytes]) -> None:
    for path, data in files.items():
        folder = os.path.dirname(path)
        if folder:
            os.makedirs(folder, exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)


def _keep_descriptors(kept: list[int]) -> None:
    """Give descriptors the numbers 0, 1, ...; where it says -1 comes /dev/null. All others are closed."""
    null = os.open(os.devnull, os.O_RDWR)
    copies = [fcntl.fcntl(null if old < 0 else old, fcntl.F_DUPFD, 64) for old in kept]
    for new, copy in enumerate(copies):
        os.dup2(copy, new)
    os.closerange(len(kept), 1 << 16)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
