"""Processes that can learn together, as a launcher would start them, without the time that it takes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.distributed import TCPStore

HANGS_S = 1800.0
"""Who waits so long waits for ever, however busy the machine is."""


@contextmanager
def several_processes(*arguments: Any, count: int = 2, **options: Any) -> Iterator[list[subprocess.Popen[str]]]:
    """`python ARGUMENTS`, so often; they find each other, and none outlives the block.

    They meet as those of `torchrun` do, in a store of their launcher, which has its port before anyone is told of it.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    common = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": "1",
    }
    environments = [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
    command = [sys.executable, *map(str, arguments)]
    processes = [subprocess.Popen(command, env=each, text=True, **options) for each in environments]
    try:
        yield processes
    finally:
        for process in processes:
            with process:
                process.kill()
