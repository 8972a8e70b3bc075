"""The verifier against labelled cases, right answers and wrong ones, honest and hostile."""

import asyncio
import importlib.util
import json
import os
import random
import subprocess
import sys
import threading

import pytest
from llmgym.envs.math import Outcome, check, comparison

LABELS_WE_CONTEST = {
    "mc0142": "its last box holds 255, and what is stated after it is in no box; the last box is the answer",
}
"""Cases whose label departs from the conventions that stand beside it, with the reason."""


@pytest.fixture(autouse=True)
def _math_verify(require):
    require("math", importlib.util.find_spec("math_verify"), "math-verify is not installed")


def cases_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def verdict_of(case):
    if case["form"] == "answer":
        return comparison.compare(case["response"], case["gold"])
    return check(case["response"], case["gold"])


def test_labelled_cases_are_judged_as_labelled_and_no_wrong_answer_is_accepted(data_folder):
    cases = cases_of(data_folder / "math" / "cases.jsonl")
    mistaken = {case["id"]: case for case in cases if verdict_of(case).is_correct != case["expected"]}

    assert [key for key, case in mistaken.items() if not case["expected"]] == []
    assert mistaken.keys() <= LABELS_WE_CONTEST.keys()


def test_hostile_answers_neither_raise_nor_run_nor_pass(data_folder):
    cases = cases_of(data_folder / "math" / "adversarial.jsonl")
    verdicts = {case["id"]: verdict_of(case) for case in cases}

    assert [case["id"] for case in cases if verdicts[case["id"]].is_correct != case["expected"]] == []
    assert not [key for key, verdict in verdicts.items() if verdict.outcome is Outcome.ERROR]
    assert not {"LLMGYM_PWNED", "LLMGYMPWNED"} & os.environ.keys()


def test_nine_of_ten_answers_never_leave_the_process(data_folder):
    cases = cases_of(data_folder / "math" / "cases.jsonl")
    stages = [verdict_of(case).stage for case in cases]

    assert stages.count("math-verify") < len(cases) / 10


@pytest.fixture
def sample(data_folder):
    cases = cases_of(data_folder / "math" / "cases.jsonl") + cases_of(data_folder / "math" / "adversarial.jsonl")
    return random.Random(0).sample(cases, 150)


def test_a_verdict_depends_on_neither_order_nor_thread(sample):
    expected = {case["id"]: verdict_of(case) for case in sample}
    found = {}

    def judge(seed):
        for case in random.Random(seed).sample(sample, len(sample)):
            found[seed, case["id"]] = verdict_of(case)

    threads = [threading.Thread(target=judge, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 4 * len(sample)
    assert all(verdict == expected[key] for (_, key), verdict in found.items())


def test_a_verdict_is_the_same_in_another_process_whatever_its_hash_seed(sample):
    script = (
        "import json, sys; from llmgym.envs.math import check;"
        "print(json.dumps([check(r, g).reason for r, g in json.load(sys.stdin)]))"
    )
    pairs = [(case["response"], case["gold"]) for case in sample[:60]]
    found = [
        subprocess.run(
            [sys.executable, "-c", script],
            input=json.dumps(pairs),
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]

    assert json.loads(found[0]) == json.loads(found[1]) == [check(*pair).reason for pair in pairs]


def test_a_verdict_is_the_same_on_an_event_loop(sample):
    async def judge_all():
        return await asyncio.gather(*(asyncio.to_thread(verdict_of, case) for case in sample[:40]))

    assert asyncio.run(judge_all()) == [verdict_of(case) for case in sample[:40]]
