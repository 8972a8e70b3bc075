"""The verifier against labelled cases, right answers and wrong ones, honest and hostile."""

import importlib.util
import json
import os

import pytest
from llmgym.envs.math import MathVerifier

from llmgym.episode import Task
from llmgym.messages import AssistantMessage


@pytest.fixture(autouse=True)
def _math_verify(require):
    require("math", importlib.util.find_spec("math_verify"), "math-verify is not installed")


def verdicts(path):
    """(case, whether it was found correct) for each case; an exception fails the test."""
    verifier = MathVerifier()
    found = []
    for case in map(json.loads, path.read_text(encoding="utf-8").splitlines()):
        text = case["response"] if case["form"] == "response" else rf"The final answer is \boxed{{{case['response']}}}."
        score = verifier(AssistantMessage(text), Task(key=case["id"], prompt="", answer=case["gold"]))
        found.append((case, score.reward == 1.0))
    return found


def test_no_wrong_answer_among_the_labelled_cases_is_accepted_and_most_right_ones_in_a_box_are(data_folder):
    found = verdicts(data_folder / "math" / "cases.jsonl")

    assert [case["id"] for case, is_correct in found if is_correct and not case["expected"]] == []
    boxed = [is_correct for case, is_correct in found if case["expected"] and is_boxed(case)]
    assert sum(boxed) / len(boxed) >= 0.9


def is_boxed(case):
    return case["form"] == "answer" or "boxed" in case["response"]


def test_hostile_answers_neither_raise_nor_run_nor_pass(data_folder):
    found = verdicts(data_folder / "math" / "adversarial.jsonl")

    assert [case["id"] for case, is_correct in found if is_correct != case["expected"]] == []
    assert not {"LLMGYM_PWNED", "LLMGYMPWNED"} & os.environ.keys()
