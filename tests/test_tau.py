"""The tau-bench environments over their made-up worlds: rewards, users and settings."""

import gymnasium as gym
import numpy as np
import pytest
from llmgym.envs.tau import TauAirlineEnv, TauRetailEnv
from llmgym.envs.tau.judging import MAX_NUMBERS, judge
from llmgym.envs.users import END, ModelUser
from support.tau import desk_of, play, reward_of

from llmgym.errors import ConfigError
from llmgym.messages import ToolCall

every_env = pytest.mark.parametrize("env_type", [TauRetailEnv, TauAirlineEnv])
HAND_OVER = ToolCall("transfer_to_human_agents", {"summary": "?"})


@pytest.fixture(autouse=True)
def _without_data(monkeypatch):
    monkeypatch.delenv("LLMGYM_DATA_DIR", raising=False)


def task_named(env, key):
    return env.tasks(key.split("-")[2]).get(key)


@pytest.mark.parametrize("rule", ["strict", "official"])
@pytest.mark.parametrize("version", [1, 2])
@every_env
def test_the_reference_turns_earn_the_full_reward(env_type, version, rule):
    env = env_type(version=version, rule=rule)

    for split in ("train", "test"):
        for task in env.tasks(split):
            responses = play(env, task, env.solve(task))

            assert (reward_of(responses), responses[-1].terminated) == (1.0, True), task.prompt


@pytest.mark.parametrize("turns", [[""] * 3, ["yes"] * 3, ["It is done."], ["I cannot do that."], [HAND_OVER]], ids=str)
@every_env
def test_who_does_nothing_earns_nothing(env_type, turns):
    env = env_type()

    for task in env.tasks("train"):
        responses = play(env, task, turns)

        assert (reward_of(responses), responses[-1].terminated) == (0.0, True)
        assert responses[-1].score.reason.startswith(("the database is not", "not said: "))


@every_env
def test_the_official_rule_pays_for_doing_nothing_where_nothing_is_to_be_done(env_type):
    official, strict = env_type(rule="official"), env_type()
    keys = {task.key for task in official.tasks("train")} - {task.key for task in strict.tasks("train")}

    rewards = [reward_of(play(official, task_named(official, key), ["", "", ""])) for key in keys]

    assert rewards == [1.0]


def test_reading_everything_and_repeating_it_earns_nothing_where_something_is_to_be_changed():
    env = TauRetailEnv()
    task = task_named(env, "made-up-train-4")
    reads = [call for call in env.solve(task)[:-1] if call.name.startswith(("get", "find"))]

    told = [response.messages[0].content for response in play(env, task, reads)]

    assert reward_of(play(env, task, [*reads, f"done: {told}"])) == 0.0


def test_the_reward_comes_with_the_end_and_not_before():
    env = TauRetailEnv()
    task = task_named(env, "made-up-train-0")

    *before, last = play(env, task, env.solve(task))

    assert [(response.score, response.terminated) for response in before] == [(None, False)] * len(before)
    assert last.terminated
    assert last.score.parts == {"database": 1.0, "outputs": 1.0}
    assert last.score.reason == "done"


def test_an_episode_that_a_budget_ends_earns_nothing():
    env = gym.make("llmgym/TauRetail-v0", view="text", limits={"turns": 3}).unwrapped
    task = task_named(env.message_env, "made-up-train-0")
    env.reset(seed=0, options={"task": task.key})

    *_, (_, reward, terminated, truncated, info) = [env.step(turn) for turn in env.solve(task)[:3]]

    assert (reward, terminated, truncated, info["stop_reason"]) == (0.0, False, True, "turn_budget")


@pytest.mark.parametrize(
    ("output", "said", "strict", "official"),
    [
        ("10", "There are 10 of them.", 1, 1),
        ("10", "It costs $2100.", 0, 1),
        ("10", "It costs 3.10.", 0, 1),
        ("1093.34", "That makes $1,093.34.", 1, 1),
        ("481.5", "It was 481.50 dollars", 1, 1),
        ("481.50", "It was 481.5 dollars", 1, 0),
        ("mastercard", "your MasterCard, as before", 1, 1),
        ("full", "carefully chosen", 0, 1),
        ("943 Maple Drive", "943 Maple Drive, Suite 356, Chicago", 1, 1),
        ("10", "", 0, 0),
    ],
)
def test_outputs_are_found_as_whole_numbers_and_words_and_officially_in_any_text(output, said, strict, official):
    env = TauRetailEnv()
    task = task_named(env, "made-up-train-6")
    task = type(task)(key="", prompt="", metadata={**task.metadata, "outputs": (output,)})
    database = desk_of("retail").database

    rewards = [judge(rule, task, database, database, ["Hello.", said]).reward for rule in ("strict", "official")]

    assert rewards == [strict, official]


