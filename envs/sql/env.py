"""Questions over SQLite databases, answered by queries or by values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import numpy as np

from llmgym.episode import (
    EnvResponse,
    FiniteTasks,
    GeneratedTasks,
    InitialMessages,
    Limits,
    Task,
    TaskSource,
    ToolEnv,
)
from llmgym.errors import ConfigError, DataError, VerifierError
from llmgym.messages import AssistantMessage, ToolCall
from llmgym.scoring import Score
from llmgym.tools import Sql, Submit, Tool

from ..math.extraction import visible_text
from ..math.problem_set import ProblemSet, accept_all
from ..prompt import PromptWording
from .database import generate
from .families import FAMILIES, VALUE_FAMILIES
from .generate import VARIANTS, generated_task
from .own_data import database_file, question_task, thinning
from .results import why_wrong

DEFAULT_SYSTEM_PROMPT = (
    "Answer the question about a SQLite database. Look at it with the tool `sql`: SELECT sql FROM sqlite_master tells "
    "its tables. When you know the answer, call `submit` with it, or write it as your message. A query is run on this "
    "database and on others with the same tables and other rows."
)
_EXPLORE = "SELECT sql FROM sqlite_master"
_NUMBER = re.compile(r"[-+]?(\d{1,3}(,\d{3})+|\d+)?(\.\d+)?%?")
_VALUE_TOLERANCE = 0.01
_FENCE = re.compile(r"```(?:sql|sqlite)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)
_MAX_ANSWER = 20_000
"""Characters; nothing longer is looked at."""


class SQLEnv(ToolEnv):
    """Questions over generated SQLite databases, or over one's own; the policy may explore first.

    A query is judged by what it gives: the same rows as the reference query's, as a multiset, or in order where the
    question asks for one, on the database and on hidden ones of the same schema with other rows. So a query that
    holds the result instead of finding it earns nothing, and generated tasks are such that the usual misreadings of
    each question differ on one of these databases. Columns are compared by place, not by name; NULL equals NULL
    alone; numbers within 1e-6. A value is judged within 0.01 where it is a fraction.

    A query that fails, changes anything, holds several statements, or takes too long earns nothing. Of an answer in
    several code blocks, the last one counts.

    Args:
        dataset: a .jsonl, .json or .parquet file, or an id of the Hugging Face hub, with a question and a reference
            query (or a plain answer) in each row. None: generated questions.
        test_dataset: the same for the test split. None: the hub's own test split, else a tenth of `dataset`.
        database: a SQLite file for all rows, or a folder with NAME.sqlite or NAME/NAME.sqlite for each database that
            rows name. Needed with `dataset`.
        columns: the columns of the data set, among "prompt", "query", "answer", "database" and "ordered". By default
            "question"; "query" or "sql"; "answer"; "db_id" or "database"; "ordered", without which the order of rows
            counts where the reference query has an ORDER BY.
        families: names of the families to generate from, see `FAMILIES`. None: all.
        form: what generated questions ask for: a "query", a "value", or "any" of the two.
        num_hidden: databases beside the shown one that a query is run on; for a database of one's own, copies from
            which rows were left out. From 0 to 2; generated questions are sound with 2.
        show_schema: put the CREATE statements into the prompt.
        max_rows: rows that the tool shows.
        max_instructions: of SQLite's virtual machine, for a statement; five million take about half a second.
        seed: of the generated supply.
        system_prompt: the system message; "" for none.
        prompt_template: the user message, with "{prompt}" where the question goes.

    Raises:
        ConfigError: a keyword is out of range.
    """

    default_limits = Limits(turns=12, turn_tokens=2048, episode_tokens=8192, context_tokens=24576)
    tools: Sequence[Tool] = (Sql(), Submit())

    def __init__(
        self,
        dataset: str | None = None,
        test_dataset: str | None = None,
        *,
        database: str | None = None,
        columns: Mapping[str, str] | None = None,
        families: Sequence[str] | None = None,
        form: Literal["query", "value", "any"] = "any",
        num_hidden: int = 2,
        show_schema: bool = False,
        max_rows: int = 30,
        max_instructions: int = 5_000_000,
        seed: int = 0,
        system_prompt: str = DEFAULT_SYSTEM_PROMPT,
        prompt_template: str = "{prompt}",
    ) -> None:
        if (dataset is None) != (database is None):
            raise ConfigError("dataset holds questions about database: give both of them, or none.")
        if dataset is None and (test_dataset is not None or columns):
            raise ConfigError(
                "test_dataset and columns describe a data set, but dataset is None. Name it in `dataset`."
            )
        if unknown := set(columns or {}) - {"prompt", "query", "answer", "database", "ordered"}:
            raise ConfigError(
                f'columns names {sorted(unknown)}, but it maps "prompt", "query", "answer", "database" and "ordered".'
            )
        if num_hidden not in range(len(VARIANTS)):
            raise ConfigError(f"num_hidden is {num_hidden!r}, but it must be from 0 to {len(VARIANTS) - 1}.")
        self._families, self._forms = _checked(dataset, families, form)
        self._problem_set = None
        if dataset is not None:
            named = tuple(sorted((columns or {}).items()))
            self._problem_set = ProblemSet(dataset, test_dataset, None, named, question_task, accept_all)
        self._database, self._num_hidden, self._show_schema, self._seed = database, num_hidden, show_schema, seed
        self._sql_settings: dict[str, Any] = {"max_rows": max_rows, "max_instructions": max_instructions}
        if dataset is None:
            self._sql_settings["max_value_chars"] = 2_000  # no generated database has a longer one
        self._wording = PromptWording(system_prompt, prompt_template)
        self._of_split: dict[str, FiniteTasks] = {}
        self._task: Task | None = None

    def tasks(self, split: str) -> TaskSource:
        """The tasks of "train" or "test".

        Raises:
            ConfigError: there is no such split.
            DataError: a row of the data set cannot be used, or its query cannot be run; DataNotFoundError: there is no
                such data set or database.
        """
        if self._problem_set is None:
            make = partial(generated_task, families=self._families, forms=self._forms, split=split)
            return GeneratedTasks(make, split=split, seed=self._seed)
        if split not in self._of_split:
            tasks = self._problem_set.tasks(split)
            for task in tasks:
                self._require_sound(task)
            self._of_split[split] = tasks
        return self._of_split[split]

    def reset(self, task: Task, rng: np.random.Generator) -> InitialMessages:
        self._task = task
        sql = Sql(**self._sources(task)[0], **self._sql_settings)
        self.tools = (sql, *(tool for tool in self.tools if not isinstance(tool, Sql)))
        self.begin_tools(rng)
        initial = self._wording.initial_messages(task)
        if not self._show_schema:
            return initial
        with _opened([sql]) as (database,):
            _, rows = database.fetch("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL", max_rows=1000)
        shown = "".join(f"{row[0]};\n" for row in rows)
        *before, question = initial.messages
        return InitialMessages((*before, type(question)("user", f"{shown}\n{question.content}")))

    def answer(self, message: AssistantMessage) -> EnvResponse:
        assert self._task is not None, "answer follows reset"
        task, said = self._task, _said(message.content)
        judge = self._judge_query if task.metadata["form"] == "query" else _judge_value
        reason = judge(said, task) if len(said) <= _MAX_ANSWER else f"longer than {_MAX_ANSWER} characters"
        score = Score(
            reward=float(not reason), extracted=said[:_MAX_ANSWER], expected=task.answer, reason=reason or "correct"
        )
        return EnvResponse(score=score, terminated=True)

    def solve(self, task: Task) -> Sequence[str | ToolCall]:
        """Look at the tables, run the reference query where there is one, and submit what is asked for."""
        assert task.answer is not None
        query = task.metadata["query"]
        looks = [_EXPLORE, query] if task.metadata["form"] == "value" and query else [_EXPLORE]
        return [*(ToolCall("sql", {"statement": look}) for look in looks), ToolCall("submit", {"answer": task.answer})]

    def _judge_query(self, query: str, task: Task) -> str:
        if not query:
            return "no query"
        databases = (Sql(**source, **self._sql_settings) for source in self._sources(task))
        with _opened(databases) as opened:
            return why_wrong(query, task.metadata["query"], opened, is_ordered=task.metadata["is_ordered"])

    def _sources(self, task: Task) -> list[dict[str, Any]]:
        """Of the shown database and the hidden ones, what `Sql` makes them of."""
        if self._database is None:
            chosen = VARIANTS[: 1 + self._num_hidden]
            return [
                {"script": generate(task.metadata["schema"], task.metadata["seed"], variant).script}
                for variant in chosen
            ]
        path = str(database_file(self._database, task.metadata["database"]))
        hidden = range(1, 1 + self._num_hidden)
        return [{"database": path}, *({"database": path, "script": thinning(path, place)} for place in hidden)]

    def _require_sound(self, task: Task) -> None:
        query = task.metadata["query"]
        if query is None:
            database_file(str(self._database), task.metadata["database"])
            return
        try:
            reason = self._judge_query(query, task)
        except VerifierError as error:
            reason = str(error)
        if reason:
            raise DataError(
                f"The question {task.prompt[:60]!r} cannot be used: {reason}. Mend its query, or leave the row out."
            )


@contextmanager
def _opened(databases: Any) -> Iterator[Iterator[Sql]]:
    """The databases one after another; each is closed when the next is asked for, and the last at the end."""
    current: list[Sql] = []

    def opened() -> Iterator[Sql]:
        for database in databases:
            for earlier in current:
                earlier.close()
            current[:] = [database]
            yield database

    try:
        yield opened()
    finally:
        for database in current:
            database.close()


def _said(content: str) -> str:
    """The answer in a message: its last code block, else what follows "Answer:" in the last line, else all of it."""
    text = visible_text(content).strip()
    blocks = _FENCE.findall(text)
    if blocks:
        return str(blocks[-1]).strip()
    marked = re.search(r"(?:^|\n)answer:([^\n]*)\Z", text, re.IGNORECASE)
    return (marked[1] if marked else text).strip()


def _judge_value(said: str, task: Task) -> str:
    expected, given = _number(str(task.answer)), _number(said)
    if expected is None:
        return "" if said.casefold() == str(task.answer).strip().casefold() else "another text"
    if given is None:
        return "not a number"
    tolerance = 1e-9 if expected.is_integer() else _VALUE_TOLERANCE + 1e-9
    return "" if math.isclose(given, expected, rel_tol=1e-12, abs_tol=tolerance) else "another number"


def _number(text: str) -> float | None:
    text = text.strip()
    if len(text) > 40 or not _NUMBER.fullmatch(text) or not re.search(r"\d", text):
        return None
    return float(text.replace(",", "").rstrip("%"))


def _checked(dataset: str | None, families: Sequence[str] | None, form: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The families and forms to generate from."""
    if form not in ("query", "value", "any"):
        raise ConfigError(f'form is {form!r}, but it must be "query", "value" or "any".')
    if dataset is not None:
        if families is not None or form != "any":
            raise ConfigError("families and form are of generated questions, but dataset is given. Leave them out.")
        return (), ()
    known = VALUE_FAMILIES if form == "value" else tuple(FAMILIES)
    names = known if families is None else (families,) if isinstance(families, str) else tuple(families)
    if not names or set(names) - set(known):
        raise ConfigError(f"families is {families!r}, but with form={form!r} each must be one of: {', '.join(known)}.")
    return names, ("query", "value") if form == "any" else (form,)
