"""Two processes that can learn together, as a launcher would start them, without the time that it takes."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def two_processes(*arguments: Any, **options: Any) -> Iterator[list[subprocess.Popen[str]]]:
    """`python ARGUMENTS`, twice; they find each other, and neither outlives the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    common["OMP_NUM_THREADS"] = "1"
    environments = [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    command = [sys.executable, *map(str, arguments)]
    processes = [subprocess.Popen(command, env=each, text=True, **options) for each in environments]
    try:
        yield processes
    finally:
        for process in processes:
            with process:
                process.kill()
