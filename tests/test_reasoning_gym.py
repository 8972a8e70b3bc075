"""The tasks of reasoning-gym: made and scored in workers, by the package's own scorers."""

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from llmgym.envs.reasoning_gym import ReasoningGymEnv

import llmgym
from llmgym.errors import ConfigError, MissingExtraError
from llmgym.messages import AssistantMessage

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _package(request):
    if "without_the_package" not in request.node.name:
        request.getfixturevalue("require")("reasoning", find_spec("reasoning_gym"), "it is not installed")


def score_of(env, task, said):
    env.reset(task, RNG)
    response = env.step(AssistantMessage(content=said))
    assert response.terminated
    return response.score


def paid(env, task, answer):
    return score_of(env, task, f"<answer>{answer}</answer>").reward


TASKS = ("chain_sum", "gcd", "sudoku", "graph_color", "propositional_logic", "rubiks_cube", "n_queens", "countdown",
         "simple_integration", "polynomial_multiplication", "game_of_life_halting", "puzzle24")  # fmt: skip


@pytest.mark.parametrize("name", TASKS)
def test_reference_answers_earn_one_in_both_splits(name):
    env = ReasoningGymEnv(name)
    for split in ("train", "test"):
        task = env.tasks(split)[0]
        (turn,) = env.solve(task)

        assert score_of(env, task, f"Let me think.\n<answer>wrong</answer>\n{turn}").reward == 1.0


@pytest.mark.parametrize("name", [*TASKS, "emoji_mystery", "sentence_reordering", "advanced_geometry", "arc_agi"])
@pytest.mark.parametrize("said", ["", "?", "<answer></answer>", "<answer>?</answer>", "<answer>I do not know</answer>"])
def test_what_says_nothing_earns_nothing(name, said):
    env = ReasoningGymEnv(name)

    assert score_of(env, env.tasks("train")[0], said).reward == 0.0


def test_an_answer_outside_the_tags_earns_nothing():
    env = ReasoningGymEnv("chain_sum")
    task = env.tasks("train")[0]

    assert score_of(env, task, task.answer).reward == 0.0
    assert score_of(env, task, task.answer).reason == "no <answer> and </answer>"


