import json
import random
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmgym.envs.multiple_choice import MultipleChoiceEnv
from llmgym.envs.multiple_choice_letters import LETTERS, chosen_letter

import llmgym
from llmgym.errors import ConfigError, DataError
from llmgym.messages import AssistantMessage

ROWS = [
    {"question": f"Which letter comes {number} places behind A?", "options": list("BCDEFG"), "answer_index": number - 1}
    for number in range(1, 7)
]


def written(tmp_path, rows):
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def tasks_of(env):
    return [*env.tasks("train"), *env.tasks("test")]


@pytest.fixture
def questions(tmp_path):
    path = written(tmp_path, ROWS)
    return lambda **keywords: MultipleChoiceEnv(path, path, **keywords)


def reward_of(env, task, text):
    env.reset(task, np.random.default_rng(0))
    return env.step(AssistantMessage(text)).score.reward


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("The answer is (C).", "C"), ("the answer is B", "B"), ("answer is (A), no, the answer is (B)", "A"),
        ("Answer: D", "D"), ("answer: A, or rather answer: B\nAnswer: C", "B"), ("Answer:\n\nE", "E"),
        ("I choose G", "G"), ("A is wrong, so it is F.", "F"), ("K", None), ("", None), ("Apples", None),
        ("answer: x. The answer is (H)", "H"), ("The Answer is C", "C"),
    ],
)  # fmt: skip
def test_the_letter_is_found_by_the_rules_of_mmlu_pro(reply, letter):
    assert chosen_letter(reply) == letter


def letter_by_definition(reply):
    """The published expressions, as they are written, without the random guess."""
    for pattern in (r"answer is \(?([A-J])\)?", r".*[aA]nswer:\s*([A-J])", r"(\b[A-J]\b)(?!.*\b[A-J]\b)"):
        if found := re.search(pattern, reply, re.DOTALL if pattern.endswith(r"\b)") else 0):
            return found[1]
    return None


@given(
    st.lists(
        st.sampled_from(["answer", "Answer", " is ", ": ", "(", "A", "B", "J", "K", ")", "\n", " ", "."]), max_size=16
    )
)
def test_the_letter_is_the_one_of_the_published_expressions(parts):
    reply = "".join(parts)

    assert chosen_letter(reply) == letter_by_definition(reply)


@pytest.mark.parametrize("text", ["A " * 200_000, "answer: " * 100_000, "answer is (" * 100_000, "a" * 500_000])
def test_a_long_reply_comes_to_an_end(text):
    assert chosen_letter(text) in (None, "A")


def test_without_fallbacks_only_the_sentence_counts():
    assert chosen_letter("Answer: C", fallbacks=False) is None
    assert chosen_letter("The answer is (C)", fallbacks=False) == "C"


def test_the_reference_letter_follows_its_option_through_every_order(questions):
    for seed in range(5):
        for task in questions(seed=seed).tasks("test"):
            letter_of = {line[3:]: line[0] for line in task.prompt.splitlines()[2:]}
            right = ROWS[int(re.search(r"\d", task.prompt).group()) - 1]
            assert task.answer == letter_of[right["options"][right["answer_index"]]]


def test_the_order_of_options_depends_on_the_seed_and_the_key_does_not(questions):
    one, same, other = (list(questions(seed=seed).tasks("test")) for seed in (1, 1, 2))

    assert [task.prompt for task in one] == [task.prompt for task in same] != [task.prompt for task in other]
    assert [task.key for task in one] == [task.key for task in other]


def test_no_letter_is_right_more_often_than_chance_explains():
    tasks = MultipleChoiceEnv().tasks("train")
    counts = np.bincount([LETTERS.index(tasks[index].answer) for index in range(400)], minlength=4)

    assert counts.min() > 60


def test_a_letter_that_is_no_option_and_a_reply_without_one_earn_nothing(questions):
    env = questions()
    task = env.tasks("test")[0]

    assert reward_of(env, task, *env.solve(task)) == 1.0
    assert [reward_of(env, task, text) for text in ("The answer is (J).", "", "none of them")] == [0.0, 0.0, 0.0]


def test_a_letter_in_a_think_block_is_no_answer(questions):
    env = questions()
    task = env.tasks("test")[0]

    assert reward_of(env, task, f"<think>The answer is ({task.answer}).</think> I am not sure.") == 0.0


@pytest.mark.parametrize("answer", [2, "C", "(c)", "blue"])
def test_the_right_option_is_named_by_place_letter_or_text(tmp_path, answer):
    row = {"question": "Which colour has the sky?", "choices": ["red", "green", "blue"], "answer": answer}
    path = written(tmp_path, [row])
    (task,) = MultipleChoiceEnv(path, path, shuffle=False).tasks("test")

    assert task.answer == "C"


@pytest.mark.parametrize(
    "changes",
    [{"answer_index": 6}, {"answer_index": "Z"}, {"options": ["B"]}, {"options": "BC"}, {"options": ["B", "B"]}],
)
def test_a_row_that_is_no_question_is_named_with_its_line(tmp_path, changes):
    path = written(tmp_path, [*ROWS, {**ROWS[0], "question": "broken?", **changes}])

    with pytest.raises(DataError, match="line 7"):
        tasks_of(MultipleChoiceEnv(path, path))


@pytest.mark.parametrize("keywords", [{"num_options": 1}, {"difficulty": 6}, {"columns": {"answer": "key"}}])
def test_settings_out_of_range_are_refused(keywords):
    with pytest.raises(ConfigError):
        MultipleChoiceEnv(**keywords)


@pytest.mark.parametrize("keywords", [{}, {"num_options": 10, "difficulty": 4}])
def test_generated_questions_keep_the_promises_of_an_environment(keywords):
    llmgym.check_env("llmgym/MultipleChoice-v0", num_tasks=16, **keywords)


def test_questions_from_a_file_keep_the_promises_of_an_environment(tmp_path):
    llmgym.check_env("llmgym/MultipleChoice-v0", num_tasks=4, dataset=written(tmp_path, ROWS * 2), split="train")


def test_the_questions_of_mmlu_pro_are_read_and_answered(data_folder):
    path = str(data_folder / "mcq" / "mmlu_pro_test_questions.jsonl.gz")
    env = MultipleChoiceEnv(path, path)
    tasks = list(env.tasks("test"))

    assert len(tasks) > 11_500
    assert all(reward_of(env, task, *env.solve(task)) == 1.0 for task in random.Random(0).sample(tasks, 200))
