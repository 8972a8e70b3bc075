"""Python cells that share their names, as in a notebook, though each is a process of its own.

Between cells, imports, functions and classes are kept as source, and all other values pickled, in one file of the
working directory: so a cell that is killed changes nothing, and a copy of the directory is a copy of the state.
What cannot be pickled is left behind, and the cell's stderr says so.
"""

from __future__ import annotations

import ast
import linecache
import os
import pickle
import sys
import types
from typing import Any

from .program import exit_code_of, finish, new_module, print_traceback

_STATE = ".llmgym_cells"
_DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def run_cell(program: dict[str, Any]) -> None:
    """Run one cell; the value of a last expression is printed. Does not return."""
    module = new_module("__main__")
    sys.argv = [""]
    sys.path.insert(0, os.getcwd())
    definitions = _restore(module)
    source = program["source"]
    linecache.cache["<cell>"] = (len(source), None, source.splitlines(True), "<cell>")
    code = 0
    try:
        tree = ast.parse(source, "<cell>")
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, "<cell>", "exec"), module.__dict__)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), module.__dict__)
            if value is not None:
                print(repr(value))
        definitions += [ast.unparse(node) for node in tree.body if _is_definition(node)]
    except SystemExit as error:
        code = exit_code_of(error)
    except BaseException as error:
        print_traceback(error)
        code = 1
    _save(module, definitions)
    finish(code)


def _is_definition(node: ast.stmt) -> bool:
    return isinstance(node, _DEFINITIONS) or (isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda))


def _restore(module: types.ModuleType) -> list[str]:
    try:
        with open(_STATE, "rb") as file:
            definitions, values = pickle.load(file)
    except (OSError, ValueError, EOFError, pickle.UnpicklingError):
        return []
    for definition in definitions:
        try:
            exec(definition, module.__dict__)
        except BaseException as error:
            print(f"[not restored: {definition.splitlines()[0]}: {type(error).__name__}]", file=sys.stderr)
    try:
        module.__dict__.update(pickle.loads(values))
    except BaseException as error:
        print(f"[values not restored: {type(error).__name__}: {error}]", file=sys.stderr)
    return list(definitions)


def _save(module: types.ModuleType, definitions: list[str]) -> None:
    lost, values = [], {}
    for name, value in list(module.__dict__.items()):
        if name.startswith("__") or isinstance(value, types.ModuleType) or _is_defined(value):
            continue
        try:
            pickle.dumps(value)
            values[name] = value
        except BaseException:
            lost.append(name)
    if lost:
        print(f"[not kept for the next cell, as they cannot be pickled: {', '.join(lost)}]", file=sys.stderr)
    try:
        with open(f"{_STATE}.new", "wb") as file:
            pickle.dump((list(dict.fromkeys(definitions)), pickle.dumps(values)), file)
        os.replace(f"{_STATE}.new", _STATE)
    except (OSError, MemoryError) as error:
        print(f"[the state of this cell is not kept: {error}]", file=sys.stderr)


def _is_defined(value: Any) -> bool:
    """Whether it comes back with the definitions."""
    return isinstance(value, (types.FunctionType, type)) and value.__module__ == "__main__"
