"""Attacks of our own, beside the corpus: on the walls, on the pipes, and on the clearing up."""

import os

import pytest
from support.sandboxes import guest_processes, safe_sandbox, until  # noqa: F401

from llmgym.execution import Limits, Request, RpcTests, Status, form_of_statements, grade

# ruff: noqa: F811  (the fixture is imported)

WRONG = "\ndef add(a, b):\n    return 0\n"
STATEMENTS = ["assert add(2, 3) == 5", "assert add(-1, 2) == 1"]
LIBC = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"

HOSTILE = {
    "a pair of processes that restart each other": (
        "import os, time\n"
        "def live():\n"
        "    while True:\n"
        "        try:\n"
        "            if os.fork(): time.sleep(0.01)\n"
        "        except OSError: time.sleep(0.01)\n"
        "if os.fork() == 0: os.setsid(); live()\n"
    ),
    "a process that adopts its orphans": (
        f"{LIBC}import time\n"
        "libc.prctl(36, 1, 0, 0, 0)\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork(): os._exit(0)\n"
        "    time.sleep(60)\n"
    ),
    "no end with its parent": f"{LIBC}libc.prctl(1, 0, 0, 0, 0)\n",
    "stopping every process in sight": (
        "import os, signal\n"
        "for pid in [os.getppid(), *range(1, 3000)]:\n"
        "    for number in (signal.SIGSTOP, signal.SIGKILL):\n"
        "        if pid != os.getpid() and pid > 0:\n"
        "            try: os.kill(pid, number)\n"
        "            except OSError: pass\n"
    ),
    "a working directory that cannot be entered": "import os\nos.mkdir('x'); os.chmod('x', 0); os.chmod('.', 0)\n",
    "names of files that are no text": (
        "import os\n"
        "for n in range(200): open(b'\\xff\\n%d' % n, 'w').close()\n"
        "os.symlink('/etc', 'etc'); os.mkfifo('fifo')\n"
    ),
    "a flood of files": (
        "try:\n    for n in range(20000): open(f'{n}', 'w').close()\nexcept OSError: pass\n"
    ),
    "answers before there are questions": (
        "import os, struct\n"
        "value = b'l' + struct.pack('>I', 2) + b's' + struct.pack('>I', 5) + b'value' + b'T'\n"
        "for fd in range(3, 8):\n"
        "    try: os.write(fd, (struct.pack('>I', len(value)) + value) * 50)\n"
        "    except OSError: pass\n"
    ),
    "a length without an end": (
        "import os\n"
        "for fd in range(3, 8):\n"
        "    try: os.write(fd, b'\\xff' * 4096)\n"
        "    except OSError: pass\n"
    ),
    "all descriptors closed": "import os\nos.closerange(0, 100)\n",
    "another program in its place": (
        "import os, sys\n"
        "for fd in range(10):\n"
        "    try: os.set_inheritable(fd, True)\n"
        "    except OSError: pass\n"
        "os.execv('/bin/sh', ['sh', '-c', 'for n in 1 3 4 5 6; do printf passed >&$n; done; exit 0'])\n"
    ),
    "standard streams that lie": (
        "import sys\n"
        "class S:\n"
        "    def __getattr__(self, name): raise SystemExit(0)\n"
        "sys.stdout = sys.stderr = S()\n"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_it_earns_nothing_and_the_next_program_does(safe_sandbox, name):
    before = len(guest_processes())
    limits = Limits(wall_s=2, num_processes=32)

    by_value = grade(safe_sandbox, form_of_statements(STATEMENTS, limits=limits), HOSTILE[name] + WRONG)
    by_tester = grade(safe_sandbox, RpcTests(statements=STATEMENTS, limits=limits), HOSTILE[name] + WRONG)

    assert not by_value.num_passed
    assert not by_tester.num_passed
    assert until(lambda: len(guest_processes()) <= before)
    assert grade(safe_sandbox, form_of_statements(STATEMENTS), "def add(a, b): return a + b").is_all_passed


FORBIDDEN = {
    "a new user namespace": f"{LIBC}print(libc.unshare(0x10000000))",
    "clone into new namespaces": (
        f"{LIBC}import platform\n"
        "print(libc.syscall(56 if platform.machine() == 'x86_64' else 220, 0x10000011, 0, 0, 0, 0))"
    ),
    "a mount": f"{LIBC}print(libc.mount(b'tmpfs', b'/tmp', b'tmpfs', 0, None))",
    "tracing its parent": f"{LIBC}print(libc.ptrace(16, os.getppid() or 1, 0, 0))",
    "io_uring": f"{LIBC}print(libc.syscall(425, 8, ctypes.create_string_buffer(120)))",
    "the key ring": f"{LIBC}import platform\nprint(libc.syscall(248 if platform.machine() == 'x86_64' else 217,"
    " b'user', b'x', b'y', 1, -3))",
    "becoming root": "import os\ntry:\n    os.setuid(0); print(0)\nexcept OSError: print(-1)",
    "an outside address": (
        "import socket\n"
        "try:\n    socket.create_connection(('1.1.1.1', 53), 1); print(0)\nexcept OSError: print(-1)"
    ),
    "the host's listeners": (
        "import socket\n"
        "try:\n    s = socket.socket(socket.AF_UNIX); s.connect('/var/run/docker.sock'); print(0)\n"
        "except OSError: print(-1)"
    ),
    "a file of the host": f"try:\n    open({os.path.abspath(__file__)!r}); print(0)\nexcept OSError: print(-1)",
    "the clock": "import time\ntry:\n    time.clock_settime(0, 0); print(0)\nexcept OSError: print(-1)",
    "a device": "import os\ntry:\n    os.mknod('d', 0o20666, os.makedev(1, 1)); print(0)\nexcept OSError: print(-1)",
    "changing a program of the system": (
        "import os\n"
        "try:\n    os.chmod('/usr/bin/env', 0o755); os.utime('/usr/bin/env'); open('/usr/bin/env', 'r+b'); print(0)\n"
        "except OSError: print(-1)"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_walls_are_for_is_refused(safe_sandbox, what):
    outcome = safe_sandbox.run(Request(source=FORBIDDEN[what], limits=Limits(wall_s=60)))

    assert (outcome.status, outcome.stdout.text) == (Status.OK, "-1\n")


def test_a_compiled_program_runs_where_the_image_has_a_compiler(safe_sandbox):
    if safe_sandbox.level != "docker":
        return
    program = b'#include <stdio.h>\nint main() { int n; scanf("%d", &n); printf("%d\\n", n * 2); return 3; }\n'
    compile_and_run = "$(command -v gcc || command -v tcc) -o main main.c && ./main"

    outcome = safe_sandbox.run(Request(argv=["sh", "-c", compile_and_run], files={"main.c": program}, stdin=b"21\n"))

    assert (outcome.stdout.text, outcome.exit_code) == ("42\n", 3)


MEMORY_PROBE = """
import ctypes
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
first, rest_backwards = {first!r}.encode(), {rest_backwards!r}.encode()
seen = found = 0
try:
    memory = open('/proc/self/mem', 'rb', buffering=0)
    for line in open('/proc/self/maps').read().splitlines():
        start, end = (int(part, 16) for part in line.split()[0].split('-'))
        if ' rw' in line and end - start < 100 << 20:
            memory.seek(start)
            data = memory.read(end - start)
            seen += len(data)
            for part in data.split(first)[1:]:
                found += part[:16][::-1] == rest_backwards
except PermissionError:
    print('shut')
else:
    print(seen > 1 << 20, found)
"""


def test_nothing_of_a_run_is_in_the_memory_from_which_the_next_is_copied(safe_sandbox):
    secret = os.urandom(16).hex()
    source = f"import sys\ntext = sys.stdin.read()\nprint(text)\nprint(text, file=sys.stderr)\nopen('{secret}', 'w')\n"
    probe = MEMORY_PROBE.format(first=secret[:16], rest_backwards=secret[:15:-1])

    safe_sandbox.run(Request(source=source, stdin=secret.encode()))
    safe_sandbox.run(
        Request(source="def f(text): return text", tests=[f"assert f('{secret}') == '{secret}'"], names=["f"])
    )
    seen = safe_sandbox.run(Request(source=probe)).stdout.text
    seen_its_own = safe_sandbox.run(Request(source=f"kept = '{secret}'\n{probe}")).stdout.text

    assert seen == ("shut\n" if safe_sandbox.level == "landlock" else "True 0\n")
    assert seen_its_own != "True 0\n"  # the probe finds what is there
