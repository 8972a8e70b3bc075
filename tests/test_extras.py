"""Optional dependencies: in the library through `llmgym.extras`, in the tests through `require` and LLMGYM_REQUIRE."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from llmgym.errors import MissingExtraError
from llmgym.extras import EXTRA_OF, required_by
from llmgym.extras import require as require_extra

PROBE = """
def test_of_something_optional(require):
    require("docker", False, "no daemon answers")
"""


def run_probe(folder: Path, source: str, *, required: str) -> str:
    """The output of pytest over `source` under this suite's conftest."""
    (folder / "test_probe.py").write_text(source)
    conftest = Path(__file__).with_name("conftest.py")
    (folder / "conftest.py").write_text(conftest.read_text())
    command = [sys.executable, "-m", "pytest", "-q", "-rsf", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    environment = {**os.environ, "LLMGYM_REQUIRE": required}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return result.stdout + result.stderr


def test_an_installed_module_is_returned():
    assert require_extra("json", extra="train", purpose="Reading") is json


def test_a_missing_module_is_reported_with_the_line_that_installs_it():
    with pytest.raises(
        MissingExtraError, match=r'Training needs .*\'nowhere\'.*pip install "llmgym\[train\]"'
    ) as caught:
        require_extra("nowhere.to.be.found", extra="train", purpose="Training")

    assert caught.value.name == "nowhere"
    assert isinstance(caught.value, ImportError)


@pytest.mark.parametrize("missing", ["another_package", "broken._part"])
def test_a_module_that_is_there_but_broken_inside_is_not_called_missing(tmp_path, monkeypatch, missing):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "__init__.py").write_text(f"import {missing}")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ModuleNotFoundError) as caught:
        require_extra("broken", extra="train", purpose="Training")

    assert not isinstance(caught.value, MissingExtraError)
    assert caught.value.name == missing


def test_a_test_of_something_optional_is_skipped_with_its_reason(tmp_path):
    output = run_probe(tmp_path, PROBE, required="")

    assert "1 skipped" in output
    assert "needs a Docker daemon: no daemon answers" in output


def test_a_test_of_something_required_fails_where_it_would_be_skipped(tmp_path):
    output = run_probe(tmp_path, PROBE, required="data, docker")

    assert "1 failed" in output
    assert "LLMGYM_REQUIRE asks for a Docker daemon, but no daemon answers" in output


def test_requiring_one_thing_still_lets_the_tests_of_another_be_skipped(tmp_path):
    assert "1 skipped" in run_probe(tmp_path, PROBE, required="data")


def test_a_test_of_something_that_is_there_runs(tmp_path):
    output = run_probe(tmp_path, PROBE.replace("False", "True"), required="docker")

    assert "1 passed" in output


def test_an_unknown_name_in_the_list_of_required_things_is_an_error(tmp_path):
    output = run_probe(tmp_path, PROBE, required="dokcer")

    assert "LLMGYM_REQUIRE names dokcer" in output
    assert "passed" not in output
    assert "skipped" not in output


def test_a_test_may_not_ask_for_a_thing_that_nobody_can_require(tmp_path):
    output = run_probe(tmp_path, PROBE.replace('"docker"', '"a moon"'), required="")

    assert "'a moon' is not among the optional things" in output
    assert "1 skipped" not in output


def test_our_own_module_that_lacks_an_optional_package_names_the_extra():
    message = r"Training needs the package 'torch'.*llmgym\[train\]"
    with pytest.raises(MissingExtraError, match=message), required_by("Training"):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")


def test_a_missing_package_of_no_extra_is_left_to_python():
    with pytest.raises(ModuleNotFoundError) as caught, required_by("Training"):
        raise ModuleNotFoundError("No module named 'torch._part'", name="torch._part")

    assert not isinstance(caught.value, MissingExtraError)


def test_every_extra_that_an_error_may_name_is_one_of_the_project():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    offered = {
        (re.match(r"[\w.-]+", requirement)[0].replace("-", "_"), extra)
        for extra, requirements in project["optional-dependencies"].items()
        for requirement in requirements
    }

    assert set(EXTRA_OF.items()) <= offered
