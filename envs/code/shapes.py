"""Rows of data sets as exercises: the shapes of HumanEval, MBPP, APPS and LiveCodeBench, and our own."""

import ast
import base64
import io
import json
import math
import pickle
import re
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from llmgym.errors import DataError
from llmgym.execution import InProcessTests, RpcTests, StdioCase, StdioTests, form_of_check, form_of_statements
from llmgym.execution.forms import names_used

from .exercise import Exercise, Tests

_UNUSABLE = (
    *(LookupError, TypeError, ValueError, AttributeError, RecursionError, SyntaxError),
    *(zlib.error, pickle.UnpicklingError, EOFError),
)
"""What reading a row raises where a part of it is missing or malformed."""


def exercise_of(where: str, row: Mapping[str, Any], *, num_visible: int) -> Exercise:
    """The exercise that a row describes.

    Args:
        where: names the row in errors.
        row: of one of these shapes: HumanEval (prompt, entry_point, test), MBPP (text or prompt, test_list), APPS
            (question, input_output), LiveCodeBench (question_content, public_test_cases, private_test_cases), or
            our own: prompt; `tests`, a list of Python statements or of {"stdin", "stdout"}; perhaps `visible_tests` of
            the same kind, `setup`, `solution`; or `test_argv` and `test_files` (text by path) in place of `tests`.
            What a program prints is compared by `prints_the_same` in the public shapes, and by `StdioTests` in ours.
        num_visible: so many of the tests are shown, where the row does not say which; one at least stays hidden.

    Raises:
        DataError: it is of no such shape, or a part of it cannot be used.
    """
    for columns, read in _SHAPES:
        if all(column in row for column in columns):
            try:
                return read(row, num_visible)
            except _UNUSABLE as error:
                raise DataError(f"{where}: {type(error).__name__}: {error}. Mend the row, or leave it out.") from error
    shapes = "; ".join(", ".join(columns) for columns, _ in _SHAPES)
    raise DataError(
        f"{where}: the row has the columns {', '.join(map(repr, row)) or 'none'}, but a programming task has one of "
        f"these sets of columns: {shapes}. Rename them, or write the rows in our own shape."
    )


def _human_eval(row: Mapping[str, Any], num_visible: int) -> Exercise:  # noqa: ARG001  its examples are in the prompt
    # The prompt is a function without a body, behind imports and helpers that solutions rely on.
    prompt, name, body = row["prompt"], row["entry_point"], row.get("canonical_solution")
    preamble = prompt if _is_python(prompt) else f"{prompt.rstrip()}\n    pass\n"
    return Exercise(
        text=prompt.strip(),
        hidden=form_of_check(_with_helpers(row["test"], preamble, name), name),
        preamble=preamble,
        solution=None if body is None else prompt + body,
    )


def _is_python(source: str) -> bool:
    try:
        _parsed(source)
    except SyntaxError:
        return False
    return True


