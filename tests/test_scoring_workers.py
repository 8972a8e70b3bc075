import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmgym.errors import ConfigError, VerifierError
from llmgym.scoring import WorkerPool, WorkResult, WorkStatus

PROBES = """
    import os, subprocess, sys, threading, time

    def spin():
        while True:
            pass

    def spin_for(cpu_s):
        start = time.process_time()
        while time.process_time() - start < cpu_s:
            pass
        return "done"

    def hold(mib):
        return len(bytearray(mib * 2**20))

    def say_pid_and_sleep(path):
        with open(path, "w") as file:
            file.write(str(os.getpid()))
        time.sleep(600)

    def print_and_read():
        print("noise that must not be taken for a reply")
        return sys.stdin.read()

    def start_grandchild():
        return subprocess.Popen(["sleep", "600"]).pid

    def main_name():
        return sys.modules["__main__"].__file__

    def leave():
        raise SystemExit("I would rather not")
"""


@pytest.fixture
def probes(tmp_path, monkeypatch):
    """The name of a module that only workers import."""
    (tmp_path / "probes.py").write_text(textwrap.dedent(PROBES))
    monkeypatch.syspath_prepend(str(tmp_path))
    return "probes"


@pytest.fixture
def pool(probes):
    with WorkerPool(2, wall_grace_s=30) as pool:
        yield pool


def pid_written_to(path: Path) -> int:
    while not path.exists() or not path.read_text():
        time.sleep(0.01)
    return int(path.read_text())


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def ends(pid: int) -> bool:
    for _ in range(6000):
        if not is_running(pid):
            return True
        time.sleep(0.01)
    return False


def test_a_call_returns_what_the_function_returns(pool):
    assert pool.run("math:gcd", 12, 18, timeout_s=5) == WorkResult(WorkStatus.RETURNED, value=6)


def test_text_arrives_unchanged_even_with_lone_surrogates(pool):
    text = "½ \ud800 \x00 漢" * 100_000

    assert pool.run("operator:concat", text, "!", timeout_s=5).value == text + "!"


def test_what_the_function_raises_comes_back_as_text(pool):
    result = pool.run("operator:truediv", 1, 0, timeout_s=5)

    assert (result.status, result.error) == (WorkStatus.RAISED, "ZeroDivisionError: division by zero")


def test_a_function_that_exits_the_interpreter_has_raised(pool):
    result = pool.run("probes:leave", timeout_s=5)

    assert (result.status, result.error) == (WorkStatus.RAISED, "SystemExit: I would rather not")


def test_an_infinite_loop_is_an_overrun_and_the_pool_goes_on(pool):
    assert pool.run("probes:spin", timeout_s=0.1).status is WorkStatus.OVERRUN
    assert pool.run("math:gcd", 4, 6, timeout_s=5).value == 2


def test_one_long_call_inside_c_is_an_overrun(pool):
    assert pool.run("math:factorial", 10**9, timeout_s=0.1).status is WorkStatus.OVERRUN


def test_a_memory_hog_is_an_overrun_that_names_memory(probes):
    with WorkerPool(1, memory_mib=256) as pool:
        results = [pool.run(f"{probes}:hold", mib, timeout_s=5) for mib in (64, 512, 64)]

    assert [result.status for result in results] == [WorkStatus.RETURNED, WorkStatus.OVERRUN, WorkStatus.RETURNED]
    assert results[1].error == "used more than 256 MiB of memory"


def test_time_spent_waiting_is_not_the_functions_own(pool):
    assert pool.run("time:sleep", 0.3, timeout_s=0.05).status is WorkStatus.RETURNED


def test_each_call_has_the_whole_time_limit_to_itself(pool):
    results = [pool.run("probes:spin_for", 0.2, timeout_s=0.6).value for _ in range(5)]

    assert results == ["done"] * 5


def test_a_worker_that_only_sleeps_is_lost_after_the_wall_limit_not_an_overrun():
    with WorkerPool(1, wall_grace_s=0.5) as pool:
        result = pool.run("time:sleep", 600, timeout_s=0.01)

    assert result.status is WorkStatus.LOST
    assert "wall time" in result.error


def test_a_worker_killed_in_the_middle_of_a_call_is_lost_and_replaced(pool, tmp_path):
    with ThreadPoolExecutor() as threads:
        call = threads.submit(pool.run, "probes:say_pid_and_sleep", str(tmp_path / "pid"), timeout_s=5)
        os.kill(pid_written_to(tmp_path / "pid"), signal.SIGKILL)

    assert call.result().status is WorkStatus.LOST
    assert pool.run("math:gcd", 4, 6, timeout_s=5).value == 2


