"""What every level does alike: runs, their limits and their ends, and how a level is chosen."""

import os

import pytest
from support.sandboxes import guest_processes, sandbox, sandbox_of, until  # noqa: F401

from llmgym.errors import ConfigError, SandboxError, UnknownSandboxError
from llmgym.execution import Limits, Request, Status, open_sandbox

# ruff: noqa: F811  (the fixture is imported)

SHORT = Limits(wall_s=1)


def run(sandbox, source, **settings):
    return sandbox.run(Request(source=source, **settings))


def test_a_program_reads_real_pipes_and_ends_with_its_own_exit_code(sandbox):
    source = "import os, sys\nprint(os.read(0, 100).decode()[::-1])\nprint('e', file=sys.stderr)\nsys.exit(3)"

    outcome = run(sandbox, source, stdin="hé世".encode())

    assert (outcome.status, outcome.exit_code) == (Status.FAILED, 3)
    assert (outcome.stdout.text, outcome.stderr.text) == ("世éh\n", "e\n")
    assert outcome.level == sandbox.level


def test_a_program_ends_as_under_python_itself(sandbox):
    source = (
        "import atexit, threading, time\n"
        "atexit.register(print, 'last')\n"
        "threading.Thread(target=lambda: (time.sleep(0.05), print('thread'))).start()\n"
        "def main():\n    1 / 0\n"
        "if __name__ == '__main__':\n    main()\n"
    )

    outcome = run(sandbox, source)

    assert outcome.stdout.text == "thread\nlast\n"
    assert outcome.stderr.text.splitlines()[:2] == [
        "Traceback (most recent call last):",
        '  File "main.py", line 7, in <module>',
    ]
    assert outcome.exit_code == 1


def test_a_command_runs_among_its_files_with_nothing_inherited(sandbox, monkeypatch):
    monkeypatch.setenv("LLMGYM_SECRET", "never")
    request = Request(
        argv=["bash", "-c", "cat a/b.txt; env; exit 7"], files={"a/b.txt": b"text\n"}, env={"EXTRA": "given"}
    )

    outcome = sandbox.run(request)

    assert outcome.exit_code == 7
    assert outcome.stdout.text.startswith("text\n")
    assert "EXTRA=given" in outcome.stdout.text
    assert "never" not in outcome.stdout.text


def test_a_command_that_is_not_there_fails_like_in_a_shell(sandbox):
    assert sandbox.run(Request(argv=["no-such-command"])).exit_code == 127


@pytest.mark.parametrize(
    ("source", "limits", "status"),
    [
        ("while True: pass", SHORT, Status.TIMEOUT),
        ("import time; time.sleep(60)", SHORT, Status.TIMEOUT),
        ("while True: pass", Limits(wall_s=60, cpu_s=1), Status.TIMEOUT),
        ("x = bytearray(1 << 30)", Limits(wall_s=60, memory_mib=200), Status.MEMORY),
        ("import ctypes; ctypes.string_at(0)", Limits(wall_s=60), Status.CRASHED),
        ("while True: print('x' * 100000)", Limits(wall_s=60, max_output_bytes=1 << 21), Status.OUTPUT),
        ("import sys; sys.exit('no')", Limits(wall_s=60), Status.FAILED),
    ],
)
def test_each_end_of_a_run_has_its_status(sandbox, source, limits, status):
    assert run(sandbox, source, limits=limits).status is status


def test_memory_is_limited_over_all_processes_together(sandbox):
    source = (
        "import os, time\n"
        "for _ in range(6):\n"
        "    if os.fork() == 0:\n"
        "        x = bytearray(os.urandom(1)) * (100 << 20)\n"
        "        time.sleep(100)\n"
        "time.sleep(100)\n"
    )

    outcome = run(sandbox, source, limits=Limits(wall_s=60, memory_mib=300))

    assert outcome.status is Status.MEMORY


