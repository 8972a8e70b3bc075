import copy
import inspect
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from llmgym.envs.math import FAMILIES, GSM8KEnv, MATHEnv, MathEnv

from llmgym.errors import ConfigError, DataNotFoundError
from llmgym.messages import AssistantMessage, Message

RNG = np.random.default_rng(0)


def play(env, task, text):
    env.reset(task, np.random.default_rng(0))
    return env.step(AssistantMessage(text))


@pytest.mark.parametrize("answer_format", ["box", "tags", "last_number"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_reference_turn_earns_the_full_reward(family, answer_format):
    for difficulty in range(1, 6):
        env = MathEnv(families=[family], difficulty=difficulty, answer_format=answer_format)
        for index in range(5):
            task = env.tasks("train")[index]
            assert play(env, task, *env.solve(task)).score.reward == 1.0, task.prompt


@pytest.mark.parametrize("answer_format", ["box", "tags"])
@pytest.mark.parametrize("difficulty", [1, 5])
def test_empty_constant_and_copied_answers_earn_nothing(difficulty, answer_format):
    env = MathEnv(difficulty=difficulty, answer_format=answer_format)
    for index in range(50):
        task = env.tasks("train")[index]
        prompt = "\n".join(message.content for message in env.reset(task, RNG).messages)
        for text in ("", "I do not know.", prompt, r"\boxed{}", "<answer></answer>"):
            assert play(env, task, text).score.reward == 0.0


def test_an_episode_is_one_turn():
    env = MathEnv()
    response = play(env, env.tasks("train")[0], "hello")

    assert (response.terminated, response.messages, response.score.reason) == (True, (), "no answer")


def test_the_first_messages_are_the_instruction_and_the_problem():
    env = MathEnv()
    task = env.tasks("train")[0]

    assert env.reset(task, RNG).messages == (
        Message("system", r"Solve the problem step by step. Put your final answer in \boxed{}."),
        Message("user", task.prompt),
    )


def test_prompts_are_the_users_to_change():
    env = MathEnv(system_prompt=None, prompt_template="{format} Q: {problem} A:", answer_format="tags")
    task = env.tasks("train")[0]

    question = f"Write your final answer inside <answer></answer>. Q: {task.prompt} A:"
    assert env.reset(task, RNG).messages == (Message("user", question),)


def test_an_empty_system_prompt_is_no_system_message():
    env = MathEnv(system_prompt="")
    task = env.tasks("train")[1]

    assert env.reset(task, RNG).messages == (Message("user", task.prompt),)


def test_few_shot_examples_are_solved_training_problems_other_than_the_task_itself():
    env = MathEnv(few_shot=3)
    task = env.tasks("train")[1]
    messages = env.reset(task, RNG).messages

    assert [message.role for message in messages] == ["system", *["user", "assistant"] * 3, "user"]
    assert [message.content for message in messages].count(task.prompt) == 1
    examples = {t.prompt: t for t in env.tasks("train").first(4)}
    for question, turn in zip(messages[1:-1:2], messages[2:-1:2], strict=True):
        assert play(env, examples[question.content], turn.content).score.reward == 1.0


def test_splits_share_no_prompt():
    env = MathEnv(difficulty=2)
    train, test = ({env.tasks(split)[index].prompt for index in range(1500)} for split in ("train", "test"))

    assert not train & test


def test_a_task_is_found_again_by_its_key_in_another_instance():
    task = MathEnv(seed=3).tasks("test")[17]

    again = MathEnv(seed=3).tasks("test").get(task.key)
    assert (again.prompt, again.answer) == (task.prompt, task.answer)


def test_only_the_chosen_families_are_asked():
    tasks = MathEnv(families=["urn", "dice"]).tasks("train")

    assert {tasks[index].metadata["family"] for index in range(50)} == {"urn", "dice"}


def test_the_reference_answer_is_in_no_message_except_where_the_problem_itself_says_it():
    env = MathEnv(difficulty=5)
    for index in range(100):
        task = env.tasks("train")[index]
        shown = " ".join(message.content for message in env.reset(task, RNG).messages)
        assert task.answer not in shown.replace(task.prompt, "")


def test_a_fork_and_a_pickled_copy_score_alike():
    env = MathEnv()
    task = env.tasks("train")[0]
    env.reset(task, RNG)

    for other in (env.fork(), copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        assert other.step(AssistantMessage(*env.solve(task))).score.reward == 1.0


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"families": ["additon"]}, "must be one of"),
        ({"families": []}, "must be one of"),
        ({"difficulty": 0}, "from 1 to 5"),
        ({"prompt_template": "Solve it."}, "{problem}"),
        ({"few_shot": -1}, "0 or more"),
        ({"answer_format": "boxed"}, "'box', 'tags'"),
        ({"columns": {"prompt": "q"}}, "dataset is None"),
        ({"dataset": "a/b", "columns": {"question": "q"}}, '"prompt" and "answer"'),
        ({"dataset": "a/b", "families": ["urn"]}, "Leave one of the two out"),
    ],
)
def test_settings_out_of_range_are_refused_when_the_environment_is_made(keywords, message):
    with pytest.raises(ConfigError) as error:
        MathEnv(**keywords)

    assert message in str(error.value)


