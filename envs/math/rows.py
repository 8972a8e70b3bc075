"""Rows of problem sets: read from JSONL, JSON, Parquet or the hub, and turned into problem and reference answer."""

from __future__ import annotations

import gzip
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from llmgym.episode import Task, content_key
from llmgym.errors import DataError, DataNotFoundError
from llmgym.extras import require

from .boxes import boxed

_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".parquet")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_PROMPT_COLUMNS = ("problem", "question", "prompt")
_ANSWER_COLUMNS = ("answer", "solution")
_CALCULATOR_NOTE = re.compile(r"<<[^<>]*>>")

Row = tuple[str, Mapping[str, Any]]
"""Where a row stands ("file.jsonl, line 3"), and the row."""


def is_file_name(dataset: str) -> bool:
    """True where `dataset` names a file, False where it is an id of the hub.

    Raises:
        DataNotFoundError: it is neither.
    """
    path = Path(dataset).expanduser()
    if path.name.endswith(_SUFFIXES):
        if not path.is_file():
            raise DataNotFoundError(
                f"There is no data file {dataset!r} (looked for {path.absolute()}). Check the path, or load it from "
                'the Hugging Face hub: dataset="organization/name"; for GSM8KEnv and MATHEnv, leave data_dir and the '
                "environment variable LLMGYM_DATA_DIR unset."
            )
        return True
    if _HUB_ID.fullmatch(dataset) and not path.exists():
        return False
    raise DataNotFoundError(
        f"dataset is {dataset!r}, which is neither a {', '.join(_SUFFIXES)} file nor an id of the Hugging Face hub "
        'such as "openai/gsm8k".'
    )


def read_file(path: Path) -> Iterator[Row]:
    """The rows of a data file. Raises DataError where it cannot be read as its suffix says."""
    match path.suffix:
        case ".jsonl" | ".gz":
            yield from _read_jsonl(path)
        case ".json":
            yield from _read_json(path)
        case ".parquet":
            parquet = require("pyarrow.parquet", extra="hub", purpose="Reading Parquet files")
            # One column of a row group at a time would be leaner, but problem sets fit into memory many times over.
            try:
                rows = parquet.read_table(path).to_pylist()
            except (OSError, ValueError) as error:
                raise DataError(f"{path} is not a Parquet file: {error}. Write it again, or use .jsonl.") from error
            for number, row in enumerate(rows, start=1):
                yield f"{path}, row {number}", row


def _datasets(dataset: str) -> ModuleType:
    return require(
        "datasets",
        extra="hub",
        purpose=f"Loading {dataset!r} from the Hugging Face hub",
        instead="Or name its file with dataset=; of a public data set, the folder of its files with the environment "
        "variable LLMGYM_DATA_DIR.",
    )


def read_hub(dataset: str, config: str | None, split: str) -> Iterator[Row]:
    """The rows of one split of a data set of the hub.

    Raises:
        MissingExtraError: the package `datasets` is not installed.
        DataNotFoundError: the hub, or the cache where there is no network, has no such data set or split.
    """
    datasets = _datasets(dataset)
    try:
        rows = datasets.load_dataset(dataset, config, split=split)
    except (OSError, ValueError) as error:  # no network, no such data set, no such config or split
        raise DataNotFoundError(
            f"The split {split!r} of {dataset!r} could not be loaded from the Hugging Face hub: {error}. Check the id "
            "and the network, or download the files and name them instead."
        ) from error
    for number, row in enumerate(rows, start=1):
        yield f"{dataset} ({split}), row {number}", row


def hub_splits(dataset: str, config: str | None) -> list[str]:
    """The splits that a data set of the hub has."""
    datasets = _datasets(dataset)
    try:
        return list(datasets.get_dataset_split_names(dataset, config))
    except (OSError, ValueError) as error:
        raise DataNotFoundError(
            f"{dataset!r} could not be found on the Hugging Face hub: {error}. Check the id and the network, or "
            "download the files and name them instead."
        ) from error


