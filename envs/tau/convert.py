"""Lays down the data of tau-bench from checkouts of its repositories: `python -m llmgym.envs.tau.convert --help`.

Version 1 keeps tasks and tools' descriptions in Python; their literals are read, and nothing of it is run.
"""

import argparse
import ast
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llmgym.errors import DataError, DataNotFoundError

_V1_TABLES = {"retail": ("orders", "products", "users"), "airline": ("flights", "reservations", "users")}
_V1_SPLITS = {"retail": ("train", "dev", "test"), "airline": ("test",)}
_V2_FILES = ("db.json", "policy.md", "split_tasks.json", "tasks.json")
_FIELDS = ("user_id", "actions", "instruction", "outputs")


def convert_v1(checkout: Path, folder: Path) -> None:
    """Write `folder`/v1 from a checkout of sierra-research/tau-bench.

    Raises:
        DataNotFoundError: a file is not there; DataError: one has another form than expected.
    """
    to = folder / "v1"
    to.mkdir(parents=True, exist_ok=True)
    for domain in _V1_TABLES:
        source = checkout / "tau_bench" / "envs" / domain
        for table in _V1_TABLES[domain]:
            _copy(source / "data" / f"{table}.json", to / f"{domain}_{table}.json")
        _copy(source / "wiki.md", to / f"{domain}_policy.md")
        tools = [_returned_literal(path) for path in sorted((source / "tools").glob("[!_]*.py"))]
        tools.sort(key=lambda tool: str(tool["function"]["name"]))
        (to / f"{domain}_tool_schemas.json").write_text(json.dumps(tools, indent=1), encoding="utf-8")
        for split in _V1_SPLITS[domain]:
            rows = [
                json.dumps({"index": index, **{name: task.get(name, []) for name in _FIELDS}})
                for index, task in enumerate(_listed_calls(source / f"tasks_{split}.py"))
            ]
            (to / f"{domain}_tasks_{split}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")


def convert_v2(checkout: Path, folder: Path) -> None:
    """Write `folder`/v2 from a checkout of sierra-research/tau2-bench.

    Raises:
        DataNotFoundError: a file is not there.
    """
    for domain in _V1_TABLES:
        to = folder / "v2" / domain
        to.mkdir(parents=True, exist_ok=True)
        for name in _V2_FILES:
            _copy(checkout / "data" / "tau2" / "domains" / domain / name, to / name)


def _copy(source: Path, to: Path) -> None:
    if not source.is_file():
        raise DataNotFoundError(f"There is no {source}. Name the folder of a whole checkout of the repository.")
    shutil.copyfile(source, to)


def _listed_calls(path: Path) -> list[dict[str, Any]]:
    """The keywords of each call in the list that a module assigns, as in `TASKS = [Task(instruction="…"), …]`."""
    for statement in _parsed(path).body:
        value = getattr(statement, "value", None)
        if isinstance(value, ast.List) and value.elts:
            return [_value(path, element) for element in value.elts]
    raise DataError(f"{path} assigns no list of tasks. Check out the repository's main branch.")


def _returned_literal(path: Path) -> Any:
    """What the function `get_info` of a module returns."""
    for node in ast.walk(_parsed(path)):
        if isinstance(node, ast.FunctionDef) and node.name == "get_info":
            for statement in node.body:
                if isinstance(statement, ast.Return) and statement.value is not None:
                    return _value(path, statement.value)
    raise DataError(f"{path} has no get_info() that returns a tool's description. Check out the main branch.")


def _parsed(path: Path) -> ast.Module:
    if not path.is_file():
        raise DataNotFoundError(f"There is no {path}. Name the folder of a whole checkout of the repository.")
    try:
        return ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise DataError(f"{path} is not Python: {error}.") from error


def _value(path: Path, node: ast.expr) -> Any:
    """A literal, or the keywords of a task or an action as a mapping."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Task", "Action"):
        return {keyword.arg: _value(path, keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.List):
        return [_value(path, element) for element in node.elts]
    try:
        return ast.literal_eval(node)
    except ValueError as error:
        raise DataError(f"{path}, line {node.lineno}: this is computed and no literal ({error}).") from error


def _steps(options: argparse.Namespace) -> Iterator[str]:
    if options.v1:
        convert_v1(Path(options.v1), Path(options.folder))
        yield f"{options.folder}/v1"
    if options.v2:
        convert_v2(Path(options.v2), Path(options.folder))
        yield f"{options.folder}/v2"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m llmgym.envs.tau.convert",
        description="Lay down the data of tau-bench for llmgym/TauRetail-v0 and llmgym/TauAirline-v0.",
        epilog="Both repositories are on https://github.com/sierra-research under the MIT licence.",
    )
    parser.add_argument("folder", help="where to, for example data/tau; then name data with LLMGYM_DATA_DIR")
    parser.add_argument("--v1", metavar="CHECKOUT", help="of sierra-research/tau-bench")
    parser.add_argument("--v2", metavar="CHECKOUT", help="of sierra-research/tau2-bench")
    options = parser.parse_args(arguments)
    if not options.v1 and not options.v2:
        parser.error("name a checkout with --v1, --v2 or both")
    for written in _steps(options):
        print(f"wrote {written}")


if __name__ == "__main__":
    main()