@pytest.mark.parametrize("make", [MathEnv, GSM8KEnv, MATHEnv])
def test_the_default_keywords_are_names_and_numbers(make):
    defaults = [parameter.default for parameter in inspect.signature(make).parameters.values()]

    assert json.loads(json.dumps(defaults)) == defaults


@pytest.mark.parametrize("make", [GSM8KEnv, MATHEnv])
def test_a_preset_is_made_without_data_and_says_on_first_use_how_to_get_them(make, tmp_path):
    env = make(data_dir=str(tmp_path))

    with pytest.raises(DataNotFoundError, match=r"_train\.jsonl.*Hugging Face hub.*LLMGYM_DATA_DIR"):
        env.tasks("train")


@pytest.mark.parametrize(("make", "name"), [(GSM8KEnv, "gsm8k"), (MATHEnv, "math")])
def test_a_preset_looks_into_the_folder_that_the_environment_variable_names(make, name, tmp_path, monkeypatch):
    for split, answer in (("train", 1), ("test", 2)):
        (tmp_path / f"{name}_{split}.jsonl").write_text(f'{{"problem": "{split}?", "answer": "{answer}"}}\n')
    monkeypatch.setenv("LLMGYM_DATA_DIR", str(tmp_path))

    assert [make().tasks(split)[0].answer for split in ("train", "test")] == ["1", "2"]


@pytest.fixture(scope="session")
def problem_sets(data_folder):
    return str(data_folder / "math" / "datasets")


@pytest.mark.parametrize(("make", "num_train", "num_test"), [(GSM8KEnv, 7473, 1319), (MATHEnv, 7466, 5000)])
def test_every_row_of_the_public_sets_is_a_task_whose_reference_turn_earns_the_full_reward(
    make, num_train, num_test, problem_sets
):
    env = make(data_dir=problem_sets)
    train, test = env.tasks("train"), env.tasks("test")

    assert (len(train), len(test)) == (num_train, num_test)
    for task in [*train, *test]:
        assert play(env, task, *env.solve(task)).score.reward == 1.0, task.answer


def test_calculator_notes_of_the_data_set_are_not_part_of_a_demonstration(problem_sets):
    env = GSM8KEnv(data_dir=problem_sets)

    assert not any("<<" in turn or "####" in turn for task in env.tasks("test") for turn in env.solve(task))


def test_the_environments_are_imported_without_any_heavy_library():
    heavy = "sympy math_verify datasets pyarrow torch transformers"
    code = f"import sys, llmgym.envs.math; print([name for name in '{heavy}'.split() if name in sys.modules])"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"