def test_long_output_is_cut_in_the_middle_with_a_count(sandbox):
    outcome = run(sandbox, "print('a' * 3000 + 'b' * 3000)", limits=Limits(output_bytes=1000))

    assert outcome.stdout.num_bytes == 6001
    assert len(outcome.stdout.data) == 1000
    assert outcome.stdout.text.startswith("a" * 500)
    assert outcome.stdout.text.endswith("b" * 499 + "\n")
    assert "[... 5001 bytes left out ...]" in outcome.stdout.text


def test_processes_are_limited_and_none_is_left(sandbox):
    source = (
        "import os, time\n"
        "n = 0\n"
        "for _ in range(300):\n"
        "    try:\n"
        "        if os.fork() == 0:\n"
        "            os.setsid(); time.sleep(30); os._exit(0)\n"
        "        n += 1\n"
        "    except OSError: break\n"
        "print(n)\n"
    )
    is_unlimited = sandbox.level == "process" and os.getuid() == 0  # the kernel does not limit root
    before = len(guest_processes())

    outcome = run(sandbox, source, limits=Limits(num_processes=16))

    assert outcome.status is Status.OK
    assert is_unlimited or int(outcome.stdout.text) < 16
    assert until(lambda: len(guest_processes()) <= before)


def test_nothing_of_a_run_is_there_in_the_next(sandbox):
    if sandbox.level == "process":
        return
    source = (
        "import os, builtins\n"
        "builtins.len = lambda x: 0\n"
        "for place in ('.', '/tmp', '/dev/shm', os.environ['HOME'], '/var/tmp', '/dev/mqueue'):\n"
        "    try: open(os.path.join(place, 'left'), 'w').write('x')\n"
        "    except OSError: pass\n"
    )
    probe = (
        "import os\n"
        "print(len('abc'), [p for p in ('.', '..', '/tmp', '/dev/shm', '/var/tmp', '/dev/mqueue')"
        " if os.path.exists(os.path.join(p, 'left'))])"
    )

    run(sandbox, source)

    assert {run(sandbox, probe).stdout.text for _ in range(4)} == {"3 []\n"}


@pytest.mark.slow
def test_a_tree_that_is_deep_and_locked_is_cleared_away(sandbox):
    source = (
        "import os\n"
        "for depth in range(1100):\n"
        "    os.mkdir('d'); open('f', 'w').close(); os.chdir('d')\n"
        "os.mkdir('locked'); open('locked/f', 'w').close(); os.chmod('locked', 0)\n"
    )

    limits = Limits(wall_s=60)

    assert [run(sandbox, source, limits=limits).status for _ in range(3)] == [Status.OK] * 3


def test_auto_takes_the_strongest_level_and_says_which(require):
    with sandbox_of("auto", require) as opened:
        assert opened.level in ("bwrap", "landlock")
        assert opened.info["level"] == opened.level
        assert opened.level == "bwrap" or "bwrap" in opened.info["refused"]


def test_a_level_without_walls_must_be_allowed():
    with pytest.raises(ConfigError, match="allow_unsafe=True"):
        open_sandbox("process")


def test_an_unknown_level_names_the_nearest():
    with pytest.raises(UnknownSandboxError, match="'bwrap'"):
        open_sandbox("bwrapp")


def test_a_missing_tool_is_refused_with_the_way_to_get_it(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(SandboxError, match="apt-get install bubblewrap"):
        open_sandbox("bwrap")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "exactly one"),
        ({"source": "", "argv": ["x"]}, "exactly one"),
        ({"argv": ["x"], "tests": ["y"]}, "need a Python"),
        ({"source": "", "files": {"../x": b""}}, "must be relative"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Request(**settings)


def test_limits_that_make_no_sense_are_refused():
    with pytest.raises(ConfigError, match="wall_s"):
        Limits(wall_s=0)
    with pytest.raises(ConfigError, match="32 MiB"):
        Limits(memory_mib=10)
