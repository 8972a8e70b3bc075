"""SQL on a copy of a database: what a statement may do, and what it cannot reach."""

import asyncio
import copy
import pickle
import re
import sqlite3
from contextlib import closing

import pytest

from llmgym.errors import DataNotFoundError
from llmgym.messages import ToolCall
from llmgym.tools import Sql, ToolError

SCRIPT = "CREATE TABLE city(name TEXT, people INTEGER); INSERT INTO city VALUES ('Rome', 3), ('Oslo', NULL);"
NUMBERS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c"


def ask(tool, statement):
    async def answer():
        return await tool.call(ToolCall("sql", {"statement": statement}))

    return asyncio.run(answer()).content


@pytest.fixture
def database(tmp_path):
    path = tmp_path / "cities #1.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCRIPT)
    return path


def test_rows_come_with_their_columns_and_their_number(database):
    content = ask(Sql(database), "SELECT name, people, x'00ff' AS code, 0.1 FROM city")

    assert content.splitlines() == [
        "name | people | code | 0.1",
        "Rome | 3 | x'00ff' | 0.1",
        "Oslo | NULL | x'00ff' | 0.1",
        "(rows: 2)",
    ]


def test_only_the_first_rows_are_shown():
    content = ask(Sql(max_rows=2), f"{NUMBERS}) SELECT x FROM c")

    assert content == "x\n1\n2\n(rows: the first 2 of more)"


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM city",
        "UPDATE city SET people = 0",
        "INSERT INTO city VALUES ('Bern', 1)",
        "DROP TABLE city",
        "CREATE TABLE t(a)",
        "CREATE TEMP TABLE t(a)",
        "ALTER TABLE city ADD COLUMN a",
    ],
)
def test_a_read_only_database_is_not_changed(statement):
    tool = Sql(script=SCRIPT)

    assert "a statement may only read the database" in ask(tool, statement)
    assert tool.connection.execute("SELECT count(*), max(people) FROM city").fetchone() == (2, 3)


@pytest.mark.parametrize("is_read_only", [True, False])
@pytest.mark.parametrize(
    "statement",
    [
        "ATTACH ':memory:' AS x",
        "ATTACH '/etc/passwd' AS x",
        "DETACH main",
        "VACUUM",
        "VACUUM INTO '{folder}/copy.db'",
        "PRAGMA query_only = 0",
        "PRAGMA writable_schema = 1",
        "PRAGMA max_page_count = 1000000",
        "BEGIN",
        "SAVEPOINT a",
        "SELECT load_extension('x')",
        "SELECT random()",
        "CREATE VIRTUAL TABLE v USING fts5(a)",
        "SELECT 1; DELETE FROM city",
        "SELECT printf('%.*c', 100000000, 'x')",
    ],
)
def test_nothing_beyond_the_database_can_be_reached_or_set(statement, is_read_only, tmp_path):
    content = ask(Sql(script=SCRIPT, is_read_only=is_read_only), statement.format(folder=tmp_path))

    assert content.startswith("error: ")
    assert any(words in content for words in ("may only read", "not authorized", "one statement at a time"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("SELEC 1", 'near "SELEC": syntax error'),
        ("SELECT * FROM land", "no such table: land"),
        ("SELECT \0 1", "null character"),
        (f"{NUMBERS}) SELECT count(*) FROM c", "the statement takes too long"),
        ("SELECT zeroblob(100000000)", "too big"),
        (f"SELECT {'(' * 300}1{')' * 300}", "error"),
        ("WITH " + "[" * 2_000_000, "longer than 20000 characters"),
        ("SELECT '" + "é" * 15_000 + "'", "too large"),
    ],
)
def test_a_mistake_is_named(statement, problem):
    content = ask(Sql(script=SCRIPT, max_instructions=100_000), statement)

    assert content.startswith("error: ")
    assert problem in content


def test_a_copy_can_be_changed_while_the_file_stays_as_it_was(database):
    before = database.read_bytes()
    tool = Sql(database, is_read_only=False)

    answers = [
        ask(tool, statement)
        for statement in (
            "UPDATE city SET people = 1",
            "ALTER TABLE city ADD COLUMN land TEXT",
            "CREATE INDEX i ON city(name)",
            "DELETE FROM city WHERE name = 'Oslo' RETURNING name",
        )
    ]

    assert answers == ["rows changed: 2", "rows changed: 0", "rows changed: 0", "name\nOslo\n(rows: 1)"]
    assert tool.connection.execute("SELECT * FROM city").fetchall() == [("Rome", 1, None)]
    assert database.read_bytes() == before


def test_a_copy_cannot_grow_beyond_its_size():
    tool = Sql(script=SCRIPT, is_read_only=False, max_mib=1)

    assert "full" in ask(tool, f"INSERT INTO city {NUMBERS}) SELECT hex(zeroblob(500)), x FROM c")
    assert tool.connection.execute("SELECT count(*) FROM city").fetchone() == (2,)


