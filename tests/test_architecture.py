"""The rules of the architecture, read off the import statements. Each is shown to bite on small bad examples."""

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGE_OF = {folder: package for package, folder in PROJECT["tool"]["setuptools"]["package-dir"].items()}
PLUG_INS = tuple(sorted(set(PACKAGE_OF.values()) - {"llmgym"}))

LAYER = {
    **dict.fromkeys(["errors", "registry", "extras", "settings", "progress", "files", "threads"], 0),
    **dict.fromkeys(["messages", "tools", "scoring", "execution"], 1),
    **dict.fromkeys(["episode", "sampling", "learning"], 2),
    "rollout": 3,
    **dict.fromkeys(["training", "evaluation"], 4),
    **dict.fromkeys(["report", "cli", "__main__"], 5),
}
"""Layer of each part of the core. A part imports at or below its own layer."""

MAY_IMPORT = {
    "torch": ["llmgym/learning/", "llmgym/sampling/", "llmgym/training/", "agents/"],
    "transformers": [
        "llmgym/learning/loading.py",
        "llmgym/messages/hf_tokenizer.py",
        "llmgym/sampling/quiet.py",
        "llmgym/sampling/row_model.py",
        "llmgym/sampling/slot_model.py",
        "llmgym/training/tiny_model.py",
    ],
    "peft": ["llmgym/learning/lora.py"],
    "liger_kernel": ["llmgym/learning/kernels.py"],
    "safetensors": ["llmgym/learning/", "llmgym/sampling/vllm/"],
    "datasets": ["envs/math/"],
    "math_verify": ["envs/math/"],
    "docker": ["sandbox/"],
    "bm25s": ["llmgym/tools/search.py"],
    "mcp": ["llmgym/tools/mcp.py"],
    "reasoning_gym": ["envs/reasoning_gym.py", "envs/reasoning_gym_worker.py"],
    "vllm": ["llmgym/sampling/vllm/"],
    "ray": ["llmgym/sampling/ray_cluster.py"],
    "tensorboardX": ["llmgym/training/trackers/tensorboard.py"],
    "wandb": ["llmgym/training/trackers/wandb.py"],
    "mlflow": ["llmgym/training/trackers/mlflow.py"],
    "trackio": ["llmgym/training/trackers/trackio.py"],
}
"""The few files, or folders, that may import each heavy or optional package."""

IMPORTING_CALLS = {"import_module", "__import__", "find_spec", "load_object", "require"}


@dataclass(frozen=True)
class Source:
    """One file of ours: where it is, what it is imported as, and its text."""

    path: str
    text: str

    @property
    def folder(self) -> str:
        return self.path.split("/")[0]

    @property
    def is_package(self) -> bool:
        return self.path.endswith("/__init__.py")

    @property
    def module(self) -> str:
        inner = self.path.removesuffix(".py").removesuffix("/__init__").split("/")[1:]
        return ".".join([PACKAGE_OF[self.folder], *inner])


@dataclass(frozen=True)
class Import:
    """One import: written relatively or not, and the absolute names that it may bring in, the longest first."""

    line: int
    is_relative: bool
    targets: tuple[str, ...]

    @property
    def target(self) -> str:
        return self.targets[0]


def imports_of(source: Source) -> Iterator[Import]:
    """Every import of a file, those inside functions and those by a call with a literal name included.

    A bare statement `require("torch", ...)` only asks whether torch is there, before a module that imports it.
    """
    package = source.module if source.is_package else source.module.rpartition(".")[0]
    nodes = list(ast.walk(ast.parse(source.text)))
    statements = [node.value for node in nodes if isinstance(node, ast.Expr)]
    questions = [value for value in statements if ast.unparse(value).startswith(("require(", "extras.require("))]
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, False, (alias.name,))
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield Import(node.lineno, bool(node.level), (f"{base}.{alias.name}".lstrip("."), base))
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function, name = ast.unparse(node.func).rpartition(".")[2], node.args[0].value
            if (
                function in IMPORTING_CALLS
                and node not in questions
                and isinstance(name, str)
                and re.match(r"[a-zA-Z_]", name)
            ):
                yield Import(node.lineno, False, (name.partition(":")[0],))


def is_inside(name: str, package: str) -> bool:
    return f"{name}.".startswith(f"{package}.")


