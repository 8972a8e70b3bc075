"""Rows of every shape pay the right program and no other; rows that cannot be used are named."""

import json

import pytest
from llmgym.envs.code.shapes import prints_the_same
from support.code import DOUBLE, dataset, fenced, made_of, make, play

from llmgym.errors import DataError, DataNotFoundError

ECHO = "import sys\nfor line in sys.stdin:\n    print(int(line) * 2)"
SHAPES = {
    "statements": (DOUBLE, DOUBLE["solution"]),
    "statements with setup": (
        {**DOUBLE, "setup": "import math", "tests": [*DOUBLE["tests"], "assert double(math.pi) == 2 * math.pi"]},
        DOUBLE["solution"],
    ),
    "standard input": (
        {"prompt": "Double each line.", "tests": [{"stdin": f"{n}\n", "stdout": f"{2 * n}\n"} for n in range(3)]},
        ECHO,
    ),
    "a command": (
        {
            "prompt": "Write double(x).",
            "test_argv": ["python3", "test.py"],
            "test_files": {"test.py": "from solution import double\nassert double(2) == 4\n"},
        },
        DOUBLE["solution"],
    ),
    "HumanEval": (
        {
            "prompt": 'import math\n\n\ndef area(r):\n    """Area of a circle."""\n',
            "entry_point": "area",
            "canonical_solution": "    return math.pi * r * r\n",
            "test": "def check(candidate):\n    assert candidate(0) == 0\n    assert round(candidate(2)) == 13\n",
        },
        "def area(r):\n    return math.pi * r**2",
    ),
    "MBPP": (
        {"text": "Double a number.", "code": DOUBLE["solution"], "test_list": DOUBLE["tests"][:3], "task_id": 1},
        DOUBLE["solution"],
    ),
    "APPS": (
        {
            "question": "Double each line.",
            "input_output": json.dumps({"inputs": ["1\n2\n", "7\n"], "outputs": ["2\n4\n", "14\n"]}),
            "solutions": json.dumps([ECHO]),
        },
        ECHO,
    ),
    "APPS with a function": (
        {
            "question": "Double a number.",
            "input_output": json.dumps({"fn_name": "double", "inputs": [[1], [2]], "outputs": [[2], [4]]}),
            "starter_code": "class Solution:\n    def double(self, x):\n",
        },
        "class Solution:\n    def double(self, x):\n        return 2 * x",
    ),
    "APPS with results that are not wrapped": (
        {
            "question": "All numbers below 2 * x.",
            "input_output": json.dumps(
                {"fn_name": "sum", "inputs": [[1], [0], [2]], "outputs": [[0, 1], [], [0, 1, 2, 3]]}
            ),
        },
        "def sum(x):\n    return tuple(range(2 * x))",
    ),
    "APPS with numbers as keys": (
        {
            "question": "Count.",
            "input_output": {"fn_name": "count", "inputs": [[[5, 5]], [[7]]], "outputs": [[{"5": 2}], [{"7": 1}]]},
        },
        "def count(items):\n    return {item: len(items) if len(items) == 2 else 1 for item in items}",
    ),
    "LiveCodeBench with a function": (
        {
            "question_content": "Double all.",
            "starter_code": "class Solution:\n    def double(self, xs: List[int], by: int) -> List[int]:\n        ",
            "metadata": json.dumps({"func_name": "double"}),
            "public_test_cases": json.dumps([{"input": "[1]\n2\n", "output": "[2]", "testtype": "functional"}]),
            "private_test_cases": json.dumps([{"input": "[2, 4]\n2", "output": "[4, 8]", "testtype": "functional"}]),
        },
        "class Solution:\n    def double(self, xs: List[int], by: int):\n        return [2 * x for x in xs]",
    ),
    "LiveCodeBench": (
        {
            "question_content": "Double each line.",
            "public_test_cases": json.dumps([{"input": "1\n", "output": "2\n", "testtype": "stdin"}]),
            "private_test_cases": "PACKED",
        },
        ECHO,
    ),
}


def packed(value):
    import base64
    import pickle
    import zlib

    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


def row_of(shape):
    row, right = SHAPES[shape]
    if row.get("private_test_cases") == "PACKED":
        row = {**row, "private_test_cases": packed('[{"input": "5\\n", "output": "10\\n", "testtype": "stdin"}]')}
    return row, right


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_of_every_shape_pay_the_right_program_and_no_other(tmp_path, shape):
    row, right = row_of(shape)
    env = made_of(tmp_path, row)

    assert play(env, fenced(right))[1] == 1.0
    assert play(env, fenced(right.replace("2", "3")))[1] == 0.0


