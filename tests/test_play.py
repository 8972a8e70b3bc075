"""A person plays in the terminal."""

import io

import pytest

from llmgym.cli import main


def played(arguments, lines, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    code = main(["play", *arguments])
    return code, capsys.readouterr()


def test_a_person_calls_the_tool_and_answers(monkeypatch, capsys):
    _, printed = played(["llmgym/Calculator-v0", "--seed", "3"], [], monkeypatch, capsys)
    product = printed.out.splitlines()[0].removeprefix("user: ")
    left, right = product.split("*")

    answer = str(int(left) * int(right))
    turns = [f"<call>{product}</call>", answer]
    code, printed = played(["llmgym/Calculator-v0", "--seed", "3"], turns, monkeypatch, capsys)

    assert code == 0
    assert f"tool: {answer}" in printed.out
    assert printed.out.splitlines()[-2:] == ["answered, reward in all 1", f"the reference answer is {answer}"]


def test_the_end_of_input_gives_up_without_an_error(monkeypatch, capsys):
    code, printed = played(["llmgym/GuessNumber-v0", "--seed", "1"], ["1"], monkeypatch, capsys)

    assert code == 0
    assert printed.out.splitlines()[-1] == "given up"
    assert "reference answer" not in printed.out


@pytest.mark.parametrize(
    ("arguments", "words"), [(["llmgym/Nothing-v0"], "Nothing"), (["llmgym/Copy-v0", "--task", "none"], "'none'")]
)
def test_what_does_not_exist_is_named(arguments, words, monkeypatch, capsys):
    code, printed = played(arguments, [], monkeypatch, capsys)

    assert code == 2
    assert words in printed.err


def test_a_line_that_ends_in_a_backslash_goes_on_in_the_next(monkeypatch, capsys):
    arguments = ["llmgym/Copy-v0", "text=a\nb"]

    code, printed = played(arguments, ["a\\", "b"], monkeypatch, capsys)

    assert code == 0
    assert "reward 1" in printed.out
