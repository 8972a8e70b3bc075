"""Every reference answer of the public sets is read, equals its other spellings, and nothing that looks like it."""

import json
import random

import pytest
from llmgym.envs.math.comparison import compare, problem_of_reference
from support.spellings import mutations, respellings

FILES = ("gsm8k_test", "gsm8k_train", "math500", "math_test", "math_train", "olympiadbench_en_math")
BROKEN = {"$t(0,4]$": "a stray letter before an interval: compared as text alone"}
"""Reference answers that cannot be read, with the reason."""


@pytest.fixture(scope="module")
def references(data_folder):
    found = {}
    for name in FILES:
        with (data_folder / "math" / "datasets" / f"{name}.jsonl").open(encoding="utf-8") as rows:
            found |= dict.fromkeys(json.loads(row)["answer"].rpartition("####")[2].strip() for row in rows)
    return [reference for reference in found if reference not in BROKEN]


def mistakes_on(references, count):
    """Right answers that were refused and wrong ones that were accepted, as (reference, answer) pairs."""
    refused = [
        (reference, text)
        for reference in references
        for text in (reference, *respellings(reference, count=count, seed=0))
        if not compare(text, reference).is_correct
    ]
    accepted = [
        (reference, text)
        for reference in references
        for text in mutations(reference, count=count, seed=0)
        if compare(text, reference).is_correct
    ]
    return refused, accepted


def test_every_reference_answer_is_read(references):
    assert {reference: problem for reference in references if (problem := problem_of_reference(reference))} == {}


def test_a_reference_that_cannot_be_read_is_named_with_a_reason():
    assert all(problem_of_reference(reference) for reference in BROKEN)


def test_reference_answers_equal_their_other_spellings_and_no_mutation(references):
    sample = random.Random(0).sample(references, 150)

    assert mistakes_on(sample, 10) == ([], [])


@pytest.mark.slow
def test_all_reference_answers_equal_20_other_spellings_and_none_of_20_mutations(references):
    assert all(len(respellings(reference, count=20, seed=0)) == 20 for reference in references)
    assert all(len(mutations(reference, count=20, seed=0)) == 20 for reference in references)
    assert mistakes_on(references, 20) == ([], [])
