"""Where the program stands in an answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmgym.envs.code.extraction import extract, last_block, render

FENCE = "```"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```python\nx = 1\n```", "x = 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("  ```py\nx = 1\n  ```  ", "x = 1\n"),
        ("first\n```\nx = 1\n```\nthen\n```python\nx = 2\n```\nend", "x = 2\n"),
        ("```python\nx = 1\n```\n```python\nx = 2", "x = 1\n"),
        ("```python\nx = 1", None),
        ("x = 1", None),
        ("```python\n```", None),
        ("````\n```\nx\n```\n````", "```\nx\n```\n"),
        ('```python\ndef f():\n    """\n    ```\n    """\n```', 'def f():\n    """\n    ```\n    """\n'),
        ("1. So:\n   ```python\n   if x:\n       y()\n   ```", "if x:\n    y()\n"),
        ("```python\r\nx = 1\r\ny = 2\r\n```\r\n", "x = 1\ny = 2\n"),
        ("```python\nx = 'a\u2028b\x0c'\n```", "x = 'a\u2028b\x0c'\n"),
        ("```python\nif x:\n\ty()\n```", "if x:\n\ty()\n"),
        ("Use ```x = 1``` or\n```x = 1```\n```\nx = 2\n```", "x = 2\n"),
        ("```python\nx = 1\n```<think>\n```\nx = 2\n```\n</think>", "x = 1\n"),
        ('```python\ntext = """\n```js\n"""\n```', 'text = """\n```js\n"""\n'),
        ("<think>\n```\nx = 1\n```\n</think>", None),
        ("<think>\n```\nx = 1\n```\n</think>\n```\nx = 2\n```", "x = 2\n"),
    ],
)
def test_the_program_is_the_last_block_that_is_closed(text, code):
    assert extract(text, "last_block") == code


def test_the_whole_answer_can_be_the_program():
    assert extract("<think>how?</think>x = 1\n", "whole") == "x = 1\n"
    assert extract("  \n", "whole") is None


@given(st.text(st.characters(exclude_categories=["Cs", "Zl", "Zp", "Cc"], exclude_characters="`\x85"), min_size=1))
def test_what_is_rendered_is_extracted(line):
    if line.strip():
        assert extract(render(f"x = 1\n{line}", "last_block"), "last_block") == f"x = 1\n{line.rstrip()}\n"


@given(st.text("`\n a"))
def test_any_text_has_a_last_block_or_none(text):
    block = last_block(text)

    assert block is None or block.strip("\n") in "\n".join(text.splitlines())