def owner_of(name: str) -> str | None:
    """Which of our four packages a module belongs to; None: it is none of ours."""
    owners = [package for package in PACKAGE_OF.values() if is_inside(name, package)]
    return max(owners, key=len, default=None)


def part_of(module: str) -> str:
    """The folder or file of the core that a module is in; "" for the top."""
    return module.partition(".")[2].partition(".")[0]


def wrong_style(source: Source) -> list[str]:
    """Relative inside a folder, absolute to the core, and never into another plug-in or a second copy of a folder."""
    own, problems = PACKAGE_OF[source.folder], []
    for found in imports_of(source):
        owner, where = owner_of(found.target), f"{source.path}:{found.line}: "
        if found.target.split(".")[0] in PACKAGE_OF and not is_inside(found.target, "llmgym"):
            problems.append(f"{where}import {PACKAGE_OF[found.target.split('.')[0]]}, not a second copy of it")
        elif owner in PLUG_INS and owner != own:
            problems.append(f"{where}{own} must not import {owner}; ask the core for it by name")
        elif owner == own and not found.is_relative:
            problems.append(f"{where}import {found.target} relatively inside {source.folder}/")
        elif owner != own and found.is_relative:
            problems.append(f"{where}a relative import leaves {source.folder}/; import llmgym absolutely")
    return problems


def plug_in_strings(source: Source) -> list[str]:
    """Entry points of plug-ins belong into pyproject.toml; the core holds none as text."""
    if source.folder != "llmgym":
        return []
    return [
        f"{source.path}:{node.lineno}: the core must not name the plug-in {node.value!r}"
        for node in ast.walk(ast.parse(source.text))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(
            r"llmgym\.(envs|agents|sandbox)\.[\w.]+(:\w+)?|llmgym\.(envs|agents|sandbox)[\w.]*:\w+", node.value
        )
    ]


def wrong_layers(source: Source) -> list[str]:
    """A part of the core imports at or below its own layer; names of the top-level `__init__` are of the highest."""
    own = part_of(source.module)
    if source.folder != "llmgym" or not own:
        return []
    if own not in LAYER:
        return [f"{source.path}: {own} has no layer; give it one in {Path(__file__).name}"]
    return [
        f"{source.path}:{found.line}: {own} (layer {LAYER[own]}) imports {found.target}, which is above it"
        for found in imports_of(source)
        if is_inside(found.target, "llmgym") and owner_of(found.target) == "llmgym"
        if LAYER.get(part_of(found.target), 5) > LAYER[own]
    ]


def heavy_imports(source: Source) -> list[str]:
    """Heavy and optional packages are imported by the few files that wrap them."""
    return [
        f"{source.path}:{found.line}: {package} may be imported by {', '.join(MAY_IMPORT[package])} only"
        for found in imports_of(source)
        if (package := found.target.split(".")[0]) in MAY_IMPORT
        if not any(source.path == place or source.path.startswith(place) for place in MAY_IMPORT[package])
    ]


def overlong(source: Source) -> list[str]:
    """Past 400 lines a file says in its first ten why it is "over 400 lines"."""
    lines = source.text.splitlines()
    if len(lines) <= 400 or re.search(r"\b400 lines\b", "\n".join(lines[:10])):
        return []
    return [f"{source.path}: {len(lines)} lines; split it, or say in its first lines why it is over 400 lines"]


def cycles(sources: Iterable[Source], *, by_part: bool) -> list[str]:
    """Cycles between modules, or between the parts of the core; imports inside functions count."""
    sources = [source for source in sources if source.module != "llmgym"]
    modules = {source.module for source in sources}
    graph: dict[str, set[str]] = {}
    for source in sources:
        found = [next((name for name in each.targets if name in modules), None) for each in imports_of(source)]
        targets = {name for name in found if name} - {source.module}
        if not by_part:
            graph.setdefault(source.module, set()).update(targets)
        elif source.folder == "llmgym":
            parts = {part_of(name) for name in targets if owner_of(name) == "llmgym"}
            graph.setdefault(part_of(source.module), set()).update(parts - {part_of(source.module)})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" imports ".join(reversed(error.args[1]))]
    return []


def packages_unlike_the_tree(listed: Iterable[str], found: Iterable[str]) -> list[str]:
    listed, found = set(listed), set(found)
    missing = [f"{package} is missing from [tool.setuptools] packages" for package in sorted(found - listed)]
    return missing + [f"{package} is listed but has no folder" for package in sorted(listed - found)]