def test_reciting_numbers_says_none_of_them():
    env = TauRetailEnv()
    task = task_named(env, "made-up-train-6")
    database = desk_of("retail").database

    rewards = [
        judge("strict", task, database, database, [f"51.9 {' '.join(map(str, range(count)))}"]).reward
        for count in (MAX_NUMBERS - 1, MAX_NUMBERS)
    ]

    assert rewards == [1.0, 0.0]


def test_an_amount_written_with_a_point_is_the_same_amount_but_not_officially():
    env = TauAirlineEnv()
    task = task_named(env, "made-up-train-1")
    *_, booking, done = env.solve(task)
    paid = [{**payment, "amount": float(payment["amount"])} for payment in booking.arguments["payment_methods"]]
    turns = [ToolCall(booking.name, {**booking.arguments, "payment_methods": paid}), done]

    rewards = [reward_of(play(TauAirlineEnv(rule=rule), task, turns)) for rule in ("strict", "official")]

    assert rewards == [1.0, 0.0]


# -- users -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "heard", "ends"),
    [
        ("Shall I cancel it?", "Yes, please go ahead.", False),
        ("Please confirm.", "Yes, please go ahead.", False),
        ("One moment.", "I told you all that I know.", False),
        ("It has been cancelled.", "Thank you, that is all. Goodbye.", True),
        ("That is not possible.", "Thank you, that is all. Goodbye.", True),
        ("It has been cancelled. Is there anything else I can do for you?", "Thank you, that is all. Goodbye.", True),
        ("Is there anything else?", "Thank you, that is all. Goodbye.", True),
        ("Let me see whether it has been shipped.", "I told you all that I know.", False),
        ("I can't find you. I need your ZIP code.", "I told you all that I know.", False),
        ("I've found your account.", "I told you all that I know.", False),
    ],
)
def test_the_instructed_user_agrees_and_leaves_when_all_is_said(said, heard, ends):
    env = TauRetailEnv()

    (response,) = play(env, env.tasks("train")[0], [said])

    assert ([message.content for message in response.messages], response.terminated) == ([heard], ends)


def test_a_language_model_plays_the_user_and_never_sees_the_reference():
    seen = []

    def ask(messages):
        seen.append("\n".join(message.content for message in messages))
        return "Please cancel my order." if len(seen) == 1 else f"Bye. {END}"

    env = TauRetailEnv(user=ask)
    task = task_named(env, "made-up-train-0")

    responses = play(env, task, ["Hello!", *env.solve(task)])

    assert [responses[0].messages[0].content, reward_of(responses)] == ["Please cancel my order.", 1.0]
    assert task.prompt in seen[0]
    assert "#W1000001" not in "".join(seen)


def test_an_endpoint_or_an_object_may_play_the_user():
    user = TauRetailEnv().user

    assert TauRetailEnv(user=user).user is user
    assert isinstance(TauRetailEnv(user="http://localhost:1/v1", user_model="some").user, ModelUser)


@every_env
def test_the_policy_is_told_the_rules_and_what_the_user_says_and_nothing_else(env_type):
    env = env_type(system_prompt="Be kind.\n{policy}", prompt_template="A user says: {prompt}")
    task = env.tasks("train")[0]

    system, user = env.reset(task, np.random.default_rng(0)).messages

    assert system.content == f"Be kind.\n{env.data.policy()}"
    assert user.content == f"A user says: {env.user.first(task, np.random.default_rng(0))}"


# -- settings ----------------------------------------------------------------------------------------------------


def test_made_up_tasks_say_that_they_are(caplog):
    from llmgym.envs.tau.env import _warn_once

    _warn_once.cache_clear()
    env = TauRetailEnv()
    for task in env.tasks("train").first(2):
        env.reset(task, np.random.default_rng(0))

    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "not tau-bench's" in caplog.text
    assert all(task.key.startswith("made-up") for task in env.tasks("train"))


@pytest.mark.parametrize(
    ("kwargs", "problem"),
    [
        ({"version": 3}, "version is 3"),
        ({"rule": "lenient"}, "rule is 'lenient'"),
        ({"assertions": "judge"}, "assertions is 'judge'"),
        ({"prompt_template": "Help."}, "prompt_template"),
        ({"user": "nobody"}, "user is 'nobody'"),
        ({"user": "http://localhost:1/v1"}, "user_model is ''"),
        ({"user_model": "some"}, "user_model is 'some'"),
    ],
)
def test_a_setting_that_does_not_exist_is_named(kwargs, problem):
    with pytest.raises(ConfigError, match=problem):
        TauRetailEnv(**kwargs)


def test_a_split_that_does_not_exist_is_named():
    with pytest.raises(ConfigError, match="'dev', but the made-up world has 'train', 'test'"):
        TauRetailEnv().tasks("dev")
