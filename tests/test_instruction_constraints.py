"""IFEval's 25 kinds of constraints, strict and loose, and what counts as an honest attempt."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmgym.envs.instruction_following.constraints import CHECKS, OF_ENGLISH_TEXT, OF_LANGUAGE, follows, follows_loosely
from llmgym.envs.instruction_following.languages import language_of
from llmgym.envs.instruction_following.quality import quality_problem
from llmgym.envs.instruction_following.sentences import num_sentences, word_tokens

# Texts of our own, near the borders of each kind; verdicts are those of the published checks (langdetect's seed is 0).
JUDGED = [
    json.loads(line)
    for line in (Path(__file__).parent / "support" / "instruction_verdicts.jsonl").read_text("utf-8").splitlines()
]
HONEST = (
    "Our lighthouse stands where the coast bends to the north. Fishermen trusted its lamp for two hundred years, until "
    "radios came. Today a young couple lives there and sells postcards."
)


@pytest.fixture
def packages(require):
    there = all(importlib.util.find_spec(name) for name in ("langdetect", "nltk"))
    require("ifeval", there, "langdetect or nltk is not installed")


@pytest.mark.parametrize("kind", CHECKS)
def test_verdicts_are_the_published_ones(kind, request):
    if kind in OF_LANGUAGE | OF_ENGLISH_TEXT:
        request.getfixturevalue("packages")
    cases = [case for case in JUDGED if case["kind"] == kind]

    assert len(cases) >= 10
    for case in cases:
        text, arguments = case["text"], case["arguments"]
        verdicts = follows(text, kind, arguments), follows_loosely(text, kind, arguments)
        assert verdicts == (case["strict"], case["loose"]), case


@pytest.mark.parametrize("kind", [kind for kind in CHECKS if kind not in OF_LANGUAGE | OF_ENGLISH_TEXT])
def test_a_blank_text_keeps_no_constraint(kind):
    arguments = next(case["arguments"] for case in JUDGED if case["kind"] == kind)

    assert not any(check(" \n", kind, arguments) for check in (follows, follows_loosely))


@given(st.text(alphabet="[]a\n ", max_size=30), st.integers(0, 4))
def test_placeholders_are_counted_as_by_the_published_expression(text, least):
    by_definition = len(re.findall(r"\[.*?\]", text)) >= least

    kept = follows(text, "detectable_content:number_placeholders", {"num_placeholders": least})

    assert kept == (by_definition and bool(text.strip()))


@given(st.text(alphabet="Part 12\nx", max_size=30), st.integers(0, 3))
def test_sections_are_counted_as_by_the_published_expression(text, least):
    by_definition = len(re.split(r"\s?Part\s?\d+\s?", text)) - 1 >= least

    kept = follows(text, "detectable_format:multiple_sections", {"section_spliter": "Part", "num_sections": least})

    assert kept == (by_definition and bool(text.strip()))


@given(st.text(alphabet="<>a \n", max_size=30))
def test_titles_are_found_as_by_the_published_expression(text):
    by_definition = any(title.lstrip("<").rstrip(">").strip() for title in re.findall(r"<<[^\n]+>>", text))

    assert follows(text, "detectable_format:title", {}) == by_definition


def test_a_letter_that_is_none_stands_for_itself():
    arguments = {"letter": "#", "let_relation": "at least", "let_frequency": 2}

    assert [follows(text, "keywords:letter_frequency", arguments) for text in ("# #", "# a")] == [True, False]


def test_the_language_of_digits_is_unknown_and_the_setting_decides(packages):
    for kind, arguments in (("language:response_language", {"language": "de"}), ("change_case:english_capital", {})):
        text = "42" if "response" in kind else "42 X"
        verdicts = [follows(text, kind, arguments, unknown_passes=passes) for passes in (True, False)]
        assert verdicts[1] is False
        assert kind != "language:response_language" or verdicts[0] is True


def test_the_guess_of_a_language_is_the_same_every_time(packages):
    assert len({language_of("la me so do it") for _ in range(20)}) == 1
    assert language_of("Das ist ein schöner Tag, und wir gehen nach Hause.") == "de"
    assert language_of("12 + 30") is None


def test_sentences_and_words_are_nltks(packages):
    text = "Dr. Smith left at noon. She didn't say why! Was it the rain? NASA knows."

    assert num_sentences(text) == 4
    assert [word for word in word_tokens(text) if word.isupper()] == ["NASA"]
    assert word_tokens("I can't.") == ["I", "ca", "n't", "."]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (HONEST, None), ("A lighthouse.", "2 words"), ("lighthouse " * 40, "few words"),
        ("lighthouse 1 2 3 = # " * 30, "few words"), (f"{HONEST} {'%$ 12 ' * 60}", "no prose"),
        (" ".join([HONEST] * 4), "repeats itself"),
        (HONEST.replace("lighthouse", "tower"), "does not mention"),
    ],
)  # fmt: skip
def test_only_an_honest_attempt_is_one(text, problem):
    found = quality_problem(text, prompt="Write about a lighthouse.", topic="lighthouse")

    assert found is None if problem is None else problem in found


def test_a_copied_prompt_is_no_attempt():
    assert "copied" in quality_problem(HONEST, prompt=f"Please continue: {HONEST}", topic="lighthouse")
