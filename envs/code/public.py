"""Public sets of programming problems, from files or from the Hugging Face hub."""

import os
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from ..math.problem_set import ProblemSet, accept_all
from .data import CodeTaskOf
from .env import CodeEnv


class PublicCodeEnv(CodeEnv):
    """A public data set that comes in one piece.

    `dataset` is its file. None: the file of that name in the folder that the environment variable LLMGYM_DATA_DIR
    names, or the hub where it is not set. All keywords are those of `CodeEnv`.
    """

    file_name: ClassVar[str]
    hub_id: ClassVar[str]
    hub_split: ClassVar[str]

    @property
    @abstractmethod
    def split_of_row(self) -> Callable[[Mapping[str, Any]], str]:
        """From a row to the split that it belongs to."""

    def _source_of(
        self, dataset: str | None, test_dataset: str | None, config: str | None, num_visible: int
    ) -> ProblemSet | None:
        folder = os.environ.get("LLMGYM_DATA_DIR")
        return ProblemSet(
            dataset or (str(Path(folder) / self.file_name) if folder else self.hub_id),
            test_dataset,
            config,
            task_of=CodeTaskOf(num_visible),
            check=accept_all,
            divide=None if test_dataset else self.split_of_row,
            hub_split=self.hub_split,
        )


def _always_test(row: Mapping[str, Any]) -> str:  # noqa: ARG001  there is one split
    return "test"


def _by_task_id(row: Mapping[str, Any]) -> str:
    return "test" if 11 <= int(row["task_id"]) <= 510 else "train"


class HumanEvalEnv(PublicCodeEnv):
    """The 164 HumanEval problems (Chen et al. 2021, arXiv:2107.03374): a test split without a training split.

    Its tests are all hidden; the examples in the problems are none of them.
    """

    file_name, hub_id, hub_split = "humaneval.jsonl", "openai/openai_humaneval", "test"

    @property
    def split_of_row(self) -> Callable[[Mapping[str, Any]], str]:
        return _always_test


class MBPPEnv(PublicCodeEnv):
    """The 974 MBPP problems (Austin et al. 2021, arXiv:2108.07732), or with `dataset` their sanitized part.

    Test problems are those with a `task_id` from 11 to 510, as in the paper. Of the usual three tests two are shown.
    """

    file_name, hub_id, hub_split = "mbpp.jsonl", "google-research-datasets/mbpp", "train+validation+prompt+test"

    @property
    def split_of_row(self) -> Callable[[Mapping[str, Any]], str]:
        return _by_task_id
