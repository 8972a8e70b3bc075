"""Spaces for tokens and text."""

import copy
import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Dict, Discrete, Tuple
from gymnasium.spaces.utils import flatdim, flatten, flatten_space, unflatten
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array, iterate
from hypothesis import given
from hypothesis import strategies as st

from llmgym.errors import ConfigError
from llmgym.messages.spaces import Tokens, UnicodeText

END = 5
SPACES = [Tokens(100, 10), Tokens(100, 10, END), Tokens(2, 1, 1), Tokens(1, 3, 0), UnicodeText(1), UnicodeText(50)]


def is_element_by_definition(ids, vocab_size, max_length, end_id):
    return (
        1 <= len(ids) <= max_length
        and all(0 <= i < vocab_size for i in ids)
        and (end_id is None or end_id not in ids[:-1])
    )


@given(st.lists(st.integers(-3, 12), max_size=8), st.sampled_from([None, 3]))
def test_tokens_contains_what_its_definition_says_in_every_accepted_form(ids, end_id):
    space = Tokens(10, 6, end_id)

    answers = {
        space.contains(form) for form in (ids, tuple(ids), np.array(ids, dtype=np.int32), np.array(ids, dtype=np.int64))
    }

    assert answers == {is_element_by_definition(ids, 10, 6, end_id)}


@pytest.mark.parametrize(
    "stranger", [None, "12", 3, [1.5], ["1"], np.array([1.0]), np.array([[1]]), np.array(1), [2**70], [2**40]]
)
def test_tokens_contains_nothing_but_vectors_of_whole_numbers(stranger):
    assert not Tokens(10, 6).contains(stranger)


@pytest.mark.parametrize("text", ["", "a b", "\0", "é", "日本語", "👩‍🚀", "\n"])
def test_text_contains_any_text_that_utf_8_can_hold(text):
    assert UnicodeText(10).contains(text)


@pytest.mark.parametrize("stranger", ["\ud800", "ab\udfff", "a" * 11, b"a", None, 1, ["a"]])
def test_text_contains_no_lone_surrogates_no_overlong_text_and_nothing_else(stranger):
    assert not UnicodeText(10).contains(stranger)


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_samples_are_elements_and_repeat_with_the_seed(space):
    space = copy.deepcopy(space)

    space.seed(3)
    first = [space.sample() for _ in range(50)]
    space.seed(3)
    second = [space.sample() for _ in range(50)]

    assert all(sample in space for sample in first)
    assert space.to_jsonable(first) == space.to_jsonable(second)


def test_token_samples_are_short_of_the_limit_end_in_the_end_token_and_reach_the_last_id():
    space = Tokens(6, 10, 4, seed=0)
    samples = [space.sample() for _ in range(300)]

    assert {sample[-1] for sample in samples} == {4}
    assert {len(sample) for sample in samples} == set(range(1, 10))
    assert set(np.concatenate(samples)) == set(range(6))
    assert max(len(Tokens(6, 4096, 4, seed=i).sample()) for i in range(200)) <= 32


def test_text_samples_are_printable_and_some_have_spaces():
    space = UnicodeText(1000, seed=0)
    samples = [space.sample() for _ in range(100)]

    assert all(sample.isprintable() for sample in samples)
    assert any(" " in sample.strip() for sample in samples)


@pytest.mark.parametrize("make", [lambda: Tokens(0, 1), lambda: Tokens(1, 0), lambda: UnicodeText(0)])
def test_empty_spaces_are_refused(make):
    with pytest.raises(ConfigError, match="at least 1"):
        make()


def test_an_end_token_outside_the_vocabulary_is_refused():
    with pytest.raises(ConfigError, match="0 to 9"):
        Tokens(10, 3, end_id=10)


def test_sampling_with_a_mask_is_refused():
    with pytest.raises(ConfigError, match="policy"):
        Tokens(10, 3).sample(mask=np.ones(10, dtype=np.int8))


def test_spaces_are_equal_when_their_parameters_are():
    assert Tokens(10, 3, 1) == Tokens(10, 3, 1, seed=4)
    assert UnicodeText(3) == UnicodeText(3, seed=4)
    assert len({repr(space) for space in SPACES}) == len(SPACES)
    assert all((a == b) == (a is b) for a in SPACES for b in SPACES)


