import json
import sys
import types

import pyarrow
import pyarrow.parquet
import pytest
from llmgym.envs.math import MathEnv, comparison

from llmgym.episode import content_key
from llmgym.errors import ConfigError, DataError, DataNotFoundError, MissingExtraError

ROWS = [{"problem": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(100)]


def written(path, rows):
    if path.suffix == ".jsonl":
        path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return str(path)


def tasks_of(tmp_path, rows, **keywords):
    return MathEnv(dataset=written(tmp_path / "rows.jsonl", rows), **keywords).tasks


def every_task(tasks):
    return [*tasks("train"), *tasks("test")]


def the_task(tmp_path, row, **keywords):
    filler = [{**row, **dict.fromkeys(row, f"{n} \\boxed{{1}} #### 1")} for n in range(60)]
    tasks = tasks_of(tmp_path, [row, *filler], **keywords)
    return next(task for task in every_task(tasks) if "####" not in task.prompt)


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
def test_every_file_format_gives_the_same_tasks(suffix, tmp_path):
    tasks = MathEnv(dataset=written(tmp_path / f"rows.{suffix}", ROWS)).tasks

    assert {(task.prompt, task.answer) for task in every_task(tasks)} == {(r["problem"], r["answer"]) for r in ROWS}


def test_one_file_is_split_into_parts_that_share_nothing(tmp_path):
    tasks = tasks_of(tmp_path, ROWS)
    train, test = ({task.prompt for task in tasks(split)} for split in ("train", "test"))

    assert not train & test
    assert len(train) + len(test) == 100
    assert 0 < len(test) < 30


def test_a_task_is_keyed_by_its_content(tmp_path):
    task = tasks_of(tmp_path, ROWS)("train")[0]

    assert task.key == content_key(task.prompt, task.answer)


def test_two_files_are_the_two_splits_and_a_test_problem_is_no_training_problem(tmp_path):
    train = written(tmp_path / "train.jsonl", [*ROWS[:5], {"problem": "What is  7 + 1?", "answer": "8"}])
    test = written(tmp_path / "test.jsonl", ROWS[4:8])
    tasks = MathEnv(dataset=train, test_dataset=test).tasks

    assert [task.answer for task in tasks("train")] == ["1", "2", "3", "4"]
    assert [task.answer for task in tasks("test")] == ["5", "6", "7", "8"]


def test_of_rows_with_one_prompt_the_first_counts(tmp_path):
    rows = [*ROWS, {"problem": ROWS[0]["problem"], "answer": "999"}]

    assert "999" not in {task.answer for task in every_task(tasks_of(tmp_path, rows))}


def test_the_gsm8k_form_is_recognized(tmp_path):
    task = the_task(
        tmp_path, {"question": "How many?", "answer": "She has 1,000+72 = <<1000+72=1072>>1072.\n#### 1,072"}
    )

    assert (task.prompt, task.answer) == ("How many?", "1072")
    assert task.metadata["solution"] == "She has 1,000+72 = 1072."


def test_the_math_form_is_recognized(tmp_path):
    row = {"problem": "Find x.", "solution": r"First \boxed{1}, then $\boxed{\frac{1}{2}}$."}

    assert the_task(tmp_path, row).answer == r"\frac{1}{2}"


def test_a_plain_answer_wins_over_the_solution(tmp_path):
    task = the_task(tmp_path, {"problem": "Find x.", "answer": "$5$", "solution": "It is 5."})

    assert (task.answer, task.metadata["solution"]) == ("5", "It is 5.")


def test_columns_may_have_any_name(tmp_path):
    columns = {"prompt": "ask", "answer": "reply"}

    task = the_task(tmp_path, {"ask": "Why?", "reply": "42", "answer": "1"}, columns=columns)

    assert (task.prompt, task.answer) == ("Why?", "42")


def test_numbers_of_json_are_answers_too(tmp_path):
    tasks = tasks_of(tmp_path, [{"problem": f"{n}?", "answer": n / 2} for n in range(40)])

    assert "1.5" in {task.answer for task in every_task(tasks)}


@pytest.mark.parametrize(
    ("row", "found", "remedy"),
    [
        ("{broken", "'{broken' is not JSON", "Write one object a line"),
        ("[1, 2]", "found [1, 2]", "Mend it"),
        ({"text": "x", "answer": "1"}, "columns 'text', 'answer'", 'columns={"prompt": ...}'),
        ({"problem": "x"}, "columns 'problem'", 'columns={"answer": ...}'),
        ({"problem": "x", "answer": None}, "'answer' holds None", "Mend the row"),
        ({"problem": "x", "answer": True}, "'answer' holds True", "Mend the row"),
        ({"problem": " ", "answer": "1"}, "'problem' holds ' '", "Mend the row"),
        ({"problem": "x", "answer": "so ####"}, "should state its answer after the last ####", "Mend the row"),
        ({"problem": "x", "solution": r"so \boxed{}"}, r"should state its answer in the last \boxed{}", "Mend the row"),
        ({"problem": "x", "solution": "so 5"}, "must hold its answer in", 'columns={"answer": ...}'),
    ],
)
def test_a_row_that_cannot_be_used_is_named_by_file_and_line(row, found, remedy, tmp_path):
    tasks = tasks_of(tmp_path, [ROWS[0], row])

    with pytest.raises(DataError) as error:
        tasks("train")

    assert f"{tmp_path / 'rows.jsonl'}, line 2: " in str(error.value)
    assert found in str(error.value)
    assert remedy in str(error.value)


@pytest.mark.parametrize("name", ["absent.jsonl", "no-such-thing", "folder/absent.parquet"])
def test_a_data_set_that_is_nowhere_is_an_error_on_first_use(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(DataNotFoundError, match="Hugging Face"):
        MathEnv(dataset=name).tasks("train")


def test_a_set_that_is_too_small_to_be_split_still_has_its_training_problems(tmp_path):
    tasks = tasks_of(tmp_path, ROWS[:2])

    assert len(tasks("train")) == 2
    with pytest.raises(DataError, match="holds no task"):
        tasks("test")


def test_an_unknown_split_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='"train" and "test"'):
        tasks_of(tmp_path, ROWS)("validation")


def test_the_last_number_format_refuses_references_that_are_no_numbers(tmp_path):
    tasks = tasks_of(tmp_path, [*ROWS, {"problem": "Solve.", "answer": "(1, 2)"}], answer_format="last_number")

    with pytest.raises(DataError, match="not a single number"):
        tasks("train")


def test_data_that_need_math_verify_say_so_when_they_are_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "find_spec", lambda *_: None)
    monkeypatch.setitem(sys.modules, "math_verify", None)
    tasks = tasks_of(tmp_path, [*ROWS, {"problem": "Solve.", "answer": r"\int_0^1 x"}])

    with pytest.raises(MissingExtraError, match=r"llmgym\[math\]"):
        tasks("train")