def task_of(where: str, row: Mapping[str, Any], columns: Mapping[str, str]) -> Task:
    """The task that a row describes.

    Recognized without `columns`: a plain `answer`; the GSM8K form, whose `answer` ends in "#### 72"; and the MATH form,
    whose `solution` holds the answer in its last box.

    Raises:
        DataError: the row lacks a column, or the column holds no answer; the message names file and line.
    """
    prompt = prompt_of(where, row, columns)
    answer_column = columns.get("answer") or _first_of(_ANSWER_COLUMNS, row, where, "answer", "answer")
    written = _text(where, row, answer_column, "the reference answer").strip()
    answer, solution = _reference(where, written, answer_column)
    if solution is None and isinstance(row.get("solution"), str):
        solution = row["solution"]
    metadata = {}
    if solution:
        metadata["solution"] = _CALCULATOR_NOTE.sub("", solution.rpartition("####")[0] or solution).strip()
    return Task(key=content_key(prompt, answer), prompt=prompt, answer=answer, metadata=metadata)


def prompt_of(where: str, row: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    """What a row asks. Raises DataError where it lacks the column."""
    column = columns.get("prompt") or _first_of(_PROMPT_COLUMNS, row, where, "problem", "prompt")
    return _text(where, row, column, "the problem").strip()


def _reference(where: str, written: str, column: str) -> tuple[str, str | None]:
    """The bare reference answer, and the worked solution around it where there is one."""
    if "####" in written:
        solution, _, answer = written.rpartition("####")
        answer = re.sub(r"(?<=\d),(?=\d{3})", "", answer.strip())
        form = "its answer after the last ####"
    elif (content := boxed(written)) is not None:
        solution, answer = written, content.strip()
        form = "its answer in the last \\boxed{}"
    elif column == "solution":
        raise DataError(
            f"{where}: the solution ends in {written[-60:]!r}, but a solution must hold its answer in \\boxed{{}} or "
            'after ####. Add it, or name another column with columns={"answer": ...}.'
        )
    else:
        formula = re.fullmatch(r"\$([^$]+)\$", written)
        return formula[1].strip() if formula else written, None
    if not answer:
        raise DataError(f"{where}: column {column!r} holds {written[-60:]!r}, but should state {form}. Mend the row.")
    return answer, solution


def _first_of(names: tuple[str, ...], row: Mapping[str, Any], where: str, what: str, key: str) -> str:
    for name in names:
        if name in row:
            return name
    raise DataError(
        f"{where}: the row has the columns {', '.join(map(repr, row)) or 'none'}, but the {what} was expected in "
        f'{" or ".join(map(repr, names))}. Name the column with columns={{"{key}": ...}}.'
    )


def _text(where: str, row: Mapping[str, Any], column: str, what: str) -> str:
    if column not in row:
        raise DataError(
            f"{where}: the row has the columns {', '.join(map(repr, row)) or 'none'}, but {what} was expected in "
            f"{column!r}. Change `columns`."
        )
    value = row[column]
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{where}: column {column!r} holds {value!r:.80}, but {what} must be text. Mend the row.")
    return value


def _read_jsonl(path: Path) -> Iterator[Row]:
    open_text = gzip.open if path.suffix == ".gz" else open
    with open_text(path, "rt", encoding="utf-8-sig") as file:
        try:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"{path}, line {number}", _json_row(f"{path}, line {number}", line)
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not UTF-8 text: {error}. Save it as UTF-8.") from error
        except (gzip.BadGzipFile, EOFError) as error:
            raise DataError(f"{path} is not a whole gzip file: {error}. Write it again, or unpack it.") from error


def _json_row(where: str, line: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: {line.strip()[:60]!r} is not JSON ({error}). Write one object a line.") from error
    return _mapping(where, row)


def _mapping(where: str, row: Any) -> Mapping[str, Any]:
    if not isinstance(row, dict):
        raise DataError(
            f'{where}: found {row!r:.80}, but a row is an object such as {{"problem": ..., "answer": ...}}. Mend it.'
        )
    return row


def _read_json(path: Path) -> Iterator[Row]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}. Write a list of objects, or use the suffix .jsonl.") from error
    if not isinstance(rows, list):
        raise DataError(f"{path} holds a JSON {type(rows).__name__}, but a list of objects was expected.")
    for number, row in enumerate(rows, start=1):
        yield f"{path}, row {number}", _mapping(f"{path}, row {number}", row)
