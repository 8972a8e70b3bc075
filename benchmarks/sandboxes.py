"""Runs a second and CPU seconds a run of each sandbox, beside the common ways to run a program with its tests.

    python benchmarks/sandboxes.py FOLDER/humaneval.jsonl [--levels bwrap,landlock,docker,process] [--imports torch]

Every runner does the same work: HumanEval's reference solutions with their tests. The rivals run solution and tests as
one program, judged by its exit status; the sandboxes send calls, and judge values here. One JSON line for each runner;
the ratios of the last lines are of this run. The manager's processes are forked from this one, so they cost more where
it has more loaded: `--imports`. CPU seconds are those of this process and all its children (for Docker, of the
container), so a loaded machine inflates them, but hardly their ratios.
"""

import argparse
import contextlib
import importlib
import io
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llmgym.errors import LLMGymError
from llmgym.execution import Limits, Request, Sandbox, form_of_check, grade_many, open_sandbox

_TIMEOUT_S = 30
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("humaneval", type=Path)
    parser.add_argument("--levels", default="process,landlock,bwrap,docker")
    parser.add_argument("--limit", type=int, default=164)
    parser.add_argument("--lanes", type=int, default=2)
    parser.add_argument("--imports", default="", help="modules that this process has loaded, as a trainer has torch")
    options = parser.parse_args()
    for name in filter(None, options.imports.split(",")):
        importlib.import_module(name)
    report(
        lanes=options.lanes, imports=options.imports, load=round(os.getloadavg()[0], 1), python=sys.version.split()[0]
    )
    rows = [json.loads(line) for line in options.humaneval.read_text(encoding="utf-8").splitlines()][: options.limit]
    programs = [
        f"{row['prompt']}{row['canonical_solution']}\n{row['test']}\ncheck({row['entry_point']})" for row in rows
    ]

    cpu_ms = {}
    for name, runner in (("manager per run", with_manager), ("python -I -S per run", with_fresh_python)):
        cpu_ms[name] = measure(name, runner, programs, options.lanes)
    rates = {}
    for level in options.levels.split(","):
        try:
            with open_sandbox(level, num_workers=options.lanes, allow_unsafe=True) as sandbox:
                cpu_ms[level], rates[level] = measure_sandbox(sandbox, rows)
                if level == "docker":
                    rates["docker exec"] = measure_docker_exec(sandbox, programs[:20])
        except LLMGymError as error:
            report(runner=level, skipped=str(error).splitlines()[0])
    for level in ("process", "landlock", "bwrap"):
        if level in cpu_ms:
            for rival in ("manager per run", "python -I -S per run"):
                report(ratio=f"CPU a run, {rival} / {level}", value=round(cpu_ms[rival] / cpu_ms[level], 2))
    if "docker exec" in rates:
        report(ratio="runs/s, docker / docker exec per run", value=round(rates["docker"] / rates["docker exec"], 1))


def measure(name: str, runner: Callable[[str], bool], programs: list[str], lanes: int) -> float:
    started, cpu = time.monotonic(), cpu_seconds()
    with ThreadPoolExecutor(lanes) as threads:
        num_passed = sum(threads.map(runner, programs))
    wall_s, cpu_s = time.monotonic() - started, cpu_seconds() - cpu
    return line(name, len(programs), num_passed, wall_s, cpu_s)


