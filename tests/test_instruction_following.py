"""`llmgym/InstructionFollowing-v0`: generated prompts, the public ones, and what is paid for."""

import importlib.util
import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmgym.envs.instruction_following import InstructionFollowingEnv
from llmgym.envs.instruction_following.constraints import CHECKS, follows
from llmgym.envs.instruction_following.drafts import KEYWORDS, TOPICS
from llmgym.envs.instruction_following.generated import DEFAULT_KINDS, GENERATED_KINDS, generated_task
from llmgym.envs.instruction_following.quality import quality_problem

import llmgym
from llmgym.errors import ConfigError, DataError, DataNotFoundError, MissingExtraError
from llmgym.messages import AssistantMessage

LENGTH = "length_constraints:number_words"
ALL_WORDS = " ".join([*TOPICS, *KEYWORDS])
ALL_TOPICS = f"We saw all of these and they were what you and I like: {' '.join(TOPICS)}"


def score_of(env, task, text):
    env.reset(task, np.random.default_rng(0))
    return env.step(AssistantMessage(text)).score


def generated(env, count=200):
    source = env.tasks("train")
    return [source[index] for index in range(count)]


@pytest.fixture
def packages(require):
    there = all(importlib.util.find_spec(name) for name in ("langdetect", "nltk"))
    require("ifeval", there, "langdetect or nltk is not installed")