def test_a_worker_killed_while_idle_is_replaced_unnoticed(pool):
    pid = pool.run("os:getpid", timeout_s=5).value
    os.kill(pid, signal.SIGKILL)
    assert ends(pid)

    assert pool.run("os:getpid", timeout_s=5).value != pid


def test_printing_and_reading_disturb_nothing(pool):
    assert pool.run("probes:print_and_read", timeout_s=5) == WorkResult(WorkStatus.RETURNED, value="")


def test_calls_from_eight_threads_each_get_their_own_reply(pool):
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda n: pool.run("operator:add", n, 1, timeout_s=5).value, range(200)))

    assert results == list(range(1, 201))


def test_a_worker_outlives_the_thread_that_started_it(pool):
    pids: list[int] = []
    thread = threading.Thread(target=lambda: pids.append(pool.run("os:getpid", timeout_s=5).value))
    thread.start()
    thread.join()

    assert pool.run("os:getpid", timeout_s=5).value == pids[0]


def test_close_leaves_no_process_of_a_worker_behind_and_may_be_called_twice(pool):
    pids = [pool.run("os:getpid", timeout_s=5).value, pool.run("probes:start_grandchild", timeout_s=5).value]

    pool.close()
    pool.close()

    assert all(ends(pid) for pid in pids)


def test_close_ends_a_call_under_way_as_lost(pool, tmp_path):
    with ThreadPoolExecutor() as threads:
        call = threads.submit(pool.run, "probes:say_pid_and_sleep", str(tmp_path / "pid"), timeout_s=5)
        pid_written_to(tmp_path / "pid")
        pool.close()

    assert call.result().status is WorkStatus.LOST


def test_a_closed_pool_refuses_calls(pool):
    pool.close()

    with pytest.raises(VerifierError, match="closed"):
        pool.run("math:gcd", 4, 6, timeout_s=5)


def test_a_worker_is_replaced_after_so_many_calls():
    with WorkerPool(1, calls_per_worker=2) as pool:
        pids = [pool.run("os:getpid", timeout_s=5).value for _ in range(4)]

    assert pids[0] == pids[1] != pids[2] == pids[3]


@pytest.mark.parametrize("function", ["math:no_such_function", "no_such_module:f"])
def test_a_function_that_cannot_be_imported_is_an_error_of_ours(pool, function):
    with pytest.raises(VerifierError, match="could not import"):
        pool.run(function, timeout_s=5)


@pytest.mark.parametrize(("argument", "timeout_s"), [(object(), 5), ("x", 0), ("x", float("inf"))])
def test_a_call_that_cannot_be_made_is_refused_before_it_is_sent(pool, argument, timeout_s):
    with pytest.raises(ConfigError):
        pool.run("builtins:len", argument, timeout_s=timeout_s)


def test_the_workers_main_module_is_its_own(pool):
    assert pool.run("probes:main_name", timeout_s=5).value.endswith("worker_main.py")


def script(tmp_path: Path, body: str) -> subprocess.Popen[str]:
    (tmp_path / "script.py").write_text(textwrap.dedent(body))
    return subprocess.Popen([sys.executable, str(tmp_path / "script.py")], stdout=subprocess.PIPE, text=True)


def test_workers_die_with_a_parent_that_is_killed(tmp_path):
    parent = script(
        tmp_path,
        """
        from llmgym.scoring import WorkerPool
        import threading
        pool = WorkerPool(2)
        print(pool.run("os:getpid", timeout_s=5).value, flush=True)
        pool.run("time:sleep", 600, timeout_s=5)
        """,
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())

    parent.kill()
    parent.communicate()

    assert ends(worker)


def test_a_pool_that_nobody_closed_ends_with_the_interpreter(tmp_path):
    parent = script(
        tmp_path,
        """
        from llmgym.scoring import shared_pool
        print(shared_pool().run("os:getpid", timeout_s=5).value)
        """,
    )
    output, _ = parent.communicate(timeout=60)

    assert parent.returncode == 0
    assert ends(int(output))


def test_a_forked_child_starts_workers_of_its_own_and_leaves_the_parents_alone(tmp_path):
    parent = script(
        tmp_path,
        """
        import os, sys
        from llmgym.scoring import WorkerPool
        pool = WorkerPool(1)
        first = pool.run("os:getpid", timeout_s=5).value
        child = os.fork()
        if child == 0:
            sys.exit(0 if pool.run("os:getpid", timeout_s=5).value != first else 1)
        _, status = os.waitpid(child, 0)
        print(status, pool.run("os:getpid", timeout_s=5).value == first)
        """,
    )
    output, _ = parent.communicate(timeout=60)

    assert output.split() == ["0", "True"]