def test_a_helper_of_the_tests_is_the_prompts_own_and_not_the_programs(tmp_path):
    encode = "def encode(text):\n    return text[::-1]\n\n\n"
    row = {
        "prompt": f'{encode}def decode(text):\n    """Undo encode."""\n',
        "entry_point": "decode",
        "test": "def check(candidate):\n    for x in ('ab', 'abc'):\n        assert candidate(encode(x)) == x\n",
    }
    env = made_of(tmp_path, row)

    assert play(env, fenced("def decode(text):\n    return text[::-1]"))[1] == 1.0
    assert play(env, fenced("def encode(text):\n    return text\ndef decode(text):\n    return text"))[1] == 0.0


def test_a_prompt_without_docstring_and_imports_from_the_future_are_run(tmp_path):
    row, _ = row_of("HumanEval")
    env = made_of(tmp_path, {**row, "prompt": "import math\n\n\ndef area(r):\n", "canonical_solution": None})

    code = "from __future__ import annotations\n\ndef area(r: Float):\n    return math.pi * r**2"
    assert play(env, fenced(code))[1] == 1.0


@pytest.mark.parametrize(
    ("expected", "written", "is_same"),
    [
        ("1 2\n3", " 1  2 \n3\n\n", True),
        ("1 2\n3", "1\n2 3", False),
        ("0.5", "0.50", True),
        ("0.3333333333", "0.33333334", True),
        ("0.3333", "0.3433", False),
        ("2.0", "2", True),
        ("50000000000000000", "50000000000000001", False),
        ("1000000", "1000000.5", False),
        ("3", "3.0", True),
        ("YES", "Yes", False),
        ("NaN", "nan", False),
        ("1e5", "inf", False),
        ("1", "1e999999999", False),
        ("", "0", False),
    ],
)
def test_texts_agree_by_words_and_numbers_by_value(expected, written, is_same):
    assert prints_the_same("", expected, written) is is_same


def test_packed_tests_that_would_run_code_are_refused(tmp_path):
    row, _ = row_of("LiveCodeBench")

    with pytest.raises(DataError, match=r"line 1.*must be a text"):
        made_of(tmp_path, {**row, "private_test_cases": packed(print)}).reset(options={"split": "test"})


def test_tests_beside_the_program_are_told_to_be_unsound(tmp_path):
    *_, info = play(made_of(tmp_path, row_of("a command")[0]), fenced(DOUBLE["solution"]))

    assert "could have decided it itself" in info["score"].reason


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"name": "x"}, "line 1: the row has the columns 'name'.*one of these sets"),
        ({"prompt": "x", "tests": []}, "line 1: ValueError: there is no test"),
        ({"prompt": "x", "tests": [], "visible_tests": ["assert f(1) == 1"]}, "line 1: ValueError: there is no test"),
        ({"prompt": "x", "tests": ["assert sum([1, 2]) == 3"] * 2}, "line 1: ValueError: the tests use no name"),
        ({"prompt": "x", "tests": ["assert f(1) =="] * 2}, "line 1: SyntaxError"),
        ({"prompt": None, "tests": ["assert f(1) == 1"]}, "line 1: AttributeError"),
        ({"question": "x", "input_output": ""}, "line 1: JSONDecodeError"),
        ({"question": "x", "input_output": "{"}, "line 1: JSONDecodeError"),
        ({"question": "x", "input_output": {"inputs": ["1"], "outputs": []}}, "line 1: ValueError"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(tmp_path, row, words):
    with pytest.raises(DataError, match=words):
        made_of(tmp_path, row).reset(options={"split": "test"})


def test_a_tenth_of_one_data_set_is_the_test_split(tmp_path):
    rows = [{**DOUBLE, "prompt": f"Write double(x), number {number}."} for number in range(60)]
    message_env = make(dataset=dataset(tmp_path, *rows)).unwrapped.message_env

    train, test = ({task.prompt for task in message_env.tasks(split)} for split in ("train", "test"))

    assert (len(train | test), len(train & test)) == (60, 0)
    assert 0 < len(test) < 20


def test_a_data_set_that_is_not_there_is_named():
    with pytest.raises(DataNotFoundError, match=r"no data file 'nowhere\.jsonl'"):
        make(dataset="nowhere.jsonl").reset()


# -- public data -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env_id", "file_name", "num_tasks", "num_solved"),
    [
        ("llmgym/HumanEval-v0", "humaneval.jsonl", 164, 164),
        ("llmgym/MBPP-v0", "mbpp.jsonl", 974, 971),
        ("llmgym/MBPP-v0", "mbpp_sanitized.jsonl", 427, 426),
    ],
)
def test_reference_solutions_of_public_data_pass(data_folder, env_id, file_name, num_tasks, num_solved):
    env = make(env_id, dataset=str(data_folder / "code" / "datasets" / file_name))
    message_env = env.unwrapped.message_env
    pays = [
        play(env, *message_env.solve(task), split=split, task=task.key)[1]
        for split in (("test",) if "Human" in env_id else ("train", "test"))
        for task in message_env.tasks(split)
    ]

    assert len(pays) == num_tasks
    assert pays.count(1.0) >= num_solved
