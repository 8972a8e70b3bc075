"""Trees of files: what is laid down is what is read back, and what is nearly right is wrong."""

import pytest
from llmgym.envs.shell.comparison import difference
from llmgym.envs.shell.tree import Archive, File, Folder, Json, Link, Other, dump, lay, packed, unpack, with_folders
from support.sandboxes import sandbox_of

EXPECTED = {"a/one.txt": File(b"one\n"), "a/run.sh": File(b"#!\n", 0o755), "b/link": Link("../a/one.txt")}
NEAR_MISSES = {
    "the last newline is missing": ({"a/one.txt": File(b"one")}, "a/one.txt has another content"),
    "one more newline": ({"a/one.txt": File(b"one\n\n")}, "a/one.txt has another content"),
    "it cannot be executed": ({"a/run.sh": File(b"#!\n")}, "a/run.sh has other permissions"),
    "it can be executed": ({"a/one.txt": File(b"one\n", 0o744)}, "a/one.txt has other permissions"),
    "an extra file": ({"a/two.txt": File(b"")}, "a/two.txt should not be there"),
    "an extra folder": ({"c": Folder()}, "c should not be there"),
    "a hidden file": ({".x": File(b"")}, ".x should not be there"),
    "a copy in the link's place": ({"b/link": File(b"one\n")}, "b/link is no link to ../a/one.txt"),
    "a link in the file's place": ({"a/one.txt": Link("run.sh")}, "a/one.txt is no file that can be read"),
    "a link of another form": ({"b/link": Link("/work/a/one.txt")}, "b/link is no link to ../a/one.txt"),
    "a link in the folder's place": ({"a": Link("c")}, "a is no folder"),
    "a shut folder": ({"a": Folder(0)}, "a has other permissions"),
    "a pipe": ({"a/one.txt": Other()}, "a/one.txt is no file that can be read"),
}


def compared(expected, actual, **settings):
    return difference(expected, with_folders(actual), lambda data: {"f": data}, **settings)


@pytest.mark.parametrize("changes", NEAR_MISSES)
def test_nearly_right_is_wrong(changes):
    changed, problem = NEAR_MISSES[changes]

    assert compared(EXPECTED, EXPECTED) is None
    assert compared(EXPECTED, {**EXPECTED, **changed}) == problem


def test_what_is_missing_is_named():
    assert compared(EXPECTED, {"a/run.sh": EXPECTED["a/run.sh"]}) == "a/one.txt is missing"


def test_permissions_count_to_the_bit_only_where_they_are_the_task():
    readable = {**EXPECTED, "a/one.txt": File(b"one\n", 0o600)}

    assert compared(EXPECTED, readable) is None
    assert compared(EXPECTED, readable, exact_modes=True) == "a/one.txt has other permissions"


@pytest.mark.parametrize(
    ("text", "is_right"),
    [
        ('{"b": [1, true], "a": "x"}', True),
        ('\n{ "a":"x","b":[1,true]}', True),
        ('{"a": "x", "b": [1.0, true]}', False),
        ('{"a": "x", "b": [1, 1]}', False),
        ('{"a": "x", "b": [1, true], "c": null}', False),
        ('{"a": "x", "b": [1, true]', False),
        ("[" * 100_000, False),
        ("\udcff", False),
    ],
)
def test_json_is_compared_by_value_and_type(text, is_right):
    data = text.encode("utf-8", "surrogateescape")

    problem = compared({"f": Json({"a": "x", "b": [1, True]})}, {"f": File(data)})

    assert (problem is None) == is_right


def test_json_lines_are_compared_in_order():
    expected = {"f": Json([{"a": 1}, {"a": 2}], is_lines=True)}

    assert compared(expected, {"f": File(b'{"a":1}\n{"a":2}\n')}) is None
    assert compared(expected, {"f": File(b'{"a":2}\n{"a":1}\n')}) is not None


def test_an_archive_is_compared_by_its_files():
    assert compared({"x": Archive({"f": b"1"})}, {"x": File(b"1")}) is None
    assert compared({"x": Archive({"f": b"1"})}, {"x": File(b"2")}) == "x has another content"


@pytest.fixture(scope="module")
def sandbox(require):
    with sandbox_of("process", require) as opened:
        yield opened


@pytest.fixture
def session(sandbox):
    with sandbox.session() as opened:
        yield opened


def test_what_is_laid_down_is_what_is_read_back(session):
    tree = {
        "empty": Folder(0o750),
        "with space/\u00e4 'quoted' $x": File(bytes(range(256)), 0o600),
        "-n": File(b"", 0o755),
        "deep/er/link": Link("/nowhere/at all"),
    }

    lay(session, tree)

    assert dump(session) == with_folders(tree)
    assert session.command("stat -c %y -- -n").stdout.text.startswith("2024-01-01")


def test_files_that_were_made_by_chance_are_read_as_they_are(session):
    session.command("printf x > \"$(printf 'a\\nb\\377')\"; mkfifo pipe; mkdir scratch; touch scratch/mine")

    assert dump(session) == {"a\nb\udcff": File(b"x"), "pipe": Other()}


def test_names_that_are_no_text_are_told_as_text():
    assert compared({}, {"a\udcff": File(b"")}) == r"a\udcff should not be there"


def test_archives_are_read_in_the_sandbox_and_hold_files_alone(session):
    session.command(
        "mkdir d; echo 1 > d/f; ln -s f d/l; tar -czf good.tgz -C d ./f; tar -czf link.tgz d; echo > bad.tgz"
    )
    found = dump(session)

    assert unpack(session, packed({"a/b": b"1"}).data) == {"a/b": b"1"}
    assert unpack(session, found["good.tgz"].data) == {"f": b"1\n"}
    assert unpack(session, found["link.tgz"].data) is unpack(session, found["bad.tgz"].data) is None
