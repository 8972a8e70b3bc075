"""The index from papers to code: found by reading the sources, named by `papers.toml`."""

import ast
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from .code import MarkdownDirective, link, table

ROOT = Path(__file__).parents[2]
PAPERS = tomllib.loads((Path(__file__).parents[1] / "papers.toml").read_text(encoding="utf-8"))
"""By arXiv id: short name, title, authors and year."""
_FOLDERS = {"llmgym": "llmgym", "envs": "llmgym.envs", "agents": "llmgym.agents", "sandbox": "llmgym.sandbox"}
_CITATION = re.compile(r"arXiv:(\d{4}\.\d{4,5})")


class PaperIndex(MarkdownDirective):
    """Each paper that the code cites, with where it does."""

    def markdown(self) -> str:
        rows = []
        for number, places in sorted(citations().items()):
            if number not in PAPERS:
                raise self.error(f"{places[0]} cites arXiv:{number}, which docs/papers.toml has not. Add it.")
            paper = PAPERS[number]
            where = ", ".join(link(place, place.removeprefix("llmgym.")) for place in places)
            cited = f"{paper['authors']} {paper['year']}, *{paper['title']}*, arXiv:{number}"
            rows.append([f"**{paper['name']}**", cited, where])
        return table(["name", "paper", "cited by"], rows)


def citations() -> dict[str, list[str]]:
    """By arXiv id: dotted names of the modules, classes and functions that cite it."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for path, module in python_files():
        source = path.read_text(encoding="utf-8")
        for line, text in enumerate(source.splitlines(), start=1):
            for number in _CITATION.findall(text):
                found[number][".".join([module, *_around(source, line)])] = None
    return {number: list(places) for number, places in found.items()}


def python_files() -> Iterator[tuple[Path, str]]:
    """The files of the packages, with the dotted names of their modules."""
    for folder, package in _FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            yield path, ".".join([package, *(part for part in parts if part != "__init__")])


def _around(source: str, line: int) -> list[str]:
    """Names of the classes and functions that a line stands in, from the outermost."""
    names, body = [], ast.parse(source).body
    while inner := next((node for node in body if _is_named(node) and node.lineno <= line <= node.end_lineno), None):
        names.append(inner.name)
        body = inner.body
    return names


def _is_named(node: ast.AST) -> bool:
    return isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