def test_what_any_text_is_paid_is_taken_off_what_is_right_in_part():
    env = ReasoningGymEnv("sentence_reordering", min_partial=0.0)
    task = env.tasks("train")[0]
    words = task.answer.split()
    half = " ".join([*words[: len(words) // 2], *reversed(words[len(words) // 2 :])])

    score = score_of(env, task, f"<answer>{half}</answer>")

    raw = score.parts["sentence_reordering"]
    assert 0.05 < raw < 1
    assert score.reward == pytest.approx((raw - 0.05) / 0.95)
    assert paid(ReasoningGymEnv("sentence_reordering", full_only=True), task, half) == 0.0
    assert paid(ReasoningGymEnv("sentence_reordering", min_partial=1.0), task, half) == 0.0


def test_a_long_list_of_guesses_that_holds_the_answer_earns_nothing():
    env = ReasoningGymEnv("letter_counting")
    for task in env.tasks("train").first(5):
        assert paid(env, task, " ".join(map(str, range(30)))) == 0.0


def test_the_beginning_of_a_probability_is_not_the_probability():
    env = ReasoningGymEnv("coin_flip")
    task = next(task for task in env.tasks("train").first(20) if "." in task.answer)

    assert (paid(env, task, "0"), paid(env, task, "one half")) == (0.0, 0.0)
    assert paid(env, task, task.answer) == 1.0


def test_four_other_numbers_that_make_24_are_not_an_answer_to_this_puzzle():
    env = ReasoningGymEnv("puzzle24")

    assert [paid(env, task, "6+6+6+6") for task in env.tasks("train").first(5)] == [0.0] * 5


EVIL = "__import__('pathlib').Path({!r}).touch() or [1]"


@pytest.mark.parametrize(
    "name", ["spiral_matrix", "binary_matrix", "n_queens", "string_insertion", "countdown", "puzzle24",
             "simple_integration", "intermediate_integration", "polynomial_multiplication", "number_sorting"]
)  # fmt: skip
def test_an_answer_is_never_run_as_a_program(name, tmp_path):
    env = ReasoningGymEnv(name)
    task = env.tasks("train")[0]
    path = str(tmp_path / "touched")
    spelled = "+".join(f"chr({ord(letter)})" for letter in EVIL.format(path))

    for answer in (
        EVIL.format(path),
        f"eval({spelled})",
        f"().__class__.__base__({spelled})",
        f"[{EVIL.format(path)}]",
    ):
        assert paid(env, task, answer) == 0.0

    assert not os.path.exists(path)


def test_an_answer_that_takes_for_ever_to_score_is_wrong():
    env = ReasoningGymEnv("countdown", timeout_s=1.0)

    score = score_of(env, env.tasks("train")[0], "<answer>9**9**9**9</answer>")

    assert score.reward == 0.0
    assert "CPU time" in score.reason or "memory" in score.reason


DRAWN_FROM_SETS = ["isomorphic_strings", "knight_swap", "polynomial_multiplication", "ransom_note", "word_ladder"]


@pytest.mark.slow
def test_the_same_key_is_the_same_problem_in_another_process():
    program = (
        "from llmgym.envs.reasoning_gym import ReasoningGymEnv\n"
        f"print([ReasoningGymEnv(name).tasks('train').get('0.3').prompt for name in {DRAWN_FROM_SETS}])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)

    assert ran.stdout.strip() == repr(
        [ReasoningGymEnv(name).tasks("train").get("0.3").prompt for name in DRAWN_FROM_SETS]
    )


def test_a_mixture_has_its_tasks_by_weight_each_with_its_settings():
    env = ReasoningGymEnv({"gcd": 3, "chain_sum": 1}, configs={"chain_sum": {"min_terms": 6, "max_terms": 6}})
    tasks = [env.tasks("train")[index] for index in range(100)]

    share = np.mean([task.metadata["name"] == "gcd" for task in tasks])

    assert 0.6 < share < 0.9
    assert {len(t.prompt.split("+")) + t.prompt.count(" - ") for t in tasks if t.metadata["name"] == "chain_sum"} == {6}


def test_splits_and_seeds_are_different_problems():
    prompts = [{ReasoningGymEnv(seed=seed).tasks(split)[i].prompt for i in range(30)} for seed in (0, 1)
               for split in ("train", "test")]  # fmt: skip

    assert not prompts[0] & prompts[1]
    assert len(prompts[0] & prompts[2]) < 5


@pytest.mark.parametrize(
    "kwargs",
    [
        {"tasks": []},
        {"tasks": {"gcd": 0}},
        {"tasks": ["gcd", "gcd"]},
        {"configs": {"sudoku": {}}},
        {"min_partial": 2},
        {"timeout_s": 0},
        {"prompt_template": "Think."},
    ],
)
def test_settings_of_reasoning_gym_out_of_range_are_refused_at_once(kwargs):
    with pytest.raises(ConfigError):
        ReasoningGymEnv(**{"tasks": "gcd", **kwargs})


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"tasks": "sudokku"}, "Did you mean 'sudoku'"),
        ({"tasks": "composite"}, "no task 'composite'"),
        ({"tasks": "gcd", "configs": {"gcd": {"no_such": 1}}}, "no_such"),
        ({"tasks": "gcd", "configs": {"gcd": {"min_numbers": -1}}}, "does not take"),
        ({"tasks": "gcd", "configs": {"gcd": {"seed": 1}}}, "sets seed"),
    ],
)
def test_tasks_and_settings_that_the_package_does_not_have_are_refused_with_the_first_task(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        ReasoningGymEnv(**kwargs).tasks("train")


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)

    with pytest.raises(MissingExtraError, match=r"llmgym\[reasoning\]"):
        ReasoningGymEnv().tasks("train")


@pytest.mark.slow
@pytest.mark.parametrize("tasks", [["chain_sum", "letter_counting", "number_sorting"], "time_intervals", "rush_hour"])
def test_the_tasks_of_the_package_keep_every_promise(tasks):
    report = llmgym.check_env("llmgym/ReasoningGym-v0", tasks=tasks, num_tasks=3)

    assert {"seeds", "views", "splits", "cheap answers", "rewards", "gymnasium"} <= set(report.passed)
