"""Programming environments: a program is graded by values alone, visible and hidden tests apart."""

import pytest
from support.code import DOUBLE, TRUSTED, fenced, made_of, make, play

import llmgym
from llmgym.errors import ConfigError


def test_every_built_in_problem_is_solved_by_its_reference():
    env = make()
    message_env = env.unwrapped.message_env
    pays = {}
    for split in ("train", "test"):
        for task in message_env.tasks(split):
            pays[task.key] = play(env, *message_env.solve(task), split=split, task=task.key)[1]

    assert len(pays) >= 60
    assert set(pays.values()) == {1.0}


@pytest.mark.parametrize("difficulty", [1, 5])
def test_difficulty_chooses_built_in_problems(difficulty):
    tasks = make(difficulty=difficulty).unwrapped.message_env.tasks("train")

    assert {task.metadata["difficulty"] for task in tasks} == {difficulty}


def test_splits_hold_different_problems_of_every_difficulty():
    message_env = make().unwrapped.message_env
    train, test = ({task.key: task.metadata["difficulty"] for task in message_env.tasks(s)} for s in ("train", "test"))

    assert not set(train) & set(test)
    assert set(train.values()) == set(test.values()) == {1, 2, 3, 4, 5}


def test_each_episode_has_tests_of_its_own_and_its_seed_repeats_them():
    env = make()
    options = {"split": "train", "task": "count_vowels"}
    first, again, other = (env.reset(seed=seed, options=options)[0] for seed in (1, 1, 2))

    assert first == again != other
    assert first.count("assert count_vowels(") == 3


def test_it_passes_the_environment_check():
    assert "cheap answers" in llmgym.check_env("llmgym/Code-v0", **TRUSTED).passed


def test_passing_the_visible_tests_alone_earns_nothing_and_shows_as_a_gap(tmp_path):
    env = made_of(tmp_path, DOUBLE, num_visible=2)

    *_, info = play(env, fenced("def double(x):\n    return {1: 2, 5: 10}[x]"))

    score = info["score"]
    assert (score.reward, score.parts["visible"], score.parts["hidden"], score.parts["gap"]) == (0.0, 1.0, 0.0, 1.0)
    assert "passed 2 of 4 tests" in score.reason


def test_a_solution_may_be_called_like_a_function_of_python(tmp_path):
    row = {"text": "Add.", "code": "def sum(a, b):\n    return a + b", "test_list": ["assert sum(1, 2) == 3"] * 2}

    assert play(made_of(tmp_path, row), fenced(row["code"]))[1] == 1.0


def test_a_fraction_can_be_paid(tmp_path):
    env = made_of(tmp_path, DOUBLE, num_visible=2, reward="fraction")

    assert play(env, fenced("def double(x):\n    return {1: 2, 5: 10, 0: 0}[x]"))[1] == 0.75


@pytest.mark.parametrize(
    "code",
    [
        "import os; os._exit(0)",
        "raise SystemExit(0)",
        "class Yes:\n    def __eq__(self, other):\n        return True\ndef double(x):\n    return Yes()",
        "def double(x):\n    print('passed 4 of 4')",
        "x = (",
        "import time; time.sleep(60)",
        "while True: pass",
    ],
)
def test_a_program_that_does_not_answer_rightly_earns_nothing(tmp_path, code):
    env = made_of(tmp_path, DOUBLE, timeout_s=0.5)

    *_, info = play(env, fenced(code))

    assert (info["score"].reward, info["score"].is_valid, info["score"].parts["format"]) == (0.0, True, 1.0)


def test_an_answer_without_a_program_earns_nothing_and_runs_nothing(tmp_path):
    *_, info = play(made_of(tmp_path, DOUBLE), "double(x) is 2 * x")

    assert (info["score"].reward, info["score"].reason) == (0.0, "no program")


def test_the_policy_is_told_which_visible_tests_fail_and_may_answer_again(tmp_path):
    env = made_of(tmp_path, DOUBLE, num_visible=2, attempts=3)

    told, reward, terminated, *_ = play(env, fenced("def double(x):\n    return 2"))

    assert (reward, terminated) == (0.0, False)
    assert told.startswith("1 of 2 visible tests fail:\n\nassert double(5) == 10\n")
    assert "-3" not in told
    assert env.step(fenced(DOUBLE["solution"]))[1:3] == (1.0, True)


def test_the_last_attempt_is_graded_whatever_it_is(tmp_path):
    env = made_of(tmp_path, DOUBLE, num_visible=2, attempts=2)

    *_, info = play(env, "no program at all", fenced("def double(x):\n    return 2"))

    assert info["score"].parts["visible"] == 0.5
    assert info["stop_reason"] == "answered"


def test_hidden_tests_are_shown_to_nobody(tmp_path):
    env = made_of(tmp_path, DOUBLE, num_visible=2, attempts=2)
    prompt, _ = env.reset(seed=0, options={"split": "test"})
    told, *_ = env.step(fenced("def double(x):\n    return 2"))

    assert "double(5)" in prompt
    assert "double(-3)" not in prompt + told


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"difficulty": 6}, "difficulty is 6"),
        ({"reward": "most"}, "reward is 'most'"),
        ({"code_format": "box"}, "code_format is 'box'"),
        ({"attempts": 0}, "attempts is 0"),
        ({"attempts": 2, "num_visible": 0}, "tests whose failures"),
        ({"num_hidden": 0}, "num_hidden is 0"),
        ({"prompt_template": "solve"}, "{problem}"),
        ({"test_dataset": "x.jsonl"}, "dataset is None"),
        ({"dataset": "x.jsonl", "difficulty": 1}, "Leave one of them out"),
        ({"timeout_s": 0}, "_s is 0"),
        ({"allow_unsafe": False}, "does not hold hostile code"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        make(**settings).reset()
