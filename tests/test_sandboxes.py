"""What every level does alike: runs, limits, test forms, and a pool that nothing breaks."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from support.sandboxes import LEVELS, guest_processes, sandbox, sandbox_of, until  # noqa: F401

from llmgym.errors import ConfigError, SandboxError, UnknownSandboxError
from llmgym.execution import (
    Call,
    DataCase,
    DataTests,
    InProcessTests,
    Limits,
    Request,
    RpcTests,
    Status,
    StdioCase,
    StdioTests,
    VerdictSource,
    form_of_statements,
    grade,
    grade_many,
    open_sandbox,
)

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
        ("x = bytearray(1 << 30)", Limits(memory_mib=200), Status.MEMORY),
        ("import ctypes; ctypes.string_at(0)", SHORT, Status.CRASHED),
        ("while True: print('x' * 100000)", Limits(wall_s=20, max_output_bytes=1 << 21), Status.OUTPUT),
        ("import sys; sys.exit('no')", SHORT, Status.FAILED),
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
        "        time.sleep(30)\n"
        "time.sleep(30)\n"
    )

    outcome = run(sandbox, source, limits=Limits(wall_s=20, memory_mib=300))

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


def test_a_tree_that_is_deep_and_locked_is_cleared_away(sandbox):
    source = (
        "import os\n"
        "for depth in range(1100):\n"
        "    os.mkdir('d'); open('f', 'w').close(); os.chdir('d')\n"
        "os.mkdir('locked'); open('locked/f', 'w').close(); os.chmod('locked', 0)\n"
    )

    limits = Limits(wall_s=60)

    assert [run(sandbox, source, limits=limits).status for _ in range(3)] == [Status.OK] * 3


def test_values_come_back_with_errors_by_name(sandbox):
    source = "def double(x): return x * 2\ndef fail(): raise KeyError('k')\nclass A:\n    def m(self): return 1\n"
    calls = [
        Call(function="double", args=[[1, "a"]]),
        Call(function="double", kwargs={"x": (1.5,)}),
        Call(function="fail"),
        Call(function="missing"),
    ]

    values = run(sandbox, source, calls=calls).values

    assert [value.value for value in values[:2]] == [[1, "a", 1, "a"], (1.5, 1.5)]
    assert [value.error for value in values[2:]] == ["KeyError", "AttributeError"]


def test_values_before_a_crash_are_kept(sandbox):
    source = "import os\ndef f(x):\n    if x == 2: os._exit(0)\n    return x\n"

    grading = grade(
        sandbox,
        DataTests(cases=[DataCase(call=Call(function="f", args=[n]), expected=n) for n in range(4)]),
        source,
    )

    assert [result.is_passed for result in grading.results] == [True, True, False, False]
    assert grading.verdict_source is VerdictSource.HOST


def test_forged_frames_are_claims_of_values_and_no_more(sandbox):
    forged = (
        "import os, struct\n"
        "def f():\n"
        "    for fd in range(3, 10):\n"
        "        for body in (b'T', b'l' + struct.pack('>I', 2) + b's' + struct.pack('>I', 5) + b'value' + b'T'):\n"
        "            try: os.write(fd, struct.pack('>I', len(body)) + body)\n"
        "            except OSError: pass\n"
        "    os._exit(0)\n"
    )

    grading = grade(sandbox, form_of_statements(["assert f() == 5", "assert f() is True"]), forged)

    assert not any(result.is_passed for result in grading.results)


STACK = """
class Empty(Exception): pass
class Stack:
    def __init__(self): self.items = []
    def push(self, item): self.items.append(item)
    def pop(self):
        if not self.items: raise Empty('empty')
        return self.items.pop()
    def __len__(self): return len(self.items)
    def __iter__(self): return iter(self.items)
    def __enter__(self): return self
    def __exit__(self, *a): self.items.clear()
def apply(function, x): return function(x)
def grow(xs, seen): xs.append(len(xs)); seen['n'] = 1
def count():
    n = 0
    while True:
        yield n
        n += 1
"""


def test_tests_see_objects_through_stand_ins(sandbox):
    statements = [
        "import itertools",
        "s = Stack()",
        "s.push(1); s.push([2])",
        "assert len(s) == 2 and list(s) == [1, [2]]",
        "assert isinstance(s, Stack) and not isinstance(3, Stack)",
        "assert s.pop() == [2] and s.pop() == 1",
        "try:\n    s.pop()\nexcept Empty as error:\n    assert 'empty' in str(error)\nelse:\n    raise AssertionError",
        "with Stack() as t:\n    t.push(1)\nassert not t",
        "assert apply(lambda x: x + 1, 4) == 5",
        "xs, seen = [0], {}\ngrow(xs, seen)\nassert xs == [0, 1] and seen == {'n': 1}",
        "assert list(itertools.islice(count(), 3)) == [0, 1, 2]",
        "assert apply(str, 5) == '6'",
    ]

    grading = grade(sandbox, RpcTests(statements=statements), STACK)

    assert [result.is_passed for result in grading.results] == [True] * 8 + [False]
    assert grading.verdict_source is VerdictSource.TESTER


LIARS = """
class Liar:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    __gt__ = __le__ = __ge__ = __lt__
    def __sub__(self, other): return self
    __rsub__ = __add__ = __abs__ = __round__ = lambda self, *a: self
    def __contains__(self, item): return True
    def __hash__(self): return 5
def f(*args): return Liar()
def g(*args): return [Liar()]
def die(*args):
    import os
    os._exit(0)
