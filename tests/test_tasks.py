"""Tasks: their keys, their splits and their sources."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgym.episode import FiniteTasks, GeneratedTasks, Task, content_key, split_of
from llmgym.errors import ConfigError, DataError, UnknownTaskError

seeds = st.integers(0, 2**63)
indices = st.integers(0, 2**31)


def addition(rng):
    a, b = rng.integers(1000, size=2)
    return Task(key="", prompt=f"What is {a} + {b}?", answer=str(a + b), metadata={"a": int(a)})


def coin(rng):
    """A generator with two prompts, of which the first belongs to the test split and the second to no other one."""
    return Task(key="", prompt=["Heads or tails?", "Tails or heads?"][rng.integers(2)], answer="heads")


def numbered(count):
    return [Task(key=content_key(f"Task {index}"), prompt=f"Task {index}") for index in range(count)]


@given(seeds, st.lists(indices, min_size=1, max_size=20))
def test_generated_splits_never_share_a_prompt(seed, chosen):
    train, test = (GeneratedTasks(addition, split=split, seed=seed) for split in ("train", "test"))

    train_prompts = {train[index].prompt for index in chosen}
    test_prompts = {test[index].prompt for index in chosen}

    assert {split_of(prompt) for prompt in train_prompts} == {"train"}
    assert {split_of(prompt) for prompt in test_prompts} == {"test"}


@given(seeds, indices, st.sampled_from(["train", "test"]))
def test_the_same_seed_and_index_make_the_same_task_and_its_key_finds_it(seed, index, split):
    source = GeneratedTasks(addition, split=split, seed=seed)
    again = GeneratedTasks(addition, split=split, seed=seed)

    task = source[index]

    for other in (again[index], again.get(task.key)):
        assert (other.key, other.prompt, other.answer) == (task.key, task.prompt, task.answer)
        assert other.metadata == task.metadata


def test_indices_and_seeds_make_different_tasks():
    prompts = {
        GeneratedTasks(addition, split="train", seed=seed)[index].prompt for seed in (0, 1) for index in range(9)
    }

    assert len(prompts) > 15


@pytest.mark.parametrize("key", ["", "0", "0.", ".1", "1.5", "0.-1", "0.07", "0.٣", "0.1.2", "00.1", "0." + "9" * 5000])
def test_what_is_no_key_of_the_generator_is_refused(key):
    with pytest.raises(UnknownTaskError, match=r"SEED\.INDEX"):
        GeneratedTasks(addition, split="train", seed=0).get(key)


@pytest.mark.parametrize(("split", "seed"), [("validation", 0), ("", 0), ("train", -1)])
def test_a_split_or_seed_that_cannot_be_is_refused_when_the_source_is_made(split, seed):
    with pytest.raises(ConfigError):
        GeneratedTasks(addition, split=split, seed=seed)


def test_a_generator_that_never_makes_a_prompt_of_the_split_is_an_error_and_no_loop():
    only = {split_of(prompt) for prompt in ("Heads or tails?", "Tails or heads?")}
    (absent,) = {"train", "test"} - only

    with pytest.raises(DataError, match="too few distinct prompts"):
        GeneratedTasks(coin, split=absent)[0]


def test_a_tenth_of_all_prompts_are_test_prompts():
    splits = [split_of(f"Prompt {index}") for index in range(5000)]

    assert 400 < splits.count("test") < 600


@given(st.text(), st.integers(0, 100))
def test_a_larger_test_split_keeps_the_prompts_of_a_smaller_one(prompt, percent):
    if split_of(prompt, test_percent=percent) == "test":
        assert split_of(prompt, test_percent=min(percent + 1, 100)) == "test"
    assert split_of(prompt, test_percent=0) == "train"
    assert split_of(prompt, test_percent=100) == "test"


@given(st.tuples(st.text(), st.none() | st.text()), st.tuples(st.text(), st.none() | st.text()))
def test_content_keys_are_equal_where_the_contents_are(one, other):
    assert (content_key(*one) == content_key(*other)) == (one == other)
    assert len(content_key(*one)) == 16


@given(st.integers(1, 40), st.integers(0, 1000))
def test_every_task_of_a_finite_set_is_found_by_its_key(count, seed):
    source = FiniteTasks(numbered(count))
    drawn = source.draw(np.random.default_rng(seed))

    assert len(source) == source.size == len(list(source)) == count
    assert [source.get(task.key) for task in source] == list(source)
    assert source.draw(np.random.default_rng(seed)) is drawn


def test_an_unknown_key_is_answered_with_an_example_of_one():
    source = FiniteTasks(numbered(3))

    with pytest.raises(UnknownTaskError, match=f"no task with key 'nothing'.*{source[0].key}"):
        source.get("nothing")


def test_an_empty_split_is_refused():
    with pytest.raises(DataError, match="holds no task"):
        FiniteTasks([])


def test_one_key_for_two_different_tasks_is_refused():
    with pytest.raises(DataError, match="'same' names two tasks, 'One' and 'Two'"):
        FiniteTasks([Task(key="same", prompt="One"), Task(key="same", prompt="Two")])


def test_a_task_that_a_data_set_holds_twice_is_found_by_its_key():
    twice = [Task(key="same", prompt="One"), Task(key="other", prompt="Two"), Task(key="same", prompt="One")]

    source = FiniteTasks(twice)

    assert source.get("same") is twice[0]
    assert [task.prompt for task in source.first(2)] == ["One", "Two"]


@pytest.mark.parametrize("count", [4, 100])
def test_asking_a_finite_set_for_more_than_it_has_says_how_many_there_are(count):
    with pytest.raises(ConfigError, match=r"the split has 3\. Ask for 3 or fewer"):
        FiniteTasks(numbered(3)).first(count)


def test_asking_a_generator_for_more_than_it_can_make_is_an_error_and_no_loop():
    split = split_of("Heads or tails?")
    count = sum(split_of(prompt) == split for prompt in ("Heads or tails?", "Tails or heads?"))

    with pytest.raises(ConfigError, match=f"the split has {count} among its first"):
        GeneratedTasks(coin, split=split).first(3)


@pytest.mark.parametrize("count", [0, -1])
def test_asking_for_no_task_is_an_error_and_not_all_of_them(count):
    with pytest.raises(ConfigError, match="at least 1"):
        FiniteTasks(numbered(3)).first(count)


def test_the_first_tasks_are_distinct_and_the_same_every_time():
    source = GeneratedTasks(addition, split="test")

    tasks = source.first(50)

    assert len({task.prompt for task in tasks}) == 50
    assert [task.key for task in source.first(50)] == [task.key for task in tasks]
