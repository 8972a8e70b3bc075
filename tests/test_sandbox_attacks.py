"""The corpus of attacks and of honest but odd programs, through every level that claims to hold hostile code."""

import json
import os
import socket
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from support.sandboxes import guest_processes, safe_sandbox, until  # noqa: F401

from llmgym.execution import Limits, Request, StdioCase, StdioTests, form_of_statements, grade

PORT = 18765
"""In the corpus. A free one takes its place, so that the test may run twice on one machine."""
KINDS = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
SECRET = "llmgym-secret-7d1f"
_PROBE = """
import os, sys
def seen(path):
    folders = sys.path if path.endswith(".pth") else [".", ".."]
    places = [path] if os.path.isabs(path) else [os.path.join(folder, path) for folder in folders]
    return any(os.path.lexists(os.path.expanduser(place)) for place in places)
"""


@pytest.fixture(scope="module")
def corpus(data_folder, servers) -> list[dict]:
    port = str(servers["tcp"].getsockname()[1])
    with open(data_folder / "code" / "attacks.jsonl", encoding="utf-8") as lines:
        return [json.loads(line.replace(str(PORT), port)) for line in lines]


@pytest.fixture(scope="module")
def servers():
    """Sockets at one port of this machine."""
    with ExitStack() as stack:
        while True:
            tcp, udp = (stack.enter_context(socket.socket(socket.AF_INET, kind)) for kind in KINDS)
            tcp.bind(("127.0.0.1", 0))
            with suppress(OSError):  # it is free for the one and not for the other
                udp.bind(tcp.getsockname())
                break
        tcp.listen()
        yield {"tcp": tcp, "udp": udp}


@pytest.fixture(scope="module")
def hits(servers):
    """What reached the network of this machine."""
    found: list[str] = []
    is_over = threading.Event()
    threads = [threading.Thread(target=_serve, args=(*pair, found, is_over)) for pair in servers.items()]
    for server in servers.values():
        server.settimeout(0.1)
    for thread in threads:
        thread.start()
    yield found
    is_over.set()
    for thread in threads:
        thread.join()


def _serve(name, server, found, is_over):
    while not is_over.is_set():
        try:
            if name == "udp":
                server.recvfrom(100)
                found.append(name)
                continue
            connection, _ = server.accept()
            found.append(name)
            with connection:
                numbers = connection.recv(100).split()[1:]
                connection.sendall(b"%d\n" % sum(map(int, numbers)))
        except (OSError, ValueError):
            continue


def form_of(entry: dict):
    is_honest = entry["expect"]["reward"] == 1  # such a program must have its time on a slow machine, too
    limits = Limits(wall_s=60 if is_honest else entry["timeout_s"])
    if isinstance(entry["tests"][0], dict):
        return StdioTests(cases=[StdioCase(**case) for case in entry["tests"]], limits=limits)
    return form_of_statements(entry["tests"], limits=limits)


def attempt(sandbox, entry: dict, hits: list[str]) -> list[str]:
    """What went wrong with one entry of the corpus: nothing should."""
    faults = []
    before, memory_before = len(guest_processes()), own_memory_mib()
    hits.clear()
    started = time.monotonic()
    grading = grade(sandbox, form_of(entry), entry["submission"])
    wall_s = time.monotonic() - started
    wanted = entry["expect"]["reward"]
    if wanted == 0 and grading.is_all_passed and not entry.get("expect_visible_only"):
        faults.append("a hostile program got full reward")
    if wanted == 1 and not grading.is_all_passed:
        faults.append(f"an honest program failed: {[result.reason for result in grading.results]}")
    if wall_s > entry["timeout_s"] * max(1, len(grading.outcomes)) + 60:  # a busy machine is slow
        faults.append(f"wall_over: {wall_s:.1f} s")
    output = "".join(outcome.stdout.text + outcome.stderr.text for outcome in grading.outcomes)
    if not until(lambda: len(guest_processes()) <= before):
        faults.append("process_survives")
    if own_memory_mib() > memory_before + 64:
        faults.append("grader_memory_over")
    if hits:
        faults.append(f"network_hit: {hits}")
    if SECRET in output or ("root:" in output and "/root/.bash" not in output):
        faults.append("secret_leaked")
    if not all(result.reason.isprintable() for result in grading.results):
        faults.append("log_injection")
    segments = Path("/proc/sysvipc/shm").read_text().splitlines()
    if any(row.split()[0] in {str(0x11A600 + key) for key in range(4)} for row in segments):
        faults.append("ipc_left")
    for what in entry["expect"]["must_not"]:
        word, _, detail = what.partition(":")
        if word == "stdout_has" and detail in output:
            faults.append(what)
        if word == "file_written" and was_written(sandbox, detail):
            faults.append(what)
    if not victim().is_file():
        faults.append("file_deleted")
    if follow := entry.get("followup"):
        after = grade(sandbox, form_of_statements(follow["tests"], limits=Limits(wall_s=60)), follow["submission"])
        if after.is_all_passed != bool(follow["expect_reward"]):
            faults.append(f"affects_next_run: {[result.reason for result in after.results]}")
    return faults


def victim() -> Path:
    return Path.home() / "llmgym_victim" / "kept"


def was_written(sandbox, path: str) -> bool:
    on_host = os.path.isabs(path) or path.startswith("~")
    if on_host and os.path.lexists(os.path.expanduser(path)):
        return True
    source = f"{_PROBE}\nprint(seen({path!r}))"
    return sandbox.run(Request(source=source)).stdout.text.strip() != "False"


def own_memory_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
def test_no_attack_of_the_corpus_earns_or_leaves_anything_and_every_honest_program_does(
    safe_sandbox,  # noqa: F811
    corpus,
    hits,
    monkeypatch,
    tmp_path,
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LLMGYM_SECRET", SECRET)
    victim().parent.mkdir()
    victim().write_text("kept")

    faults = {}
    for entry in corpus:
        for _ in range(2 if entry.get("run_twice") else 1):
            if found := attempt(safe_sandbox, entry, hits):
                faults[entry["id"]] = found

    assert faults == {}
    assert len(corpus) > 50
