"""The public prompts of IFEval, read from its file."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmgym.episode import FiniteTasks, Task
from llmgym.errors import DataError, DataNotFoundError

from ..math.rows import read_file
from .constraints import CHECKS

_FILE = "input_data.jsonl"


def public_file(data_dir: str | None) -> str:
    """The file `input_data.jsonl` in `data_dir`, or in the folder that LLMGYM_DATA_DIR names, or in `ifeval` there.

    Raises:
        DataNotFoundError: neither is given, or there is no such file.
    """
    given = data_dir or os.environ.get("LLMGYM_DATA_DIR")
    how = (
        f'Download "instruction_following_eval/data/{_FILE}" of github.com/google-research/google-research, and name '
        "its folder in data_dir or LLMGYM_DATA_DIR."
    )
    if not given:
        raise DataNotFoundError(f'dataset="ifeval" needs the file {_FILE!r}. {how}')
    folder = Path(given).expanduser()
    for path in (folder / "ifeval" / _FILE, folder / _FILE):
        if path.is_file():
            return str(path)
    raise DataNotFoundError(f"There is no file {_FILE!r} in {str(folder)!r}, and none in its folder ifeval. {how}")


@functools.lru_cache(maxsize=2)
def public_tasks(path: str) -> FiniteTasks:
    """All prompts, with their numbers in the file as keys.

    Raises:
        DataError: a row cannot be used.
    """
    return FiniteTasks([_task(where, row) for where, row in read_file(Path(path))])


def _task(where: str, row: Mapping[str, Any]) -> Task:
    try:
        kinds, given = row["instruction_id_list"], row["kwargs"]
        # On the hub, every row has every argument, and those of other kinds are None.
        arguments = [{name: value for name, value in each.items() if value is not None} for each in given]
        constraints = tuple(zip(kinds, arguments, strict=True))
        unknown = [kind for kind in kinds if kind not in CHECKS]
        if unknown:
            raise DataError(f"{where}: there is no kind of constraint {unknown[0]!r}. There are {', '.join(CHECKS)}.")
        return Task(key=str(row["key"]), prompt=row["prompt"], metadata={"constraints": constraints})
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{where}: the row lacks what a prompt needs: {error!r}. It has a key, a prompt, an instruction_id_list "
            "and as many kwargs."
        ) from error
