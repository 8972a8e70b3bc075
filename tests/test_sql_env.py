"""SQL questions as episodes: what earns the reward, what does not, and what a hostile query cannot do."""

import asyncio
import sqlite3
from contextlib import closing
from inspect import isawaitable

import numpy as np
import pytest
from llmgym.envs.sql import FAMILIES, SQLEnv
from llmgym.envs.sql.database import generate
from llmgym.envs.sql.families import VALUE_FAMILIES

import llmgym
from llmgym.episode import Task
from llmgym.errors import ConfigError, VerifierError
from llmgym.messages import AssistantMessage, ToolCall

RNG = np.random.default_rng(0)
NUMBERS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c"


def step(env, turn):
    """The response to a text, or to a call."""
    if isinstance(turn, ToolCall):
        turn = AssistantMessage("", tool_calls=(turn,))
    response = env.step(turn if isinstance(turn, AssistantMessage) else AssistantMessage(turn))

    async def answered():
        return await response

    return asyncio.run(answered()) if isawaitable(response) else response


def begin(family="not_from", index=0, form="query", **settings):
    env = SQLEnv(families=[family], form=form, **settings)
    task = env.tasks("train")[index]
    env.reset(task, RNG)
    return env, task


def score_of(answer, *args, **settings):
    """The score of an answer, or of what a function makes of the task."""
    env, task = begin(*args, **settings)
    response = step(env, answer(task) if callable(answer) else answer)
    env.close()
    assert response.terminated
    return response.score


def shown_rows(task):
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(generate(task.metadata["schema"], task.metadata["seed"]).script)
        return connection.execute(task.metadata["query"]).fetchall()


@pytest.mark.parametrize("family", FAMILIES)
def test_reference_turns_earn_the_reward(family):
    for form in ("query", "value") if family in VALUE_FAMILIES else ("query",):
        env, task = begin(family, form=form)
        *looks, end = [step(env, turn) for turn in env.solve(task)]

        assert not any(look.terminated or look.num_tool_errors for look in looks)
        assert (end.terminated, end.score.reward, end.score.reason) == (True, 1.0, "correct")
        env.close()


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_reference_turns_earn_the_reward_for_many_seeds_and_mistakes_never_do(family):
    for index in range(4):
        env, task = begin(family, index, form="any")
        question = [step(env, turn) for turn in env.solve(task)][-1]
        assert question.score.reward == 1.0
        env.reset(task, RNG)
        assert step(env, "SELECT 42").score.reward == 0.0
        if task.metadata["form"] == "query":
            env.reset(task, RNG)
            assert step(env, literal(shown_rows(task))).score.reward == 0.0
        env.close()


def literal(rows):
    """A query that holds these rows."""

    def written(value):
        return "NULL" if value is None else "'" + value.replace("'", "''") + "'" if isinstance(value, str) else value

    return "VALUES " + ", ".join(f"({', '.join(str(written(value)) for value in row)})" for row in rows)


@pytest.mark.parametrize("family", ["not_from", "share_of_groups", "running_total", "average"])
def test_the_right_rows_written_down_earn_nothing_because_other_databases_have_others(family):
    score = score_of(lambda task: literal(shown_rows(task)), family)

    assert (score.reward, "another database" in score.reason) == (0.0, True)


def test_without_hidden_databases_the_right_rows_pass():
    assert score_of(lambda task: literal(shown_rows(task)), num_hidden=0).reward == 1.0


@pytest.mark.parametrize(
    "rewrite",
    [
        "{query};",
        "  {query} -- done\n",
        "/* the answer */ {query}",
        "```sql\n{query}\n```",
        "Here it is:\n```SQL\nSELECT 1\n```\nno, this:\n```\n{query}\n```\nGood.",
        "<think>SELECT 1</think>{query}",
        "Answer: {query}",
        "SELECT * FROM ({query}) ORDER BY 1 DESC",
        "WITH x(anything) AS ({query}) SELECT anything FROM x",
    ],
)
def test_another_form_of_the_right_query_is_right(rewrite):
    assert score_of(lambda task: rewrite.replace("{query}", task.answer)).reward == 1.0


@pytest.mark.parametrize(
    ("rewrite", "reason"),
    [
        ("{query} LIMIT 5", "other rows"),
        ("{query} UNION ALL {query}", "other rows"),
        ("SELECT *, 1 FROM ({query})", "columns"),
        ("SELECT * || '' FROM ({query})", "syntax"),
        ("SELECT CAST(a AS TEXT) FROM (SELECT * FROM ({query}))", "no such column"),
        ("SELECT 1; {query}", "one statement"),
        ("{query}; DROP TABLE x", "one statement"),
        ("EXPLAIN {query}", "columns"),
        ("```sql\n{query}\n```\n```sql\nSELECT 1\n```", "other rows"),
        ("SELECT 42", "other rows"),
        ("-- {query}", "columns"),
        ("", "no query"),
        ("I do not know", "syntax"),
        ("<think>{query}", "no query"),
    ],
)
def test_a_near_miss_earns_nothing(rewrite, reason):
    score = score_of(lambda task: rewrite.replace("{query}", task.answer))

    assert score.reward == 0.0
    assert reason in score.reason


