"""Sandboxes that live for an episode of many turns."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest
from support.sandboxes import LEVELS, guest_processes, sandbox, sandbox_of, until  # noqa: F401

from llmgym.errors import SandboxError
from llmgym.execution import Limits, Request, Status

# ruff: noqa: F811  (the fixture is imported)


@pytest.fixture
def session(sandbox):
    with sandbox.session(limits=Limits(wall_s=30)) as opened:
        yield opened


def test_files_stay_from_command_to_command_and_exit_codes_are_true(session):
    first = session.command("mkdir d && echo text > d/f && cd d && exit 5")
    second = session.command("cat d/f; cat >&2", stdin=b"given")

    assert (first.status, first.exit_code) == (Status.FAILED, 5)
    assert (second.status, second.stdout.text, second.stderr.text) == (Status.OK, "text\n", "given")


def test_programs_that_are_chosen_by_links_in_etc_are_found(session):
    assert session.command("echo a b | awk '{print $2}'").stdout.text == "b\n"


def test_a_command_that_shuts_the_working_directory_does_not_break_the_sandbox(session):
    session.command("echo kept > file; chmod 000 .")

    assert session.command("cat file").stdout.text == "kept\n"


def test_the_signal_that_ends_a_command_is_told(session):
    outcome = session.command("kill -9 $$")

    assert (outcome.status, outcome.signal) == (Status.CRASHED, 9)


def test_background_processes_end_with_their_command(session):
    before = len(guest_processes())

    outcome = session.command("(setsid sleep 1000 &) ; sleep 1000 & echo started")

    assert outcome.stdout.text == "started\n"
    assert until(lambda: len(guest_processes()) <= before)
    assert session.command("ps ax 2>/dev/null | grep '[s]leep 1000' | wc -l").stdout.text.strip() in ("0", "")


def test_long_output_is_cut_in_the_middle_and_does_not_end_the_command(session):
    outcome = session.command("yes | head -c 3000000; echo end", limits=Limits(output_bytes=1000))

    assert outcome.status is Status.OK
    assert "[... 2999004 bytes left out ...]" in outcome.stdout.text
    assert outcome.stdout.text.endswith("end\n")


def test_a_command_past_its_limit_is_ended_and_the_next_one_runs(session):
    busy = session.command("echo a > kept; while :; do :; done", limits=Limits(wall_s=60, cpu_s=1))
    idle = session.command("sleep 100", limits=Limits(wall_s=0.2))

    assert (busy.status, idle.status) == (Status.TIMEOUT, Status.TIMEOUT)
    assert session.command("cat kept").stdout.text == "a\n"


def test_cells_know_the_names_of_earlier_ones(session):
    session.cell(
        "import math\nxs = [1]\nalias = xs\ndef area(r): return round(math.pi * r * r, 2)\nclass A: n = 1\na = A()"
    )
    session.cell("xs.append(2)\nadd = lambda x: x + len(xs)")

    outcome = session.cell("print(alias, area(1), a.n)\nadd(1)")

    assert outcome.stdout.text == "[1, 2] 3.14 1\n3\n"
    assert outcome.stderr.text == ""


def test_a_cell_that_raises_keeps_what_it_did_and_one_that_is_killed_does_not(session):
    session.cell("x = 1")

    raised = session.cell("x = 2\n1 / 0")
    killed = session.cell("x = 3\nwhile True: pass", limits=Limits(wall_s=1))

    assert (raised.exit_code, raised.stderr.text.splitlines()[-1]) == (1, "ZeroDivisionError: division by zero")
    assert killed.status is Status.TIMEOUT
    assert session.cell("x").stdout.text == "2\n"


def test_what_cannot_be_kept_between_cells_is_named(session):
    outcome = session.cell("g = (n for n in [1])\nx = 5")

    assert "[not kept for the next cell, as they cannot be pickled: g]" in outcome.stderr.text
    assert session.cell("x").stdout.text == "5\n"


def test_a_fork_has_a_copy_of_files_and_names_of_its_own(session):
    session.cell("x = [1]")
    session.write_files({"a/b": b"\0one", "run.sh": b"echo ran"})
    session.command("chmod +x run.sh; ln -s a/b link")

    with session.fork() as copy:
        copy.cell("x.append(2)")
        copy.write_files({"a/b": b"two"})
        assert copy.command("./run.sh; cat link").stdout.text == "ran\ntwo"
        assert copy.cell("x").stdout.text == "[1, 2]\n"

    assert session.read_file("a/b") == b"\0one"
    assert session.cell("x").stdout.text == "[1]\n"


def test_a_file_that_is_not_there_or_too_long_is_not_read(session):
    session.write_files({"long": b"x" * 2000})

    with pytest.raises(FileNotFoundError, match="missing"):
        session.read_file("missing")
    with pytest.raises(FileNotFoundError, match="long"):
        session.read_file("long", max_bytes=1000)


def test_sessions_know_nothing_of_each_other_or_of_other_runs(sandbox, session):
    session.write_files({"secret.txt": b"s"})
    folder = session.command("pwd").stdout.text.strip()

    with sandbox.session() as other:
        assert other.command("ls -A").stdout.text == ""
        if sandbox.level != "process":
            assert other.command(f"cat {folder}/secret.txt").exit_code != 0
            assert sandbox.run(Request(argv=["cat", f"{folder}/secret.txt"])).exit_code != 0


def test_a_cancelled_command_ends_its_session(sandbox):
    async def cancel(opened) -> None:
        task = asyncio.create_task(opened.acommand("sleep 100"))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    opened = sandbox.session()
    asyncio.run(cancel(opened))

    with pytest.raises(SandboxError, match="closed"):
        opened.command("true")


def test_commands_run_for_asyncio(sandbox):
    async def both(first, second):
        return await asyncio.gather(first.acommand("sleep 0.1; echo 1"), second.acell("2"))

    with sandbox.session() as first, sandbox.session() as second:
        outcomes = asyncio.run(both(first, second))

    assert [outcome.stdout.text for outcome in outcomes] == ["1\n", "2\n"]


_OWNER = """
import sys
from llmgym.execution import open_sandbox
sandbox = open_sandbox(sys.argv[1], allow_unsafe=True, num_workers=1)
session = sandbox.session()
session.write_files({"deep/file": b"x"})
print(getattr(sandbox.backend, "_scratch", ""), flush=True)
session.command("sleep 100")
"""


@pytest.mark.parametrize("level", LEVELS)
def test_no_file_of_a_session_outlives_an_owner_that_is_killed(level, require):
    sandbox_of(level, require, num_workers=1).close()
    owner = subprocess.Popen([sys.executable, "-c", _OWNER, level], stdout=subprocess.PIPE)
    scratch = owner.stdout.readline().decode().strip()
    time.sleep(0.2)

    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    owner.stdout.close()

    assert until(lambda: not scratch or not os.path.exists(scratch))
