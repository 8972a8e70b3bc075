"""Every reference solution of the public sets passes its tests, at every level."""

import json

import pytest
from support.sandboxes import sandbox  # noqa: F401

from llmgym.execution import Limits, form_of_check, form_of_statements, grade_many
from llmgym.execution.forms import names_used

# ruff: noqa: F811  (the fixture is imported)

LIMITS = Limits(wall_s=300, cpu_s=60)


def rows_of(data_folder, name):
    lines = (data_folder / "code" / "datasets" / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def failures(sandbox, pairs) -> list[str]:
    gradings = grade_many(sandbox, [(tests, source) for _, tests, source in pairs])
    return [str(key) for (key, _, _), grading in zip(pairs, gradings, strict=True) if not grading.is_all_passed]


@pytest.mark.slow
def test_humaneval(sandbox, data_folder):
    pairs = [
        (
            row["task_id"],
            form_of_check(row["test"], row["entry_point"], limits=LIMITS),
            row["prompt"] + row["canonical_solution"],
        )
        for row in rows_of(data_folder, "humaneval.jsonl")
    ]

    assert failures(sandbox, pairs) == []
    assert len(pairs) == 164


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), [("mbpp.jsonl", 974), ("mbpp_sanitized.jsonl", 427)])
def test_mbpp(sandbox, data_folder, name, count):
    pairs = []
    for row in rows_of(data_folder, name):
        statements = [*filter(None, [row.get("test_setup_code")]), *row.get("test_imports", []), *row["test_list"]]
        functions = [line.split("(")[0][4:] for line in row["code"].splitlines() if line.startswith("def ")]
        assert names_used(statements) or functions
        pairs.append((row["task_id"], form_of_statements(statements, functions=functions, limits=LIMITS), row["code"]))

    assert failures(sandbox, pairs) == []
    assert len(pairs) == count