@pytest.fixture
def public(tmp_path, packages):
    """Makes an environment over two public rows; the second as the hub has it."""
    rows = [
        {"key": 7, "prompt": "No commas, please.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
        {
            "key": 8,
            "prompt": "Two things.",
            "instruction_id_list": ["detectable_format:title", LENGTH],
            "kwargs": [{"num_words": None}, {"num_words": 3, "relation": "less than", "keyword": None}],
        },
    ]
    (tmp_path / "ifeval").mkdir()
    (tmp_path / "ifeval" / "input_data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return lambda **keywords: InstructionFollowingEnv(dataset="ifeval", data_dir=str(tmp_path), **keywords)


@given(st.integers(0, 2**32))
def test_every_generated_prompt_comes_with_a_text_that_keeps_its_constraints(seed):
    task = generated_task(np.random.default_rng(seed))
    text, constraints = task.metadata["solution"], task.metadata["constraints"]

    assert [kind for kind, arguments in constraints if not follows(text, kind, arguments)] == []
    assert quality_problem(text, prompt=task.prompt, topic=task.metadata["topic"], topics=TOPICS) is None
    assert 2 <= len(constraints) <= 4
    assert constraints[-1][0] == LENGTH


def test_the_kinds_that_need_packages_have_references_too(packages):
    env = InstructionFollowingEnv(kinds=GENERATED_KINDS)

    tasks = generated(env)

    assert {score_of(env, task, *env.solve(task)).reward for task in tasks} == {1.0}
    assert {kind for task in tasks for kind, _ in task.metadata["constraints"]} == set(GENERATED_KINDS)
    assert len(GENERATED_KINDS) == 22
    assert set(GENERATED_KINDS) < set(CHECKS)


@pytest.mark.parametrize("reward", ["all", "fraction"])
@pytest.mark.parametrize(
    "said",
    ["", "0", "yes", ALL_WORDS, ALL_TOPICS, "THE PROMPT", "BACKWARDS", "ANOTHER'S ANSWER", "RANDOM LETTERS"],
)
def test_policies_that_do_not_read_earn_next_to_nothing(said, reward):
    env = InstructionFollowingEnv(reward=reward)
    tasks, rng = generated(env), np.random.default_rng(0)
    rewards = []
    for task, other in zip(tasks, [*tasks[1:], tasks[0]], strict=True):
        letters = "".join(rng.choice(list("abcdefghij ,.\n*"), size=400))
        special = {
            "THE PROMPT": task.prompt,
            "BACKWARDS": " ".join(reversed(task.prompt.split())),
            "ANOTHER'S ANSWER": env.solve(other)[0],
            "LETTERS": letters,
        }
        rewards.append(score_of(env, task, special.get(said, said)).reward)

    # One topic in 40 is that of the other prompt.
    assert sum(rewards) <= (0.05 * len(tasks) if said == "ANOTHER'S ANSWER" else 0)


def test_what_ends_a_text_is_never_asked_for_where_paragraphs_are_counted_by_empty_lines():
    ends = {"detectable_content:postscript", "startend:end_checker"}  # most people would write a paragraph for these
    prompts = [{kind for kind, _ in task.metadata["constraints"]} for task in generated(InstructionFollowingEnv(), 500)]

    counted = [kinds for kinds in prompts if "length_constraints:nth_paragraph_first_word" in kinds]

    assert counted
    assert not any(kinds & ends for kinds in counted)


def test_a_text_padded_with_other_answers_breaks_the_limit_of_words():
    env = InstructionFollowingEnv()
    tasks = generated(env, 50)

    for task, other in zip(tasks, [*tasks[1:], tasks[0]], strict=True):
        text = "\n".join([*env.solve(task), *env.solve(other)])
        assert LENGTH in score_of(env, task, text).reason


def test_the_reason_names_what_is_not_kept_and_the_fraction_pays_the_rest(public):
    task = public().tasks("test")[1]

    score = score_of(public(reward="fraction"), task, "one two three four <<x>>")

    assert (score.reward, score.reason) == (0.5, f"not kept: {LENGTH}")
    assert score.parts == {"strict": 0.5, "loose": 0.5, "all_strict": 0.0, "all_loose": 0.0}
    assert score_of(public(), task, "<<x>> y").reward == 1.0


def test_loose_mode_forgives_a_first_line(public):
    task = public().tasks("test")[0]
    text = "Sure, here it is:\nno commas"

    rewards = [score_of(public(mode=mode), task, text).reward for mode in ("strict", "loose")]

    assert rewards == [0.0, 1.0]


def test_the_guard_is_off_for_public_prompts_and_can_be_switched(public):
    task = public().tasks("test")[0]

    rewards = [score_of(public(guard=guard), task, "x").reward for guard in (None, False, True)]

    assert rewards == [1.0, 1.0, 0.0]
    own = InstructionFollowingEnv(guard=False, kinds=["punctuation:no_comma"])
    assert score_of(own, own.tasks("train")[0], "x").reward == 1.0


def test_public_prompts_are_for_testing_alone(public):
    env = public()

    assert [task.key for task in env.tasks("test")] == ["7", "8"]
    assert env.tasks("train").size is None
    assert env.solve(env.tasks("test")[0]) is None


def test_a_missing_or_damaged_file_is_named(tmp_path, monkeypatch, packages):
    monkeypatch.delenv("LLMGYM_DATA_DIR", raising=False)
    with pytest.raises(DataNotFoundError, match="data_dir or LLMGYM_DATA_DIR"):
        InstructionFollowingEnv(dataset="ifeval").tasks("test")
    env = InstructionFollowingEnv(dataset="ifeval", data_dir=str(tmp_path))
    with pytest.raises(DataNotFoundError, match=r"input_data\.jsonl"):
        env.tasks("test")
    for row, complaint in (
        ('{"key": 1}', "instruction_id_list"),
        ('{"instruction_id_list": ["x"], "kwargs": [{}]}', "'x'"),
    ):
        (tmp_path / "input_data.jsonl").write_text(row)
        with pytest.raises(DataError, match=f"line 1.*{complaint}"):
            env.tasks("test")


@pytest.mark.parametrize("package", ["langdetect", "nltk"])
def test_a_missing_package_is_named_before_the_first_episode(public, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(MissingExtraError, match=r"llmgym\[ifeval\]"):
        public().tasks("test")
    assert InstructionFollowingEnv().tasks("train")[0].prompt


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"mode": "lax"}, "'strict' or 'loose'"), ({"reward": "some"}, "'all' or 'fraction'"),
        ({"dataset": "x"}, "'ifeval'"), ({"data_dir": "."}, 'dataset="ifeval"'),
        ({"kinds": ["no_comma"]}, "punctuation:no_comma"), ({"max_constraints": 4}, "1, 2 or 3"),
    ],
)  # fmt: skip
def test_keywords_out_of_range_are_refused(keywords, message):
    with pytest.raises(ConfigError, match=message):
        InstructionFollowingEnv(**keywords)


def test_the_environment_keeps_its_promises():
    report = llmgym.check_env("llmgym/InstructionFollowing-v0", num_tasks=5)

    assert "cheap answers" in report.passed
    assert not any(note.startswith("reference") for note in report.notes)


def test_the_public_prompts_can_all_be_checked(data_folder, packages):
    env = InstructionFollowingEnv(dataset="ifeval", data_dir=str(data_folder))
    tasks = list(env.tasks("test"))

    scores = [score_of(env, task, "<<A title>>\nThis is a short answer. It has two sentences.") for task in tasks]

    kinds = [kind for task in tasks for kind, _ in task.metadata["constraints"]]
    assert (len(tasks), len(kinds), set(kinds)) == (541, 834, set(CHECKS))
    assert 0 < sum(score.reward for score in scores) < 150
    train = env.tasks("train")
    assert not {task.prompt for task in tasks} & {train[index].prompt for index in range(200)}


def test_default_kinds_need_no_optional_package():
    assert len(DEFAULT_KINDS) == 18
