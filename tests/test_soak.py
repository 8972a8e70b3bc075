"""A run of two thousand steps leaves no more behind than one of two hundred."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[1] / "benchmarks" / "soak.py"


@pytest.mark.slow
def test_two_thousand_steps_with_a_tool_leave_everything_flat() -> None:
    ended = subprocess.run(
        [sys.executable, SOAK, "--steps", "2000", "--every", "100"],
        capture_output=True, text=True, timeout=1200, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True,
    )  # fmt: skip

    told = json.loads(ended.stdout)
    first, last = told["first"], told["last"]
    assert (first["step"], last["step"]) == (200, 2000)
    for name in ("file_descriptors", "threads", "processes", "temporary_files"):
        assert last[name] == first[name], name
    # That is 9 KiB a step; the allocator's own swings stay far below.
    assert last["memory_mib"] - first["memory_mib"] < 16
