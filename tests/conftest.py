"""What tests share: optional things are asked for through `require`, which skips, or fails where they must be there."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

OPTIONAL = {
    "data": "the public data sets in the folder LLMGYM_TEST_DATA",
    "math": "math-verify",
    "mistral": "the tokenizer of mistral-common",
    "docker": "a Docker daemon",
    "bwrap": "bubblewrap",
    "vllm": "vLLM",
}
"""What a test may do without, by the name that LLMGYM_REQUIRE knows it by."""

Require = Callable[[str, object, str], None]


def _required() -> frozenset[str]:
    names = frozenset(name.strip() for name in os.environ.get("LLMGYM_REQUIRE", "").split(",") if name.strip())
    if unknown := sorted(names - OPTIONAL.keys()):
        raise pytest.UsageError(f"LLMGYM_REQUIRE names {', '.join(unknown)}; it may name {', '.join(OPTIONAL)}.")
    return names


def pytest_configure() -> None:
    _required()  # a misspelt name must not turn a required test into a skipped one


@pytest.fixture(scope="session")
def require() -> Require:
    """`require("docker", docker_is_there, "no daemon answers")` skips the test where the condition is false.

    It fails the test instead where LLMGYM_REQUIRE names the thing: `LLMGYM_REQUIRE=data,docker make test`.
    """

    def require(name: str, condition: object, reason: str) -> None:
        if name not in OPTIONAL:
            raise pytest.UsageError(f"{name!r} is not among the optional things: {', '.join(OPTIONAL)}.")
        if condition:
            return
        if name in _required():
            pytest.fail(f"LLMGYM_REQUIRE asks for {OPTIONAL[name]}, but {reason}", pytrace=False)
        pytest.skip(f"needs {OPTIONAL[name]}: {reason}")

    return require


@pytest.fixture(scope="session")
def data_folder(require: Require) -> Path:
    """The folder of public data sets, which is no part of this repository."""
    folder = os.environ.get("LLMGYM_TEST_DATA", "")
    require("data", folder, "LLMGYM_TEST_DATA is not set")
    if not Path(folder).is_dir():
        pytest.fail(f"LLMGYM_TEST_DATA is {folder!r}, which is not a folder", pytrace=False)
    return Path(folder)
