"""A pool of workers that nothing breaks: lost workers, cancelled runs, killed owners."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest
from support.sandboxes import LEVELS, guest_processes, sandbox, sandbox_of, until  # noqa: F401

from llmgym.errors import SandboxError
from llmgym.execution import Limits, Request

# ruff: noqa: F811  (the fixture is imported)


def run(sandbox, source, **settings):
    return sandbox.run(Request(source=source, **settings))


def test_a_lost_worker_is_replaced(sandbox):
    run(sandbox, "pass")
    for worker in list(sandbox._workers):
        worker.channel.kill()

    assert run(sandbox, "print(1)").stdout.text == "1\n"


def test_a_cancelled_run_ends_and_leaves_nothing(sandbox):
    async def cancel() -> float:
        task = asyncio.create_task(sandbox.arun(Request(source="import time; time.sleep(60)")))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return (await sandbox.arun(Request(source="print(1)"))).wall_s

    before = len(guest_processes())
    wall_s = asyncio.run(cancel())

    assert wall_s < 30
    assert until(lambda: len(guest_processes()) <= max(before, 6))


def test_threads_share_the_workers(sandbox):
    outcomes = {}
    threads = [
        threading.Thread(target=lambda n=n: outcomes.update({n: run(sandbox, f"print({n})").stdout.text}))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert outcomes == {n: f"{n}\n" for n in range(8)}


@pytest.mark.parametrize("level", LEVELS)
def test_closing_ends_runs_under_way_and_every_process(level, require):
    before = len(guest_processes())
    opened = sandbox_of(level, require, num_workers=1)
    ends = []

    def wait() -> None:
        try:
            run(opened, "import time; time.sleep(60)", limits=Limits(wall_s=60))
        except SandboxError as error:
            ends.append(str(error))

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.3)
    opened.close()
    thread.join(60)

    assert len(ends) == 1
    assert until(lambda: len(guest_processes()) <= before)
    with pytest.raises(SandboxError, match="closed"):
        run(opened, "pass")


def test_a_guest_that_is_slow_to_end_takes_along_what_ran_away(require, tmp_path):
    before, opened, sign = guest_processes(), sandbox_of("process", require, num_workers=1), tmp_path / "ran"
    source = f"import os, time\nif os.fork() == 0:\n    os.setsid(); open({str(sign)!r}, 'w').close()\ntime.sleep(60)"

    def run_away() -> None:
        with suppress(SandboxError):
            run(opened, source)

    thread = threading.Thread(target=run_away)
    thread.start()
    assert until(sign.exists)
    (guest,) = [worker.channel._process.pid for worker in opened._workers]

    os.kill(guest, signal.SIGSTOP)  # as on a machine that has no time for it
    threading.Timer(1.2, os.kill, (guest, signal.SIGCONT)).start()
    opened.close()

    assert guest_processes() <= before
    thread.join()


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_outlives_an_owner_that_is_killed(level, require):
    sandbox_of(level, require, num_workers=1).close()
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, level], stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert owner.stdout.readline() == b"ready\n"
    name = f"llmgym-guest-of-{owner.pid}\0".encode()
    assert until(lambda: _processes_named(name) > 1)

    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    owner.stdout.close()

    assert until(lambda: _processes_named(name) == 0)


_OWNER = """
import sys
from llmgym.execution import Limits, Request, open_sandbox
sandbox = open_sandbox(sys.argv[1], allow_unsafe=True, num_workers=1)
print("ready", flush=True)
source = "import os, time\\nif os.fork() == 0:\\n    os.setsid()\\n    if os.fork(): os._exit(0)\\ntime.sleep(120)"
sandbox.run(Request(source=source, limits=Limits(wall_s=100)))
"""


def _processes_named(name: bytes) -> int:
    count = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                count += name in file.read()
        except OSError:
            continue
    return count