def test_rows_in_another_order_are_wrong_only_where_an_order_is_asked_for():
    def backwards(task):
        return f"SELECT * FROM ({task.answer}) ORDER BY 1 DESC, 2 DESC"

    assert score_of(backwards, "running_total").reward == 0.0
    assert score_of(backwards, "month_of_events").reward == 1.0


@pytest.mark.parametrize(
    "query",
    [
        f"{NUMBERS}) SELECT x FROM c",
        f"{NUMBERS}) SELECT COUNT(*) FROM c",
        "SELECT COUNT(*) FROM sqlite_master a, (" + NUMBERS + " LIMIT 100000) SELECT x FROM c) b, (" + NUMBERS
        + " LIMIT 100000) SELECT x FROM c) d",
        "SELECT " + ", ".join("replace(hex(zeroblob(9999)), '0', '1234')" for _ in range(500)),
        "SELECT zeroblob(2000000000)",
        "WITH a0 AS (SELECT 1 x)" + "".join(f", a{n} AS (SELECT p.x FROM a{n - 1} p, a{n - 1} q)" for n in range(1, 40))
        + " SELECT * FROM a39",
        "ATTACH '/etc/passwd' AS x",
        "PRAGMA writable_schema = 1",
        "PRAGMA database_list",
        "SELECT load_extension('/lib/x.so')",
        "SELECT readfile('/etc/passwd')",
        "DROP TABLE customers",
        "CREATE TABLE x(a)",
        "INSERT INTO sqlite_master SELECT * FROM sqlite_master",
        "VACUUM INTO '/tmp/llmgym-vacuum.db'",
        "BEGIN",
        "SELECT sql FROM sqlite_master",
        "SELECT 1 /*",
        "SELECT '",
        "\0",
        "SELECT 1\0; SELECT 2",
        "(" * 5000,
        "SELECT " + "1+" * 3000 + "1",
        "\ud800",
        "x" * 100_000,
    ],
)  # fmt: skip
def test_a_hostile_query_ends_the_task_with_nothing(query):
    settings = {"max_instructions": 200_000}
    assert score_of(query, **settings).reward == 0.0
    env, task = begin(**settings)
    assert step(env, ToolCall("submit", {"answer": query})).score.reward == 0.0
    env.reset(task, RNG)
    assert step(env, task.answer).score.reward == 1.0, "the next episode is as good as new"


def test_the_tool_reads_and_never_writes():
    env, task = begin()
    table = env.solve(task)[0]

    assert "CREATE TABLE" in step(env, table).messages[0].content
    assert "may only read" in step(env, ToolCall("sql", {"statement": "CREATE TABLE x(a)"})).messages[0].content


def test_a_reference_that_cannot_be_run_is_an_error_and_no_reward():
    env, task = begin()
    broken = Task(key="x", prompt="?", answer="SELECT", metadata={**task.metadata, "query": "SELECT no FROM nowhere"})
    env.reset(broken, RNG)

    with pytest.raises(VerifierError, match="reference"):
        step(env, "SELECT 1")


@pytest.mark.parametrize(
    ("rewrite", "reward"),
    [
        ("{}", 1.0), (" {} \n", 1.0), ("Answer: {}", 1.0), ("I counted.\nAnswer: {}", 1.0), ("{}%", 1.0), ("-{}", 0.0),
        ("{}1", 0.0), ("It is {}", 0.0), ("{} or 3", 0.0), ("1 {}", 0.0), ("", 0.0), ("nan", 0.0), ("inf", 0.0),
        ("SELECT {}", 0.0), ("1e400", 0.0), ("9" * 5000, 0.0),
    ],
)  # fmt: skip
def test_a_value_is_read_as_one_number(rewrite, reward):
    score = score_of(lambda task: rewrite.format(task.answer), "different_pairs", form="value")

    assert score.reward == reward


@pytest.mark.parametrize(("change", "reward"), [(0.009, 1.0), (-0.009, 1.0), (0.02, 0.0), (-1, 0.0)])
def test_a_fraction_may_be_rounded_to_two_places(change, reward):
    env = SQLEnv(families=["average"], form="value")
    task = next(task for index in range(20) if "." in (task := env.tasks("train")[index]).answer)
    env.reset(task, RNG)

    assert step(env, str(float(task.answer) + change)).score.reward == reward


def test_the_schema_can_be_shown_and_the_wording_is_the_users():
    env = SQLEnv(show_schema=True, system_prompt="", prompt_template="Q: {prompt}")
    task = env.tasks("train")[0]
    (message,) = env.reset(task, RNG).messages

    assert message.content.startswith("CREATE TABLE")
    assert message.content.endswith(f"Q: {task.prompt}")


@pytest.mark.parametrize(
    "settings",
    [
        {"families": ["nothing"]},
        {"families": []},
        {"form": "rows"},
        {"form": "value", "families": ["not_from"]},
        {"num_hidden": 3},
        {"dataset": "x.jsonl"},
        {"database": "x.db"},
        {"columns": {"prompt": "q"}},
        {"dataset": "x.jsonl", "database": "x.db", "columns": {"colour": "q"}},
        {"dataset": "x.jsonl", "database": "x.db", "form": "query"},
        {"prompt_template": "no place"},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ConfigError):
        SQLEnv(**settings)


@pytest.mark.slow
def test_it_keeps_the_promises_of_an_environment():
    report = llmgym.check_env("llmgym/SQL-v0", num_tasks=8)

    assert {"reference", "cheap answers", "splits", "leaks"} <= set(report.passed)
