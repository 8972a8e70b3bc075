"""What a user installs: editable, wheel and source distribution, each with the base dependencies alone."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PARTS = ["pyproject.toml", "README.md", "LICENSE", "llmgym", "envs", "sandbox", "agents"]
QUIET = ["--quiet", "--disable-pip-version-check"]


def run(*command: object, cwd: Path) -> str:
    result = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy to build in: a build in the checkout itself would replace the links of its editable install."""
    folder = tmp_path_factory.mktemp("checkout")
    for part in PARTS:
        source = ROOT / part
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / part, **({"ignore": shutil.ignore_patterns("__pycache__")} if source.is_dir() else {}))
    return folder


@pytest.fixture(scope="module")
def built(checkout) -> dict[str, Path]:
    """The wheel, made from the source distribution as `build` does it by default, and that distribution."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", checkout / "dist", checkout, cwd=checkout)
    (wheel,), (sdist,) = (checkout / "dist").glob("*.whl"), (checkout / "dist").glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


@pytest.fixture(scope="module", params=["editable", "wheel", "sdist"])
def installed(request, checkout, built, tmp_path_factory) -> Path:
    """The interpreter of a fresh environment that holds llmgym and what its base depends on."""
    venv = tmp_path_factory.mktemp(request.param)
    run(sys.executable, "-m", "venv", venv, cwd=venv)
    install = [venv / "bin/pip", "install", *QUIET, "--constraint", ROOT / "constraints.txt"]
    if request.param == "editable":
        target = ["--config-settings", "editable_mode=strict", "--editable", checkout]
    else:
        target = [built[request.param]]
    run(*install, *target, cwd=venv)
    return venv / "bin/python"


def test_every_package_is_importable_from_anywhere(installed, tmp_path):
    code = "import llmgym, llmgym.envs, llmgym.agents, llmgym.sandbox; print(llmgym.__file__)"

    assert "llmgym/__init__.py" in run(installed, "-c", code, cwd=tmp_path)


def test_only_the_base_dependencies_are_there(installed, tmp_path):
    code = (
        "from importlib.util import find_spec; print([n for n in ('torch', 'transformers', 'pytest') if find_spec(n)])"
    )

    assert run(installed, "-c", code, cwd=tmp_path).strip() == "[]"


def test_every_file_that_the_checkout_has_is_installed(installed, checkout, tmp_path):
    code = """
import llmgym, pathlib
roots = [pathlib.Path(folder) for folder in llmgym.__path__]
files = [path.relative_to(root) for root in roots for path in root.rglob("*") if path.is_file()]
print(sorted(str(path) for path in files if path.suffix != ".pyc"))
"""
    core = [path.relative_to(checkout / "llmgym") for path in files_of(checkout / "llmgym")]
    others = [path.relative_to(checkout) for part in PARTS[-3:] for path in files_of(checkout / part)]

    assert run(installed, "-c", code, cwd=tmp_path).strip() == str(sorted(map(str, core + others)))


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]


@pytest.mark.parametrize("wanted", ["llmgym.train", "llmgym.AGENTS.lookup('grpo')"])
def test_asking_for_what_an_extra_brings_answers_with_the_line_that_installs_it(installed, tmp_path, wanted):
    code = f"""
import llmgym
try:
    {wanted}
except ImportError as error:
    print(type(error).__name__, error)
"""
    answer = run(installed, "-c", code, cwd=tmp_path)

    assert answer.startswith("MissingExtraError")
    assert 'pip install "llmgym[train]"' in answer


def test_an_environment_is_played_without_any_extra(installed, tmp_path):
    code = """
import gymnasium, llmgym
env = gymnasium.make("llmgym/Copy-v0")
env.reset(seed=0)
print(env.step(env.action_space.sample())[1])
"""
    assert float(run(installed, "-c", code, cwd=tmp_path)) <= 1


def test_the_installed_wheel_passes_the_strict_type_check(built, tmp_path):
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv", cwd=tmp_path)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    run(sys.executable, "-m", "pip", "install", *QUIET, "--no-deps", "--target", packages, built["wheel"], cwd=tmp_path)
    # Everything else comes from this environment, less its own llmgym: .pth files there are not followed from here.
    (packages / "others.pth").write_text(next(path for path in sys.path if path.endswith("site-packages")))
    mypy = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", "--cache-dir", tmp_path / "cache"]

    checked = run(*mypy, "--python-executable", tmp_path / "venv/bin/python", "--package", "llmgym", cwd=tmp_path)

    assert "no issues found" in checked