def _with_helpers(test: str, preamble: str, name: str) -> str:
    """The test with the prompt's own helpers where it uses them: a program could have others under their names."""
    helpers = [node for node in _parsed(preamble).body if getattr(node, "name", None) != name]
    made = {node.name for node in helpers if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    if not made & set(names_used([test])):
        return test
    return "\n\n".join([*map(ast.unparse, helpers), test])


def _mbpp(row: Mapping[str, Any], num_visible: int) -> Exercise:
    tests = [*row["test_list"], *(row.get("challenge_test_list") or ())]
    setup = [*(row.get("test_imports") or ()), *filter(None, [row.get("test_setup_code")])]
    return Exercise(
        text=(row.get("text") or row["prompt"]).strip(),
        solution=row.get("code"),
        **_from_statements(setup, tests, _num_shown(tests, num_visible), _functions_of(row.get("code"))),
    )


def _own(row: Mapping[str, Any], num_visible: int) -> Exercise:
    visible, tests = list(row.get("visible_tests") or ()), list(row["tests"])
    shown = _num_shown(tests, num_visible) if not visible else len(visible)
    tests = [*visible, *tests]
    if isinstance(tests[0], Mapping):
        parts = _from_texts([(str(test["stdin"]), str(test["stdout"])) for test in tests], shown)
    else:
        setup = list(filter(None, [row.get("setup")]))
        parts = _from_statements(setup, tests, shown, _functions_of(row.get("solution")))
    return Exercise(text=row["prompt"].strip(), solution=row.get("solution"), **parts)


def _own_command(row: Mapping[str, Any], num_visible: int) -> Exercise:  # noqa: ARG001  a command is not shown
    files = {path: text.encode() for path, text in row["test_files"].items()}
    return Exercise(
        text=row["prompt"].strip(),
        hidden=InProcessTests(argv=list(row["test_argv"]), files=files),
        solution=row.get("solution"),
    )


def _apps(row: Mapping[str, Any], num_visible: int) -> Exercise:
    tests = _loaded(row["input_output"])
    given, expected = tests["inputs"], tests["outputs"]
    solutions = _loaded(row.get("solutions") or "[]")
    starter = row.get("starter_code") or ""
    if name := tests.get("fn_name"):
        if all(isinstance(value, list) and len(value) == 1 for value in expected):
            expected = [value for (value,) in expected]  # many of its problems wrap each result into a list of one
        calls = list(zip(given, expected, strict=True))
        parts = _from_calls(name, starter, calls, _num_shown(calls, num_visible))
    else:
        texts = [(_joined(text), _joined(answer)) for text, answer in zip(given, expected, strict=True)]
        num_shown = _num_shown(texts, min(num_visible, 1))  # the question has examples of its own
        parts = _from_texts(texts, num_shown, checker=prints_the_same)
    text = f"{row['question'].strip()}\n\n{starter}".strip()
    return Exercise(text=text, solution=solutions[0] if solutions else None, **parts)


def _live_code_bench(row: Mapping[str, Any], num_visible: int) -> Exercise:  # noqa: ARG001  the row says which
    public = _loaded(row["public_test_cases"])
    tests = [*public, *_loaded(_unpacked(row["private_test_cases"]))]
    starter = row.get("starter_code") or ""
    name = _loaded(row.get("metadata") or "{}").get("func_name")
    shown = _num_shown(tests, len(public))
    if name and tests[0].get("testtype") == "functional":
        calls = [(_json_lines(test["input"]), json.loads(test["output"])) for test in tests]
        parts = _from_calls(name, starter, calls, shown)
    else:
        texts = [(test["input"], test["output"]) for test in tests]
        parts = _from_texts(texts, shown, checker=prints_the_same)
    text = f"{row['question_content'].strip()}\n\n{starter}".strip()
    return Exercise(text=text, **parts)


_SHAPES: tuple[tuple[tuple[str, ...], Callable[[Mapping[str, Any], int], Exercise]], ...] = (
    (("prompt", "entry_point", "test"), _human_eval),
    (("test_list",), _mbpp),
    (("question", "input_output"), _apps),
    (("question_content", "public_test_cases", "private_test_cases"), _live_code_bench),
    (("prompt", "tests"), _own),
    (("prompt", "test_argv", "test_files"), _own_command),
)


def _from_statements(
    setup: Sequence[str], tests: Sequence[str], num_shown: int, functions: Sequence[str]
) -> dict[str, Any]:
    def form(statements: Sequence[str]) -> Tests:
        tests = form_of_statements([*setup, *statements], functions=functions)  # one of them may be called `sum`
        if isinstance(tests, RpcTests):
            nodes = [node for statement in statements for node in ast.walk(_parsed(statement))]
            if not {node.id for node in nodes if isinstance(node, ast.Name)} & set(tests.names or ()):
                raise ValueError(
                    f"the tests use no name of the program, so that any would pass: {statements[0]!r:.80}. Where they "
                    "call a function that Python has as well, give a solution, which says so"
                )
        return tests

    shown, hidden = tests[:num_shown], _some(tests[num_shown:])
    return {"visible": form(shown) if shown else None, "shown": list(shown), "hidden": form(hidden)}


def _from_calls(name: str, starter: str, calls: Sequence[tuple[list[Any], Any]], num_shown: int) -> dict[str, Any]:
    """Tests from values that were written as JSON: it has no tuples, and no keys that are numbers."""
    is_method = "class Solution" in starter
    function, preamble = (f"Solution().{name}", _FOR_METHODS) if is_method else (name, "")
    texts = [f"{function}({', '.join(repr(_with_number_keys(arg)) for arg in args)})" for args, _ in calls]
    values = [_with_number_keys(expected) for _, expected in calls]
    plain = [f"assert {text} == {value!r}" for text, value in zip(texts, values, strict=True)]
    asserts = [
        f"assert {text} in {_spellings(value)!r}" if isinstance(value, list) else assert_
        for text, value, assert_ in zip(texts, values, plain, strict=True)
    ]
    functions = () if is_method else (name,)
    return {**_from_statements([], asserts, num_shown, functions), "shown": plain[:num_shown], "preamble": preamble}


_FOR_METHODS = """\
import bisect, collections, functools, heapq, itertools, math, random, re, string, sys
from collections import Counter, OrderedDict, defaultdict, deque
from functools import cache, lru_cache, reduce
from heapq import heapify, heappop, heappush
from math import gcd, inf
from typing import *
sys.setrecursionlimit(50_000)
"""
"""What programs with a `class Solution` find ready where such problems come from."""


def _spellings(items: list[Any]) -> list[Any]:
    """The list, and what a program may mean by it that JSON cannot say: the list or its items as tuples."""
    spellings: list[Any] = [items, tuple(items)]
    if items and all(isinstance(item, list) for item in items):
        tuples = [tuple(item) for item in items]
        spellings += [tuples, tuple(tuples)]
    return spellings


def _with_number_keys(value: Any) -> Any:
    if isinstance(value, dict) and all(re.fullmatch(r"-?[0-9]{1,18}", key) for key in value):
        return {int(key): item for key, item in value.items()}
    return value


def _from_texts(
    tests: Sequence[tuple[str, str]], num_shown: int, checker: Callable[[str, str, str], bool] | None = None
) -> dict[str, Any]:
    cases = [StdioCase(stdin=given, stdout=expected) for given, expected in tests]
    shown, hidden = cases[:num_shown], _some(cases[num_shown:])
    return {
        "visible": StdioTests(cases=shown, checker=checker) if shown else None,
        "shown": [f"Input:\n{case.stdin.rstrip()}\nOutput:\n{case.stdout.rstrip()}" for case in shown],
        "hidden": StdioTests(cases=hidden, checker=checker),
    }


def prints_the_same(stdin: str, expected: str, written: str) -> bool:  # noqa: ARG001  a checker is told all three
    """Whether two texts agree line by line without white space around them, numbers by value.

    A number with a fraction may differ by 1e-6, absolutely or relatively, as its problems allow; whole numbers of any
    size may not.
    """
    ours, theirs = ([line.split() for line in text.strip().split("\n")] for text in (written, expected))
    if list(map(len, ours)) != list(map(len, theirs)):
        return False
    return all(
        _is_same(mine, other) for a, b in zip(ours, theirs, strict=True) for mine, other in zip(a, b, strict=True)
    )


def _is_same(written: str, expected: str) -> bool:
    if written == expected:
        return True
    try:
        mine, other = Decimal(written), Decimal(expected)
    except InvalidOperation:
        return False
    if not (mine.is_finite() and other.is_finite()):
        return False
    if other == other.to_integral_value() and "." not in expected:
        return mine == other
    return math.isclose(mine, other, rel_tol=1e-6, abs_tol=1e-6)


def _functions_of(source: str | None) -> list[str]:
    return [node.name for node in _parsed(source or "").body if isinstance(node, ast.FunctionDef)]


def _parsed(source: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in the texts of others
        return ast.parse(source)


def _num_shown(tests: Sequence[Any], wanted: int) -> int:
    """At least one test stays hidden."""
    return min(wanted, len(_some(tests)) - 1)


def _some(tests: Sequence[Any]) -> Sequence[Any]:
    if not tests:
        raise ValueError("there is no test, or none that stays hidden")
    return tests


def _joined(text: str | Sequence[str]) -> str:
    return text if isinstance(text, str) else "\n".join(text)


def _json_lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.strip().split("\n")]


def _loaded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _unpacked(packed: Any) -> Any:
    """LiveCodeBench packs its hidden tests as JSON, or as JSON that was pickled, compressed and written in base64."""
    if not packed or not isinstance(packed, str) or packed.lstrip().startswith("["):
        return packed or []
    return _OnlyText(io.BytesIO(zlib.decompress(base64.b64decode(packed)))).load()


class _OnlyText(pickle.Unpickler):
    """Loads a pickled text; anything that would run code is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"the packed tests ask for {module}.{name}, but must be a text")
