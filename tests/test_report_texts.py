"""Texts in a report: what was sampled cannot end an element, and tokens show what they add."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import llmgym
from llmgym.messages.tokenizer import ByteTokenizer
from llmgym.report.page_data import script_safe_json
from llmgym.report.summary import sparkline
from llmgym.report.tables import text
from llmgym.report.token_texts import TokenTexts
from llmgym.training.tiny_model import build_character_tokenizer

TOKENIZER = ByteTokenizer()


@given(st.text(st.characters(exclude_categories=[]), max_size=40))
def test_data_is_ascii_that_cannot_end_its_element_and_reads_back(value: str) -> None:
    written = script_safe_json({value: [value, 1.5, None]})

    assert written.isascii()
    assert not set("<>&") & set(written)
    assert json.loads(written) == {value: [value, 1.5, None]}


@given(st.text(st.characters(exclude_categories=[]), max_size=40))
def test_markup_is_escaped_and_encodable(value: str) -> None:
    escaped = text(value)

    escaped.encode("utf-8")
    assert not set("<>\"'\x00") & set(escaped)


@given(st.text(max_size=30))
def test_tokens_that_share_a_character_show_it_at_the_first_of_them(value: str) -> None:
    ids = TOKENIZER.encode(value)
    texts = TokenTexts(TOKENIZER)

    joined = texts.joined(ids)

    assert "".join(joined.get(position, texts[token][0]) for position, token in enumerate(ids)) == TOKENIZER.decode(ids)


@given(st.binary(max_size=30))
def test_broken_bytes_are_shown_as_broken_and_lose_nothing_else(value: bytes) -> None:
    texts = TokenTexts(TOKENIZER)

    joined = texts.joined(list(value))

    shown = "".join(joined.get(position, texts[token][0]) for position, token in enumerate(value))
    assert shown.replace("\ufffd", "") == value.decode("utf-8", "replace").replace("\ufffd", "")


def test_control_tokens_go_by_their_names() -> None:
    ours = TokenTexts(TOKENIZER)
    theirs = TokenTexts(llmgym.load_tokenizer(build_character_tokenizer()))

    names = ["<pad>", "<end>", "<user>", "<263>"]
    assert [ours[token] for token in (256, 257, 259, 263)] == [(name, True) for name in names]
    assert theirs[1] == ("<end>", True)
    assert theirs[7] == (theirs._tokenizer.decode([7]), False)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], "▁▅█"),
        ([1.0, 1.0], "▅▅"),
        ([0.0, math.nan, 7.0], "▁?█"),
        ([math.nan], "?"),
        ([0.0, 2.0, 6.0, 8.0], "▁█"),
    ],
)
def test_a_course_is_drawn_from_its_lowest_to_its_highest_part(values: list[float], expected: str) -> None:
    assert sparkline(values, width=2 if len(values) == 4 else 3) == expected
