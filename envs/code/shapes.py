"""Rows of data sets as exercises: the shapes of HumanEval, MBPP, APPS and LiveCodeBench, and our own."""

import ast
import base64
import io
import json
import pickle
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llmgym.errors import DataError
from llmgym.execution import InProcessTests, StdioCase, StdioTests, form_of_check, form_of_statements

from .exercise import Exercise, Tests

_UNUSABLE = (KeyError, TypeError, ValueError, SyntaxError, zlib.error, pickle.UnpicklingError, EOFError)
"""What reading a row raises where a part of it is missing or malformed."""


def exercise_of(where: str, row: Mapping[str, Any], *, num_visible: int) -> Exercise:
    """The exercise that a row describes.

    Args:
        where: names the row in errors.
        row: of one of these shapes: HumanEval (prompt, entry_point, test), MBPP (text or prompt, test_list), APPS
            (question, input_output), LiveCodeBench (question_content, public_test_cases, private_test_cases), or
            our own: prompt; `tests`, a list of Python statements or of {"stdin", "stdout"}; perhaps `visible_tests` of
            the same kind, `setup`, `solution`; or `test_argv` and `test_files` (text by path) in place of `tests`.
        num_visible: so many of the tests are shown, where the row does not say which; one at least stays hidden.

    Raises:
        DataError: it is of no such shape, or a part of it cannot be used.
    """
    for columns, read in _SHAPES:
        if all(column in row for column in columns):
            try:
                return read(row, num_visible)
            except (
                KeyError,
                TypeError,
                ValueError,
                SyntaxError,
                zlib.error,
                pickle.UnpicklingError,
                EOFError,
            ) as error:
                raise DataError(f"{where}: {type(error).__name__}: {error}. Mend the row, or leave it out.") from error
    shapes = "; ".join(", ".join(columns) for columns, _ in _SHAPES)
    raise DataError(
        f"{where}: the row has the columns {', '.join(map(repr, row)) or 'none'}, but a programming task has one of "
        f"these sets of columns: {shapes}. Rename them, or write the rows in our own shape."
    )


def _human_eval(row: Mapping[str, Any], num_visible: int) -> Exercise:  # noqa: ARG001  its examples are in the prompt
    # The prompt is a function without a body, behind imports and helpers that solutions rely on.
    return Exercise(
        text=row["prompt"].strip(),
        hidden=form_of_check(row["test"], row["entry_point"]),
        preamble=row["prompt"],
        solution=row["prompt"] + row["canonical_solution"] if "canonical_solution" in row else None,
    )


def _mbpp(row: Mapping[str, Any], num_visible: int) -> Exercise:
    tests = [*row["test_list"], *row.get("challenge_test_list", ())]
    setup = [*row.get("test_imports", ()), *filter(None, [row.get("test_setup_code")])]
    return Exercise(
        text=(row.get("text") or row["prompt"]).strip(),
        solution=row.get("code"),
        **_from_statements(setup, tests, _num_shown(tests, num_visible), row.get("code")),
    )


def _own(row: Mapping[str, Any], num_visible: int) -> Exercise:
    visible, tests = list(row.get("visible_tests", ())), list(row["tests"])
    shown = len(visible) or _num_shown(tests, num_visible)
    tests = [*visible, *tests]
    if isinstance(tests[0], Mapping):
        parts = _from_texts([(str(test["stdin"]), str(test["stdout"])) for test in tests], shown)
    else:
        parts = _from_statements(list(filter(None, [row.get("setup")])), tests, shown, row.get("solution"))
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
    pairs = list(zip(tests["inputs"], tests["outputs"], strict=True))
    solutions = _loaded(row.get("solutions") or "[]")
    starter = row.get("starter_code") or ""
    if name := tests.get("fn_name"):
        statements = [_call_statement(name, starter, arguments, _only(expected)) for arguments, expected in pairs]
        parts = _from_statements([], statements, _num_shown(pairs, num_visible))
    else:
        parts = _from_texts([(_joined(given), _joined(expected)) for given, expected in pairs], _num_shown(pairs, 1))
    text = f"{row['question'].strip()}\n\n{starter}".strip()
    return Exercise(text=text, solution=solutions[0] if solutions else None, **parts)


def _live_code_bench(row: Mapping[str, Any], num_visible: int) -> Exercise:  # noqa: ARG001  the row says which
    public = _loaded(row["public_test_cases"])
    private = _loaded(_unpacked(row["private_test_cases"]))
    starter = row.get("starter_code") or ""
    name = _loaded(row.get("metadata") or "{}").get("func_name")
    tests = [*public, *private]
    if name and tests[0].get("testtype") == "functional":
        statements = [
            _call_statement(
                name, starter, [json.loads(line) for line in test["input"].splitlines()], json.loads(test["output"])
            )
            for test in tests
        ]
        parts = _from_statements([], statements, len(public))
    else:
        parts = _from_texts([(test["input"], test["output"]) for test in tests], len(public))
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
    setup: Sequence[str], tests: Sequence[str], num_shown: int, solution: str | None = None
) -> dict[str, Any]:
    functions = _functions_of(solution) if solution else ()  # one of them may be called `sum`

    def form(statements: Sequence[str]) -> Tests:
        return form_of_statements([*setup, *statements], functions=functions)

    shown, hidden = tests[:num_shown], tests[num_shown:]
    return {"visible": form(shown) if shown else None, "shown": list(shown), "hidden": form(hidden)}


def _from_texts(tests: Sequence[tuple[str, str]], num_shown: int) -> dict[str, Any]:
    cases = [StdioCase(stdin=given, stdout=expected) for given, expected in tests]
    shown, hidden = cases[:num_shown], cases[num_shown:]
    return {
        "visible": StdioTests(cases=shown) if shown else None,
        "shown": [f"Input:\n{case.stdin.rstrip()}\nOutput:\n{case.stdout.rstrip()}" for case in shown],
        "hidden": StdioTests(cases=hidden),
    }


def _functions_of(source: str) -> list[str]:
    return [node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]


def _num_shown(tests: Sequence[Any], num_visible: int) -> int:
    """At least one test stays hidden."""
    if not tests:
        raise ValueError("there is no test")
    return min(num_visible, len(tests) - 1)


def _call_statement(name: str, starter: str, arguments: Sequence[Any], expected: Any) -> str:
    function = f"Solution().{name}" if "class Solution" in starter else name
    return f"assert {function}({', '.join(map(repr, arguments))}) == {expected!r}"


def _only(expected: Any) -> Any:
    """APPS wraps what a function returns into a list of one."""
    return expected[0] if isinstance(expected, list) and len(expected) == 1 else expected


def _joined(text: str | Sequence[str]) -> str:
    return text if isinstance(text, str) else "\n".join(text)


def _loaded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _unpacked(packed: Any) -> Any:
    """LiveCodeBench packs its hidden tests as JSON, or as JSON that was pickled, compressed and written in base64."""
    if not isinstance(packed, str) or packed.lstrip().startswith("["):
        return packed
    return _OnlyText(io.BytesIO(zlib.decompress(base64.b64decode(packed)))).load()


class _OnlyText(pickle.Unpickler):
    """Loads a pickled text; anything that would run code is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"the packed tests ask for {module}.{name}, but must be a text")