"""


@pytest.mark.parametrize(
    "statement",
    [
        "x = f(1)\nassert x == 5",
        "x = f(1)\nassert 5 == x",
        "assert not (f(1) != 5), 'ne'",
        "x = f(1)\nassert abs(x - 0.5) < 1e-9",
        "x = f(1)\nassert x > 3",
        "x = f(1)\nassert 3 in x",
        "x = f(1)\nassert x in [1, 2]",
        "x = g(1)\nassert x == [5]",
        "x = f(1)\nassert round(x, 2) == 0.15",
        "x = {5: 1}\nassert x[f(1)] == 1",
        "try:\n    die()\nexcept:\n    pass",
        "try:\n    die()\nexcept BaseException:\n    x = 1",
        "import contextlib\nwith contextlib.suppress(Exception):\n    die()\n",
    ],
)
def test_no_object_passes_by_its_own_word(sandbox, statement):
    plain = grade(sandbox, RpcTests(statements=[statement]), LIARS)

    assert not plain.is_all_passed


def test_objects_may_speak_of_each_other_where_the_task_says_so(sandbox):
    source = (
        "class V:\n"
        "    def __init__(self, x): self.x = x\n"
        "    def __add__(self, o): return V(self.x + o.x)\n"
        "    def __eq__(self, o): return self.x == o.x\n"
        "    def __lt__(self, o): return self.x < o.x\n"
    )
    statements = ["assert V(1) + V(2) == V(3)", "assert V(1) < V(2)", "assert (V(1) + V(2)).x == 3"]

    told = grade(sandbox, RpcTests(statements=statements, compares_objects=True), source)
    untold = grade(sandbox, RpcTests(statements=statements), source)

    assert told.is_all_passed
    assert not any(result.is_passed for result in untold.results)
    assert not grade(sandbox, RpcTests(statements=["assert f() == 5"], compares_objects=True), LIARS).is_all_passed


def test_tests_are_not_within_reach_of_the_program(sandbox):
    if sandbox.level == "process":
        return
    nosy = (
        "import os\n"
        "def f():\n"
        "    found = []\n"
        "    for pid in map(str, range(1, 400)):\n"
        "        for name in ('mem', 'environ', 'maps', 'fd/0', 'root/tmp'):\n"
        "            if int(pid) != os.getpid():\n"
        "                try: found.append(open(f'/proc/{pid}/{name}', 'rb').read(10)); found.append(pid + name)\n"
        "                except OSError: pass\n"
        "    return found\n"
    )

    grading = grade(sandbox, RpcTests(statements=["x = f()\nassert x == [], x"]), nosy)

    assert grading.is_all_passed, grading.results


def test_text_is_compared_without_white_space_at_the_ends_of_lines(sandbox):
    cases = [
        StdioCase(stdin="2\n", stdout="4 \n\n"),
        StdioCase(stdin="3", stdout="9"),
        StdioCase(stdin="4", stdout="8"),
    ]

    grading = grade(sandbox, StdioTests(cases=cases), "print(int(input()) ** 2)")

    assert [result.is_passed for result in grading.results] == [True, True, False]
    assert "'16\\n'" in grading.results[2].reason


def test_numbers_may_differ_where_a_tolerance_is_given(sandbox):
    cases = [StdioCase(stdin="", stdout="x 0.3333\n")]

    tests = StdioTests(cases=cases, tolerance=1e-3)

    assert grade(sandbox, tests, "print('x', 1 / 3)").is_all_passed
    assert not grade(sandbox, tests, "print('y', 1 / 3)").is_all_passed
    assert not grade(sandbox, StdioTests(cases=cases), "print('x', 1 / 3)").is_all_passed


def test_a_checker_decides_on_the_host(sandbox):
    tests = StdioTests(cases=[StdioCase(stdin="7", stdout="")], checker=lambda given, _, wrote: given in wrote)

    assert grade(sandbox, tests, "print('a7b')").is_all_passed
    assert not grade(sandbox, tests, "print('a')").is_all_passed


def test_an_exit_code_beside_the_program_is_marked_as_unsound(sandbox):
    tests = InProcessTests(
        argv=["python3", "check.py"], files={"check.py": b"import solution\nassert solution.f() == 1"}
    )

    assert grade(sandbox, tests, "def f(): return 1").is_all_passed
    assert grade(sandbox, tests, "import os; os._exit(0)").verdict_source is VerdictSource.IN_PROCESS
    assert not grade(sandbox, tests, "def f(): return 2").is_all_passed


def test_many_gradings_keep_their_order(sandbox):
    pairs = [(form_of_statements([f"assert f() == {n % 3}"]), f"def f(): return {n}") for n in range(12)]

    gradings = grade_many(sandbox, pairs)

    assert [grading.is_all_passed for grading in gradings] == [n < 3 for n in range(12)]


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
    thread.join(10)

    assert len(ends) == 1
    assert until(lambda: len(guest_processes()) <= before)
    with pytest.raises(SandboxError, match="closed"):
        run(opened, "pass")


@pytest.mark.parametrize("level", LEVELS)
def test_nothing_outlives_an_owner_that_is_killed(level, require):
    sandbox_of(level, require, num_workers=1).close()
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, level], stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert owner.stdout.readline() == b"ready\n"
    name = f"llmgym-guest-of-{owner.pid}\0".encode()
    assert until(lambda: _processes_named(name) > 1)
    time.sleep(0.3)

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