def test_equal_data_sets_are_loaded_once_for_the_process(tmp_path):
    dataset = written(tmp_path / "rows.jsonl", ROWS)

    assert MathEnv(dataset=dataset).tasks("train") is MathEnv(dataset=dataset, few_shot=1).tasks("train")


def fake_hub(monkeypatch, splits):
    """Stands for the package `datasets`, with one data set."""
    hub = types.ModuleType("datasets")
    hub.get_dataset_split_names = lambda dataset, config: list(splits[dataset, config])
    hub.load_dataset = lambda dataset, config, split: splits[dataset, config][split]
    monkeypatch.setitem(sys.modules, "datasets", hub)


def test_a_data_set_of_the_hub_keeps_its_own_splits(monkeypatch):
    fake_hub(monkeypatch, {("org/own-splits", "main"): {"train": ROWS[:3], "test": ROWS[3:5]}})
    tasks = MathEnv(dataset="org/own-splits", dataset_config="main").tasks

    assert [len(tasks(split)) for split in ("train", "test")] == [3, 2]


def test_a_data_set_of_the_hub_without_a_test_split_is_split_by_content(monkeypatch):
    fake_hub(monkeypatch, {("org/one-split", None): {"train": ROWS}})
    tasks = MathEnv(dataset="org/one-split").tasks

    assert len(tasks("train")) + len(tasks("test")) == 100


def test_the_hub_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)

    with pytest.raises(MissingExtraError, match=r"llmgym\[hub\]\". Or name its file with dataset="):
        MathEnv(dataset="org/anything").tasks("train")


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_a_file_may_begin_with_a_byte_order_mark(tmp_path, suffix):
    path = tmp_path / f"problems{suffix}"
    text = json.dumps(ROWS) if suffix == ".json" else "\n".join(map(json.dumps, ROWS))
    path.write_text(text, encoding="utf-8-sig")

    tasks = MathEnv(dataset=str(path)).tasks

    assert len(tasks("train")) + len(tasks("test")) == len(ROWS)


@pytest.mark.parametrize("line", ['{"problem": "1+1", "answer": NaN}', "[" * 100_000])
def test_a_row_that_holds_no_number_or_no_end_is_named(tmp_path, line):
    path = tmp_path / "problems.jsonl"
    path.write_text(line)

    with pytest.raises(DataError, match="line 1: "):
        MathEnv(dataset=str(path)).tasks("train")