def own_skips(source: Source) -> list[str]:
    """Tests skip through the fixture `require` only, so that LLMGYM_REQUIRE can forbid it."""
    return [
        f"{source.path}:{node.lineno}: skip through the fixture `require`, which LLMGYM_REQUIRE can forbid to"
        for node in ast.walk(ast.parse(source.text))
        if isinstance(node, ast.Attribute | ast.Name)
        if ast.unparse(node).rpartition(".")[2] in ("skip", "skipif", "importorskip", "SkipTest", "skipTest")
    ]


def entry_points_to_nothing(groups: dict[str, dict[str, str]], sources: Iterable[Source]) -> list[str]:
    """What pyproject.toml announces exists: the module, and a name at its top level."""
    names = {source.module: {*_top_level_names(source.text)} for source in sources}
    points = [point for group in groups.values() for point in group.values()]
    return [f"{point} is announced but not there" for point in points if not _is_there(point, names)]


def _is_there(point: str, names: dict[str, set[str]]) -> bool:
    module, _, name = point.partition(":")
    return name in names.get(module, ())


def _top_level_names(text: str) -> Iterator[str]:
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)


def none_of(problems: Iterable[str]) -> None:
    """Fail with all problems at once, a line each."""
    if problems := list(problems):
        pytest.fail("\n".join(problems), pytrace=False)


def read(folders: Iterable[str]) -> list[Source]:
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return [Source(path.relative_to(ROOT).as_posix(), path.read_text()) for path in paths]


SOURCES = read(PACKAGE_OF)
FILE_RULES = [wrong_style, plug_in_strings, wrong_layers, heavy_imports]


@pytest.mark.parametrize("rule", FILE_RULES)
def test_every_file_keeps_the_rule(rule):
    none_of(problem for source in SOURCES for problem in rule(source))


def test_no_file_is_long_without_saying_why():
    none_of(problem for source in [*SOURCES, *read(["tests", "benchmarks"])] for problem in overlong(source))


def test_no_test_skips_behind_the_back_of_ci():
    none_of(problem for source in read(["tests"]) for problem in own_skips(source) if "conftest.py" not in source.path)


def test_no_modules_import_each_other_in_a_circle():
    none_of(cycles(SOURCES, by_part=False))


def test_no_parts_of_the_core_import_each_other_in_a_circle():
    none_of(cycles(SOURCES, by_part=True))


def test_the_packages_in_pyproject_are_those_of_the_tree():
    found = [source.module for source in SOURCES if source.is_package]

    none_of(packages_unlike_the_tree(PROJECT["tool"]["setuptools"]["packages"], found))