def test_spaces_of_a_real_vocabulary_stay_small_when_pickled_and_printed():
    for space in (Tokens(151_936, 32_768, 151_645), UnicodeText(1_000_000)):
        assert pickle.loads(pickle.dumps(space)) == space
        assert len(pickle.dumps(space)) < 400
        assert len(repr(space)) < 60


@pytest.mark.parametrize("space", SPACES, ids=repr)
def test_elements_survive_json_and_flattening(space):
    space = copy.deepcopy(space)
    space.seed(0)
    samples = [space.sample() for _ in range(10)]

    through_json = space.from_jsonable(space.to_jsonable(samples))
    flat = [flatten(space, sample) for sample in samples]
    through_flat = [unflatten(space, vector) for vector in flat]

    assert all(
        np.array_equal(a, b) and np.array_equal(a, c)
        for a, b, c in zip(samples, through_json, through_flat, strict=True)
    )
    assert all(vector in flatten_space(space) and vector.shape == (flatdim(space),) for vector in flat)


@given(st.text(max_size=20))
def test_any_text_survives_flattening_inside_a_dict(text):
    space = Dict({"text": UnicodeText(20), "ids": Tokens(9, 2)})
    value = {"text": text, "ids": np.array([8], dtype=np.int32)}

    flat = flatten(space, value)

    assert flat in flatten_space(space)
    assert unflatten(space, flat)["text"] == text


@pytest.mark.parametrize("space", [*SPACES, Dict({"a": Tokens(9, 4), "b": Discrete(3)}), Tuple([UnicodeText(4)])])
def test_batches_are_tuples_that_iterate_back_into_their_elements(space):
    batched = batch_space(space, 3)
    empty = create_empty_array(space, 3)
    samples = [space.sample() for _ in range(3)]

    batch = concatenate(space, samples, empty)

    assert batched.sample() in batched
    assert batch in batched
    assert empty in batched
    for sample, item in zip(samples, iterate(batched, batch), strict=True):
        assert item in space
        assert np.array_equal(flatten(space, item), flatten(space, sample))


class Echo(gym.Env):
    """Observes the last action, in a space of its own kind."""

    def __init__(self, space):
        self.observation_space = Dict({"last": space, "count": Discrete(100)})
        self.action_space = space
        self.count = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed, options=options)
        self.count = 0
        return {"last": create_empty_array(self.action_space, 1)[0], "count": np.int64(0)}, {}

    def step(self, action):
        self.count += 1
        return {"last": action, "count": np.int64(self.count)}, 0.0, False, False, {}


@pytest.mark.parametrize("space", [Tokens(100, 6, END), UnicodeText(9)], ids=repr)
@pytest.mark.parametrize(
    "vectorize",
    [
        SyncVectorEnv,
        lambda fns: AsyncVectorEnv(fns, shared_memory=True),
        lambda fns: AsyncVectorEnv(fns, shared_memory=False),
        lambda fns: AsyncVectorEnv(fns, shared_memory=True, copy=False),
    ],
    ids=["sync", "async shared", "async piped", "async shared without copies"],
)
def test_gymnasiums_vectors_carry_both_spaces_without_a_warning(space, vectorize):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = vectorize([lambda: Echo(space)] * 2)
        env.action_space.seed(0)
        env.reset(seed=0)

        for count in (1, 2):
            actions = env.action_space.sample()
            observations, *_ = env.step(actions)

            assert [np.array_equal(a, b) for a, b in zip(actions, observations["last"], strict=True)] == [True, True]
            assert observations["count"].tolist() == [count, count]
        env.close()


def test_a_shared_batch_can_be_sliced_and_copied_into_a_plain_tuple():
    env = AsyncVectorEnv([lambda: Echo(UnicodeText(9))] * 3, copy=False)
    env.reset(seed=0)
    observations, *_ = env.step(("a", "b", "c"))

    assert observations["last"][1:] == ("b", "c")
    assert copy.deepcopy(observations["last"]) == ("a", "b", "c")
    env.close()


@given(st.sets(st.integers(0, 9), min_size=1, max_size=10), st.integers(0, 2**32 - 1))
def test_of_several_end_tokens_none_comes_before_the_last_place(ends, seed):
    end = min(ends)
    space = Tokens(10, 6, end, seed=seed, other_end_ids=ends)

    ids = space.sample()

    assert ids in space
    assert ids[-1] == end
    assert not ends & set(ids[:-1].tolist())
    assert all([other, end] not in space for other in ends)
