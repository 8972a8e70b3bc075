"""Questions and databases of the user's."""

import json
import sqlite3
from contextlib import closing
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmgym.envs.sql import SQLEnv
from llmgym.envs.sql.own_data import ends_in_an_order, thinning
from llmgym.envs.sql.results import same_rows

from llmgym.errors import DataError, DataNotFoundError
from llmgym.messages import AssistantMessage

RNG = np.random.default_rng(0)
SCRIPT = """
CREATE TABLE singer(id INTEGER PRIMARY KEY, name TEXT, country TEXT);
CREATE TABLE concert(id INTEGER PRIMARY KEY, singer INTEGER REFERENCES singer(id), year INTEGER);
"""
ROWS = [
    {"question": "How many singers?", "query": "SELECT count(*) FROM singer", "db_id": "music"},
    {"question": "Years?", "query": "SELECT DISTINCT year FROM concert ORDER BY year", "db_id": "music"},
    {"question": "Who sings?", "query": "SELECT name FROM singer s JOIN concert c ON c.singer = s.id"},
    {"question": "How many concerts?", "answer": 40},
    {"question": "First singer?", "answer": "Singer 0"},
]


def make_database(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(SCRIPT)
        connection.executemany("INSERT INTO singer VALUES (?, ?, 'FR')", [(n, f"Singer {n}") for n in range(9)])
        connection.executemany("INSERT INTO concert VALUES (?, ?, ?)", [(n, n % 9, 2000 + n % 7) for n in range(40)])
    return path


@pytest.fixture
def make(tmp_path):
    def make(rows=ROWS, database=None, **settings):
        path = tmp_path / f"{abs(hash(json.dumps(rows)))}.jsonl"  # a file is read once in a process
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        database = database or make_database(tmp_path / "music.db")
        return SQLEnv(str(path), str(path), database=str(database), **settings)

    return make


def tasks_of(env):
    return {task.prompt.partition("\n")[0]: task for task in env.tasks("test")}


def reward(env, question, said):
    env.reset(tasks_of(env)[question], RNG)
    return env.answer(AssistantMessage(said)).score.reward


def test_rows_with_queries_and_rows_with_answers_are_judged_each_in_its_way(make):
    env = make()

    assert reward(env, "How many singers?", "SELECT 9") == 1.0, "no other table's row is left out, so it holds"
    assert reward(env, "Who sings?", "SELECT name FROM concert, singer WHERE singer.id = singer") == 1.0
    assert reward(env, "Who sings?", "SELECT name FROM singer") == 0.0
    assert [reward(env, "How many concerts?", said) for said in ("40", "40.0", "41")] == [1.0, 1.0, 0.0]
    assert [reward(env, "First singer?", said) for said in ("singer 0", "Singer")] == [1.0, 0.0]


def test_an_order_by_in_the_reference_asks_for_that_order_unless_the_row_says_otherwise(make):
    backwards = "SELECT DISTINCT year FROM concert ORDER BY year DESC"

    assert reward(make(), "Years?", backwards) == 0.0
    assert reward(make([{**ROWS[1], "ordered": False}]), "Years?", backwards) == 1.0


def test_rows_written_down_fail_on_a_copy_from_which_rows_were_left_out(make):
    listed = "VALUES " + ", ".join(f"('Singer {n % 9}')" for n in range(40))

    assert reward(make(), "Who sings?", listed) == 0.0
    assert reward(make(num_hidden=0), "Who sings?", listed) == 1.0


def test_a_thinned_copy_keeps_every_reference_whole(tmp_path):
    path = make_database(tmp_path / "music.db")

    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(thinning(str(path), 1))
        assert 10 < connection.execute("SELECT count(*) FROM concert").fetchone()[0] < 35
        assert connection.execute("SELECT count(*) FROM singer").fetchone() == (9,)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []


@pytest.mark.parametrize("place", ["music.sqlite", "music/music.sqlite", "music/music.db"])
def test_a_folder_holds_a_database_for_each_name(make, tmp_path, place):
    make_database(tmp_path / "all" / place)

    assert reward(make(ROWS[:2], tmp_path / "all"), "How many singers?", "SELECT count(id) FROM singer") == 1.0


def test_columns_can_be_named(make):
    row = {"q": "How many?", "gold": "SELECT count(*) FROM singer", "base": "music"}
    env = make([row], columns={"prompt": "q", "query": "gold", "database": "base"})

    assert reward(env, "How many?", "SELECT count(*) FROM singer") == 1.0


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"question": "?"}, "line 1.*query"),
        ({"query": "SELECT 1"}, "line 1.*problem"),
        ({"question": "?", "query": "SELECT nowhere FROM singer"}, "no such column"),
        ({"question": "?", "query": "DROP TABLE singer"}, "may only read"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(make, row, message):
    with pytest.raises(DataError, match=message):
        make([row]).tasks("test")


def test_a_database_that_is_not_there_is_named(make, tmp_path):
    with pytest.raises(DataNotFoundError, match="'music'"):
        make(ROWS[:1], tmp_path / "elsewhere").tasks("test")


def test_a_file_that_is_no_database_is_named(make, tmp_path):
    (tmp_path / "text.db").write_text("not a database, but a text that is long enough to be looked at" * 20)

    with pytest.raises(DataError, match=r"text\.db is not a SQLite database"):
        make(ROWS[:1], tmp_path / "text.db").tasks("test")


@pytest.mark.parametrize(
    ("query", "is_ordered"),
    [
        ("SELECT a FROM t ORDER BY a", True),
        ("select a from t order\n  by a limit 3", True),
        ("SELECT a FROM (SELECT a FROM t ORDER BY a LIMIT 3)", False),
        ("SELECT 'order by' FROM t", False),
        ("SELECT row_number() OVER (ORDER BY a) FROM t", False),
        ("SELECT a FROM t", False),
    ],
)
def test_an_order_counts_where_the_whole_result_has_it(query, is_ordered):
    assert ends_in_an_order(query) is is_ordered


VALUES = st.one_of(st.none(), st.integers(-3, 3), st.floats(-3, 3), st.sampled_from(["", "a", "b", "1"]), st.just(b"a"))
TABLES = st.lists(st.tuples(VALUES, VALUES), max_size=6)


@given(TABLES, st.randoms(use_true_random=False))
def test_shuffled_rows_are_the_same_rows_and_a_changed_one_is_not(rows, random):
    shuffled = random.sample(rows, len(rows))
    nudged = [tuple(v * (1 + 1e-9) if isinstance(v, float) else v for v in row) for row in shuffled]

    assert same_rows(rows, nudged, is_ordered=False)
    assert not same_rows(rows, [*shuffled, ("new", 1)], is_ordered=False)
    if rows:
        assert not same_rows(rows, [*shuffled[1:], ("new", 1)], is_ordered=False)
        assert not same_rows(rows, [*shuffled[1:], (*shuffled[0], None)], is_ordered=False)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [(1, 1.0, True), (1, "1", False), (None, 0, False), (None, "", False), (None, None, True), ("a", "A", False),
     ("a", b"a", False), (0.1 + 0.2, 0.3, True), (1e-9, 0, True), (1.00001, 1, False), (9e999, 9e999, True)],
)  # fmt: skip
def test_values_are_equal_as_it_is_written_down(one, other, is_same):
    assert same_rows([(one, 1)], [(other, 1)], is_ordered=False) is is_same
    assert same_rows([(one, 1)], [(other, 1)], is_ordered=True) is is_same


@given(TABLES, TABLES)
def test_rows_are_the_same_where_some_order_of_them_is(one, other):
    def by_definition():
        return any(same_rows(one[:4], list(order), is_ordered=True) for order in permutations(other[:4]))

    assert same_rows(one[:4], other[:4], is_ordered=False) == by_definition()