def test_the_schema_can_be_asked_for():
    tool = Sql(script=SCRIPT)

    assert "name | TEXT" in ask(tool, "PRAGMA table_info(city)")
    assert "CREATE TABLE city" in ask(tool, "SELECT sql FROM sqlite_master")


def test_every_episode_begins_with_the_same_database(database):
    tool = Sql(database, script="INSERT INTO city VALUES ('Bern', 2)", is_read_only=False)
    ask(tool, "DELETE FROM city")

    begun = tool.begin(None)

    assert ask(begun, "SELECT count(*) FROM city") == "count(*)\n3\n(rows: 1)"
    begun.close()
    begun.close()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda tool: pickle.loads(pickle.dumps(tool))])
def test_a_copy_of_the_tool_has_a_database_of_its_own(duplicate):
    tool = Sql(script=SCRIPT, is_read_only=False)
    ask(tool, "DELETE FROM city WHERE name = 'Oslo'")
    copied = duplicate(tool)
    ask(copied, "DELETE FROM city")

    count = "SELECT count(*) FROM city"
    assert (ask(copied, count), ask(tool, count)) == ("count(*)\n0\n(rows: 1)", "count(*)\n1\n(rows: 1)")


def test_limits_of_statements_do_not_hold_for_whoever_checks_them():
    tool = Sql(script="CREATE TABLE t AS SELECT 'abcde' AS a", max_value_chars=5)

    assert "too big" in ask(tool, "SELECT a || 'f' FROM t")
    assert tool.connection.execute("SELECT a || 'f', typeof(random()) FROM t").fetchone() == ("abcdef", "integer")


def test_a_database_that_is_broken_is_no_mistake_of_the_policy(database):
    database.write_bytes(b"SQLite format 3\0" + b"?" * 5000)

    tool = Sql(database)

    for _ in range(2):  # the second time it once was an empty database
        with pytest.raises(sqlite3.DatabaseError):
            ask(tool, "SELECT 1")


def test_a_database_that_is_not_there_is_missed_at_once(tmp_path):
    with pytest.raises(DataNotFoundError, match="no database"):
        Sql(tmp_path / "none.db")


def test_a_statement_that_is_no_text_is_answered():
    assert "half of a character" in ask(Sql(), "SELECT '\ud800'")


def test_rows_can_be_had_as_they_are():
    tool = Sql(script=SCRIPT)

    assert tool.fetch("SELECT name, people FROM city", max_rows=1) == (["name", "people"], [("Rome", 3)])
    with pytest.raises(ToolError, match="2 columns, more than 1"):
        tool.fetch("SELECT name, people FROM city", max_rows=1, max_columns=1)


def doubling(count, name="a{}", form="{} AS ({})"):
    """Expressions of which each names the one before twice."""
    one = form.format(name.format(0), "SELECT 1 AS x")
    more = (
        form.format(name.format(n), f"SELECT p.x FROM {name.format(n - 1)} p, {name.format(n - 1)} q")
        for n in range(1, count)
    )
    return f"WITH {', '.join((one, *more))} SELECT count(*) FROM {name.format(count - 1)}"


@pytest.mark.parametrize(
    "name", ["a{}", '"a {}"', "[a{}]", "`A{}`", "é{}", "\u00a0{}", "€{}", "a{} /* AS ( */", "a{}(x)"]
)
@pytest.mark.parametrize("form", ["{} AS ({})", "{} as NOT materialized\n({})", "{}/**/AS/**/({})"])
def test_expressions_that_would_grow_without_end_are_refused(name, form):
    with_columns = name.endswith("(x)")

    statement = doubling(40, name.removesuffix("(x)"), form.replace("{}", "{}(x)", 1) if with_columns else form)

    assert "after WITH are named more than" in ask(Sql(), statement)
    assert "rows: 1" in ask(Sql(), doubling(6)), "a few are fine"


def test_expressions_in_each_other_are_counted_too():
    nested = "SELECT 1"
    for n in range(30):
        nested = f"WITH a{n} AS ({nested}) SELECT * FROM a{n} JOIN a{n}"

    assert "after WITH" in ask(Sql(), nested)
    assert "after WITH" in ask(Sql(), re.sub("a[0-9]+", "a", nested)), "also where all of them have one name"


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 'with a as (' || count(*) || ')' AS x FROM city",
        f"{NUMBERS} LIMIT 5) SELECT sum(x) AS x FROM c",
        "WITH a AS (SELECT 1 AS a), b AS (SELECT a FROM a) SELECT b.a, a.a FROM a, b",
        "WITH a(x) AS (SELECT name FROM city) SELECT x AS a FROM a WHERE x IN (SELECT x FROM a)",
        "SELECT sum(people) OVER w FROM city WINDOW w AS (ORDER BY name)",
        "SELECT ')' AS a, '(' AS b -- WITH x AS (",
    ],
)
def test_ordinary_expressions_are_run(statement):
    assert "(rows: " in ask(Sql(script=SCRIPT), statement)
