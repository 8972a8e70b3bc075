"""The virtual files, against plain Python."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgym.errors import ConfigError
from llmgym.messages import ToolCall
from llmgym.tools import Files

TREE = {"notes.txt": "one\ntwo\nthree", "src/a.py": "x = 1\n", "src/lib/b.py": "y = 2\n"}


def ask(tool, command, **arguments):
    return tool.call(ToolCall("files", {"command": command, **arguments})).content


def test_files_are_listed_read_written_and_replaced():
    tool = Files(TREE)

    assert ask(tool, "list", path="src").splitlines() == ["src/a.py (6 characters)", "src/lib/b.py (6 characters)"]
    assert ask(tool, "read", path="/src/./lib/../a.py") == "x = 1\n"
    assert ask(tool, "read", path="notes.txt", first_line=2, num_lines=1) == "two\n"
    assert ask(tool, "write", path="new/c.txt", text="é") == "wrote 1 characters to new/c.txt"
    ask(tool, "replace", path="src/a.py", old="1", new="11")
    assert tool.texts == {**TREE, "new/c.txt": "é", "src/a.py": "x = 11\n"}


@pytest.mark.parametrize(
    ("command", "arguments", "problem"),
    [
        ("read", {}, "read needs 'path'"),
        ("read", {"path": "/"}, "read needs 'path'"),
        ("write", {"path": "a"}, "write needs 'text'"),
        ("replace", {"path": "notes.txt", "old": "one"}, "replace needs 'new'"),
        ("delete", {"path": "a"}, 'must be one of "list", "read", "write", "replace"'),
        ("read", {"path": "none.txt"}, "there is no file none.txt"),
        ("read", {"path": "src"}, "src is a folder"),
        ("read", {"path": "notes.txt", "first_line": 4}, "notes.txt has 3 lines"),
        ("read", {"path": "../etc/passwd"}, "leads out"),
        ("read", {"path": "/../etc/passwd"}, "leads out"),
        ("list", {"path": "notes.txt"}, "notes.txt is a file"),
        ("list", {"path": "none"}, "there is no folder none"),
        ("write", {"path": "src", "text": ""}, "src is a folder"),
        ("write", {"path": "notes.txt/deep/er", "text": ""}, "notes.txt is a file, so"),
        ("write", {"path": "new", "text": ""}, "there may be no more"),
        ("write", {"path": "notes.txt", "text": "x" * 51}, "51 characters, at most 50"),
        ("replace", {"path": "notes.txt", "old": "one", "new": "x" * 50}, "60 characters, at most 50"),
        ("replace", {"path": "notes.txt", "old": "e", "new": ""}, "exactly once, but is there 3 times"),
        ("replace", {"path": "notes.txt", "old": "", "new": ""}, "is there 0 times"),
    ],
)
def test_a_mistake_is_named_and_changes_nothing(command, arguments, problem):
    tool = Files(TREE, max_files=3, max_file_chars=50)

    content = ask(tool, command, **arguments)

    assert content.startswith("error: ")
    assert problem in content
    assert tool.texts == TREE


def test_read_only_files_cannot_be_written():
    tool = Files(TREE, is_read_only=True)

    assert 'must be one of "list", "read", not "write"' in ask(tool, "write", path="a", text="")
    assert "new" not in tool.parameters["properties"]


def test_every_episode_begins_with_the_same_files_and_a_copy_has_its_own():
    tool = Files(TREE)
    ask(tool, "write", path="a", text="")
    copied, begun = copy.deepcopy(tool), tool.begin(None)
    ask(copied, "write", path="b", text="")

    assert (set(copied.texts) - set(TREE), set(tool.texts) - set(TREE)) == ({"a", "b"}, {"a"})
    assert begun.texts == TREE


@given(st.text("abc\n\r\u2028", max_size=12), st.integers(1, 4))
def test_reading_by_parts_reads_the_whole(text, step):
    tool = Files({"f": text})
    num_lines = max(1, len(text.splitlines()))

    parts = [ask(tool, "read", path="f", first_line=line, num_lines=step) for line in range(1, num_lines + 1, step)]

    assert "".join(parts) == text


def test_no_files_are_no_mistake():
    assert ask(Files(), "list") == "there are no files"


def test_a_file_that_could_not_be_reached_is_not_laid_down():
    with pytest.raises(ConfigError, match=r"\.\./a leads out"):
        Files({"../a": ""})