def measure_sandbox(sandbox: Sandbox, rows: list[dict[str, str]]) -> tuple[float, float]:
    limits = Limits(wall_s=_TIMEOUT_S, cpu_s=_TIMEOUT_S)
    pairs = [
        (form_of_check(row["test"], row["entry_point"], limits=limits), row["prompt"] + row["canonical_solution"])
        for row in rows
    ]
    grade_many(sandbox, pairs[:8])  # all workers are up
    inside = container_seconds(sandbox)  # the daemon takes its time over it
    started, cpu = time.monotonic(), cpu_seconds()
    num_passed = sum(grading.is_all_passed for grading in grade_many(sandbox, pairs))
    wall_s, cpu_s = time.monotonic() - started, cpu_seconds() - cpu
    cpu_s += container_seconds(sandbox) - inside
    cpu_ms = line(sandbox.level, len(pairs), num_passed, wall_s, cpu_s)
    latencies = sorted(latencies_of_nothing(sandbox, 200))
    report(
        runner=sandbox.level,
        what="an empty program, one after another",
        p50_ms=round(latencies[len(latencies) // 2] * 1e3, 2),
        p99_ms=round(latencies[int(len(latencies) * 0.99)] * 1e3, 2),
    )
    return cpu_ms, len(pairs) / wall_s


def latencies_of_nothing(sandbox: Sandbox, count: int) -> Iterator[float]:
    for _ in range(count):
        started = time.monotonic()
        sandbox.run(Request(source="pass"))
        yield time.monotonic() - started


def with_fresh_python(program: str) -> bool:
    """A new interpreter for each run, with no walls at all."""
    try:
        done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def with_manager(program: str) -> bool:
    """The well-known way: a manager process and a forked process for each run, and a list between them."""
    manager = multiprocessing.Manager()
    result = manager.list()
    process = multiprocessing.Process(target=_run_and_tell, args=(program, result))
    process.start()
    process.join(_TIMEOUT_S)
    if process.is_alive():
        process.kill()
    is_passed = list(result) == ["passed"]
    manager.shutdown()
    return is_passed


def _run_and_tell(program: str, result: "list[str]") -> None:
    """In the forked process: a folder of its own, an alarm, streams shut, and functions taken away from the program."""
    leave = os.chdir
    with tempfile.TemporaryDirectory() as folder:
        leave(folder)
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(TimeoutError()))
        signal.setitimer(signal.ITIMER_REAL, _TIMEOUT_S)
        taken = {name: getattr(os, name) for name in ("kill", "system", "remove", "rmdir", "fork", "rename", "unlink")}
        for name in taken:
            setattr(os, name, None)
        try:
            text = io.StringIO()
            with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
                exec(program, {})
            result.append("passed")
        except BaseException as error:
            result.append(f"failed: {error}")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for name, function in taken.items():
                setattr(os, name, function)
            leave("/")


def measure_docker_exec(sandbox: Sandbox, programs: list[str]) -> float:
    """Runs a second of a fresh interpreter in a warm container for each run."""
    client = sandbox.backend._client  # type: ignore[attr-defined]
    container = client.containers.run(
        sandbox.backend.image,  # type: ignore[attr-defined]
        ["sleep", "600"],
        entrypoint="",
        detach=True,
        auto_remove=True,
        network_mode="none",
    )
    try:
        started = time.monotonic()
        with ThreadPoolExecutor(sandbox.num_workers) as threads:
            codes = list(
                threads.map(lambda program: container.exec_run(["python3", "-I", "-S", "-c", program])[0], programs)
            )
        wall_s = time.monotonic() - started
    finally:
        container.kill()
    rate = len(programs) / wall_s
    report(runner="docker exec per run", runs=len(programs), passed=codes.count(0), runs_per_s=round(rate, 2))
    return rate


def line(name: str, num_runs: int, num_passed: int, wall_s: float, cpu_s: float) -> float:
    cpu_ms = cpu_s / num_runs * 1e3
    report(
        runner=name,
        runs=num_runs,
        passed=num_passed,
        runs_per_s=round(num_runs / wall_s, 1),
        cpu_ms_per_run=round(cpu_ms, 2),
        runs_per_s_of_two_quiet_cpus=round(2000 / cpu_ms),
    )
    return cpu_ms


def cpu_seconds() -> float:
    """Of this process and of every process below it, ended or alive."""
    parents: dict[int, list[int]] = {}
    spent: dict[int, float] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(name))
        spent[int(name)] = sum(map(int, fields[11:15])) / _TICKS
    total, waiting = 0.0, [os.getpid()]
    while waiting:
        pid = waiting.pop()
        total += spent.get(pid, 0.0)
        waiting += parents.get(pid, [])
    return total


def container_seconds(sandbox: Sandbox) -> float:
    """CPU seconds of a sandbox's containers, which are no children of this process."""
    if sandbox.level != "docker":
        return 0.0
    client = sandbox.backend._client  # type: ignore[attr-defined]
    containers = [worker.channel._container for worker in sandbox._workers]  # type: ignore[attr-defined]
    stats = [client.api.stats(container, stream=False, one_shot=True) for container in containers]
    return sum(stat["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9 for stat in stats)


def report(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


if __name__ == "__main__":
    main()
