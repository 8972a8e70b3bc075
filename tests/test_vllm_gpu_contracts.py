"""What vLLM is asked on a GPU, against its own classes on a CPU: a wrong name, order or byte fails here already."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SUPPORT = Path(__file__).parent / "support"


@pytest.fixture(scope="module")
def wrong(require):
    """By check, what vLLM does not take as it is given; the process imports vLLM, which takes seconds."""
    require("vllm", find_spec("vllm"), "vLLM is not installed")
    path = os.pathsep.join([str(SUPPORT.parent), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1"}
    ended = subprocess.run(
        [sys.executable, str(SUPPORT / "vllm_contracts.py")],
        capture_output=True,
        text=True,
        timeout=600,
        env=environment,
    )
    assert ended.stdout, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.parametrize(
    "check",
    [
        "arguments_exist_and_suit_a_gpu",
        "engines_have_what_is_asked_of_them",
        "kept_tokens_are_asked_for_with_those_equal_to_the_last",
        "it_sleeps_until_all_of_its_memory_is_back",
        "ipc_updates_arrive",
        "nccl_updates_arrive",
        "an_engine_that_dies_in_a_broadcast_is_not_waited_for",
    ],
)
def test_vllm_takes_what_it_is_asked_on_a_gpu(wrong, check):
    assert wrong[check] == ""