def test_every_entry_point_in_pyproject_is_there():
    none_of(entry_points_to_nothing({**PROJECT["project"]["entry-points"], "": PROJECT["project"]["scripts"]}, SOURCES))


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (wrong_style, "llmgym/episode/x.py", "from ..envs import math"),
        (wrong_style, "llmgym/episode/x.py", "from .. import agents"),
        (wrong_style, "llmgym/episode/x.py", "import llmgym.sandbox"),
        (wrong_style, "llmgym/episode/x.py", "from llmgym.errors import LLMGymError"),
        (wrong_style, "llmgym/episode/x.py", "def f():\n    import_module('llmgym.envs.math')"),
        (wrong_style, "llmgym/episode/x.py", "importlib.import_module('llmgym.envs')"),
        (wrong_style, "llmgym/episode/x.py", "load_object('llmgym.agents.grpo:GRPO')"),
        (wrong_style, "llmgym/episode/x.py", "import envs.math"),
        (wrong_style, "envs/math/x.py", "from agents import grpo"),
        (wrong_style, "envs/math/x.py", "from sandbox import docker"),
        (wrong_style, "envs/math/x.py", "from llmgym.envs.copying import CopyEnv"),
        (wrong_style, "envs/math/x.py", "from llmgym.sandbox import docker"),
        (wrong_style, "envs/math/x.py", "from llmgym import agents"),
        (wrong_style, "envs/math/x.py", "from ... import errors"),
        (wrong_style, "envs/math/x.py", "from ...errors import LLMGymError"),
        (plug_in_strings, "llmgym/episode/x.py", "entry = 'llmgym.envs.math:MathEnv'"),
        (plug_in_strings, "llmgym/episode/x.py", "load('llmgym.agents.grpo')"),
        (wrong_layers, "llmgym/messages/x.py", "from ..episode import Task"),
        (wrong_layers, "llmgym/messages/x.py", "from .. import episode"),
        (wrong_layers, "llmgym/errors.py", "from .messages import Message"),
        (wrong_layers, "llmgym/rollout/x.py", "def f():\n    from ..training.trainer import Trainer"),
        (wrong_layers, "llmgym/rollout/x.py", "from .. import train"),
        (wrong_layers, "llmgym/novelty.py", ""),
        (heavy_imports, "llmgym/episode/x.py", "import torch.nn as nn"),
        (heavy_imports, "envs/math/x.py", "from torch import Tensor"),
        (heavy_imports, "agents/x.py", "import transformers"),
        (heavy_imports, "llmgym/cli/x.py", "docker = require('docker', extra='docker', purpose='It')"),
        (overlong, "envs/x.py", "\n" * 401),
        (own_skips, "tests/x.py", "pytest.importorskip('docker')"),
        (own_skips, "tests/x.py", "@pytest.mark.skipif(True, reason='no')\ndef test_x(): ..."),
        (own_skips, "tests/x.py", "from pytest import skip\nskip('no')"),
    ],
)
def test_the_rule_catches(rule, path, text):
    (problem,) = rule(Source(path, text))

    assert path in problem


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (wrong_style, "llmgym/episode/x.py", "from ..errors import LLMGymError\nfrom .. import errors\nimport json"),
        (wrong_style, "llmgym/episode/__init__.py", "from .x import X\nfrom ..errors import LLMGymError"),
        (
            wrong_style,
            "envs/math/x.py",
            "from llmgym.episode import Task\nfrom ..copying import CopyEnv",
        ),
        (plug_in_strings, "llmgym/registry.py", "AGENTS = Registry('agent', group='llmgym.agents')"),
        (plug_in_strings, "llmgym/registry.py", '"""The core never imports llmgym.envs.math: it asks by name."""'),
        (
            wrong_layers,
            "llmgym/episode/x.py",
            "from ..sampling import SamplingParams\nfrom ..errors import LLMGymError",
        ),
        (wrong_layers, "llmgym/__init__.py", "from .training import train"),
        (wrong_layers, "llmgym/cli/x.py", "from .. import __version__"),
        (heavy_imports, "agents/x.py", "import torch"),
        (heavy_imports, "llmgym/episode/x.py", "import numpy"),
        (heavy_imports, "llmgym/episode/x.py", "require('torch', extra='train', purpose='It')"),
        (overlong, "envs/x.py", '"""A table, hence over 400 lines."""' + "\n" * 500),
        (overlong, "envs/x.py", "\n" * 400),
        (own_skips, "tests/x.py", "def test_x(require):\n    require('data', False, 'skip')"),
    ],
)
def test_the_rule_lets_pass(rule, path, text):
    assert rule(Source(path, text)) == []


@pytest.mark.parametrize("inner", ["from ..{} import x", "def f():\n    from ..{}.b import y"])
def test_a_circle_of_modules_and_parts_is_found(inner):
    there = Source("llmgym/episode/a.py", inner.format("sampling"))
    back = Source("llmgym/sampling/b.py", "from ..episode.a import z")
    init = Source("llmgym/sampling/__init__.py", "from .b import x")

    assert "llmgym.episode.a imports" in cycles([there, back, init], by_part=False)[0]
    assert "episode imports sampling" in cycles([there, back, init], by_part=True)[0]
    assert cycles([there, init], by_part=True) == []


def test_a_package_that_is_not_listed_or_has_no_folder_is_found():
    assert len(packages_unlike_the_tree(["a", "b"], ["b", "c"])) == 2


def test_an_entry_point_to_nothing_is_found():
    there = Source("envs/x.py", "class X: ...")
    groups = {"group": {"a": "llmgym.envs.x:X", "b": "llmgym.envs.x:Y", "c": "llmgym.envs.y:X"}}

    problems = entry_points_to_nothing(groups, [there])

    assert [problem.split()[0] for problem in problems] == ["llmgym.envs.x:Y", "llmgym.envs.y:X"]
