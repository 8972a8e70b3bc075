"""Our vector of environments: groups, restarts and batched values."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import llmgym  # registers the environments
from llmgym.errors import ConfigError, InvalidAction, ResetNeeded

COPY, GUESS = "llmgym/Copy-v0", "llmgym/GuessNumber-v0"


def make(num_envs, group_size=1, env_id=COPY, **kwargs):
    return gym.make_vec(env_id, num_envs, group_size=group_size, **kwargs)


def tasks(env, **reset):
    return env.reset(**reset)[1]["task"].tolist()


def test_make_vec_gives_our_vector_which_restarts_nothing_by_itself():
    env = make(4, 2)

    assert isinstance(env.unwrapped, llmgym.episode.vector.TokenVectorEnv)
    assert env.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    assert (env.num_envs, env.group_size, env.spec.id) == (4, 2, COPY)


def test_neighbours_of_a_group_share_their_task_and_groups_differ():
    first, second, third = np.array(tasks(make(6, 2), seed=3)).reshape(3, 2).tolist()

    assert all(a == b for a, b in (first, second, third))
    assert len({first[0], second[0], third[0]}) == 3


def test_one_seed_repeats_every_episode_and_another_one_gives_others():
    env = make(4, 2)
    first = [tasks(env, seed=3), tasks(env), tasks(env)]
    second = [tasks(env, seed=3), tasks(env), tasks(env)]

    assert first == second
    assert len({str(batch) for batch in first}) == 3
    assert tasks(env, seed=4) != first[0]


def test_vectors_without_a_seed_differ():
    assert tasks(make(2)) != tasks(make(2))


def test_a_groups_tasks_do_not_depend_on_when_others_restart():
    env = make(4, 2)
    tasks(env, seed=3)
    expected = [tasks(env), tasks(env)]

    tasks(env, seed=3)
    for mask in ([True, False, False, False], [False, True, True, True]):
        _, infos = env.reset(options={"reset_mask": np.array(mask)})
        for index in np.flatnonzero(mask):
            assert infos["task"][index] == expected[0][index]
    assert tasks(env) == expected[1]


class Noisy(llmgym.MessageEnv):
    """Says a random number."""

    default_limits = llmgym.Limits(turns=3, turn_tokens=8, context_tokens=64)

    def tasks(self, split):
        return llmgym.FiniteTasks([llmgym.Task(key=split, prompt=split)])

    def reset(self, _, rng):
        return llmgym.InitialMessages((llmgym.Message("user", str(rng.integers(10**9))),))

    def step(self, message):
        return llmgym.EnvResponse(messages=(llmgym.Message("user", message.content),))


llmgym.register_env("test/Noisy-v0", Noisy)


def test_neighbours_of_a_group_share_the_environments_noise_and_groups_do_not():
    observations, _ = make(4, 2, "test/Noisy-v0", view="text").reset(seed=0)

    assert observations[0] == observations[1] != observations[2] == observations[3]


def test_reset_begins_only_what_the_mask_names_and_leaves_the_rest_running():
    env = make(2, view="turn")
    env.reset(seed=0)
    _, _, terminated, _, _ = env.step(((104, 257), (105,)))
    before = [inner.episode.ids[:] for inner in env.unwrapped.envs]

    observations, infos = env.reset(options={"reset_mask": terminated})

    assert terminated.tolist() == [True, False]
    assert infos["_task"].tolist() == [True, False]
    assert env.unwrapped.envs[1].episode.ids == before[1]
    assert observations["length"][1] == len(before[1])


@pytest.mark.parametrize("begin", [False, True])
def test_stepping_what_is_over_or_never_began_is_an_error_and_steps_nothing(begin):
    env = make(2, view="text", text="hi")
    if begin:
        env.reset(seed=0)
        env.step(("no", "hi"))

    with pytest.raises(ResetNeeded, match="reset_mask"):
        env.step(("hi", "hi"))


def test_what_the_mask_leaves_out_stays_over():
    env = make(2, view="text", text="hi")
    env.reset(seed=0)
    env.step(("hi", "hi"))
    env.reset(options={"reset_mask": np.array([True, False])})

    with pytest.raises(ResetNeeded, match=r"\[1\]"):
        env.step(("hi", "hi"))


@pytest.mark.parametrize("mask", [[True], np.array([1, 0]), np.ones((2, 2), dtype=bool)])
def test_a_mask_of_another_form_is_refused(mask):
    env = make(2)
    env.reset()

    with pytest.raises(ConfigError, match=r"bool\[2\]"):
        env.reset(options={"reset_mask": mask})


def test_a_first_reset_of_only_some_is_refused():
    with pytest.raises(ConfigError, match="never began"):
        make(2).reset(options={"reset_mask": np.array([True, False])})


@pytest.mark.parametrize(("num_envs", "group_size"), [(5, 2), (2, 4), (2, 0)])
def test_groups_that_do_not_fill_the_vector_are_refused(num_envs, group_size):
    with pytest.raises(ConfigError, match="whole groups"):
        make(num_envs, group_size)


@pytest.mark.parametrize("view", ["token", "turn", "text"])
@pytest.mark.parametrize("observation", ["full", "last"])
def test_batches_are_elements_of_the_batched_spaces_in_every_view(view, observation):
    env = make(3, env_id=GUESS, view=view, observation=observation)
    env.action_space.seed(0)
    batches = [env.reset(seed=0)[0]]

    for _ in range(5):
        batch, rewards, terminated, truncated, _ = env.step(env.action_space.sample())
        batches.append(batch)
        assert (rewards.shape, terminated.dtype, truncated.dtype) == ((3,), bool, bool)
        if (terminated | truncated).any():
            break

    assert len(batches) > 1
    assert all(batch in env.observation_space for batch in batches)


def test_batches_kept_by_the_caller_do_not_change_later():
    env = make(2)
    first, _ = env.reset(seed=0)
    copy = {key: value.copy() for key, value in first.items()}

    env.step(np.array([65, 66]))

    assert all(np.array_equal(first[key], copy[key]) for key in first)


def test_ragged_infos_are_object_arrays_with_masks():
    env = make(2, view="turn", text="hi")
    env.reset(seed=0)

    _, rewards, terminated, _, infos = env.step(((104, 105, 257), (104,)))

    assert infos["new_ids"].tolist() == [(104, 105, 257), (104,)]
    assert infos["_new_ids"].tolist() == [True, True]
    assert (infos["_score"].tolist(), infos["score"][0].reward) == ([True, False], 1.0)
    assert (rewards.tolist(), terminated.tolist()) == ([1.0, 0.0], [True, False])


@pytest.mark.parametrize("view", ["token", "turn", "text"])
def test_a_vector_gives_each_environment_what_it_gives_alone(view):
    env = make(2, env_id=GUESS, view=view)
    env.action_space.seed(1)
    env.reset(seed=0)
    alone = [gym.make(GUESS, view=view, disable_env_checker=True) for _ in range(2)]
    for single, inner in zip(alone, env.unwrapped.envs, strict=True):
        single.reset(options={"task": inner.episode.task.key})

    for _ in range(4):
        actions = env.action_space.sample()
        _, rewards, terminated, truncated, _ = env.step(actions)
        for index, single in enumerate(alone):
            _, *expected, _ = single.step(actions[index])
            assert expected == [rewards[index], terminated[index], truncated[index]]
        if (terminated | truncated).any():
            break

    for single, inner in zip(alone, env.unwrapped.envs, strict=True):
        assert single.unwrapped.episode.ids == inner.episode.ids


def test_a_wrong_number_of_actions_is_refused():
    env = make(2, view="text")
    env.reset(seed=0)

    with pytest.raises(ConfigError, match="1 actions for 2"):
        env.step(("a",))


def test_an_action_outside_the_space_is_refused_by_name():
    env = make(2)
    env.reset(seed=0)

    with pytest.raises(InvalidAction, match="264"):
        env.step(np.array([3, 264]))


def test_trajectories_know_their_group_and_place():
    env = make(4, 2, view="text", text="hi")
    env.reset(seed=0)
    env.step(("hi", "ho", "hi", "hi"))

    trajectories = env.unwrapped.trajectories()

    assert [(t.group_id, t.sample_index) for t in trajectories] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [t.reward for t in trajectories] == [1.0, 0.0, 1.0, 1.0]


def test_rendering_shows_each_conversation():
    env = make(2, text="hi", render_mode="ansi")
    env.reset(seed=0)

    assert env.render() == ("user: Copy: hi",) * 2


def test_closing_twice_closes_each_environment_once_or_harmlessly():
    env = make(2)
    closed = []
    for inner in env.unwrapped.envs:
        inner.message_env.close = lambda: closed.append(1)

    env.close()
    env.close()

    assert (env.closed, len(closed)) == (True, 2)
