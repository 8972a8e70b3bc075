"""A store that the policy serves: what earns the reward, and what only looks like it."""

import json
import pickle
from datetime import date
from functools import partial

import numpy as np
import pytest
from llmgym.envs.store import INTENTS, StoreEnv
from llmgym.envs.store.database import same_state
from llmgym.envs.store.env import reference_state, says
from llmgym.envs.store.rules import CANCEL_DAYS
from support.store import STYLES, Desk, call, places, play, replaced, store, turn

import llmgym
from llmgym.errors import ConfigError
from llmgym.messages import ToolCall


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("intent", INTENTS)
def test_the_reference_turns_earn_everything_with_every_customer(intent, style):
    for index in range(3):
        env, task, scenario = store(intent, style, index)

        score = play(env, task, env.solve(task), seed=index)

        assert score is not None, task.key
        assert score.reward == 1.0, (task.key, score.reason)
        assert scenario.calls or scenario.facts


@pytest.mark.parametrize(
    "manner",
    [
        "{} Is there anything else I can help you with today?",
        "Thank you for reaching out! I'm sorry to hear that, and I'd be happy to help you with this. {}",
        "Thank you, I've found your account and have located your details. {}",
        "**Dear customer**\n\n- {}\n\nI apologize for the trouble. Please let me know if you have other questions.",
    ],
)
def test_polite_phrases_around_the_reference_turns_change_nothing(manner):
    for place, intent in enumerate(INTENTS):
        env, task, _ = store(intent, STYLES[place % 3])
        turns = [manner.replace("{}", said) if isinstance(said, str) else said for said in env.solve(task)]

        score = play(env, task, turns)

        assert score is not None, intent
        assert score.reward == 1.0, (intent, score.reason)


def test_an_agent_who_says_what_it_is_about_to_do_may_still_do_it():
    for place, intent in enumerate(INTENTS):
        env, task, scenario = store(intent, STYLES[place % 3])
        turns = []
        for said in env.solve(task):
            turns += ["I'll take care of that credit now. One moment, please."] if said in scenario.calls else []
            turns += [said]

        score = play(env, task, turns)

        assert score is not None, intent
        assert score.reward == 1.0, (intent, score.reason)


def test_who_asks_for_a_sum_waits_for_it_where_the_first_amount_is_told_alone():
    env, task, _ = store("total_of_two_orders")
    *looked, total = env.solve(task)

    score = play(env, task, [*looked, "For the first one you paid 100.00.", total])

    assert score.reward == 1.0


@pytest.mark.parametrize(
    "question", ["OK?", "Is that alright?", "Can I go ahead with this?", "Please reply with **yes** to confirm."]
)
def test_a_yes_may_be_asked_for_in_any_words(question):
    for place, intent in enumerate(INTENTS):
        env, task, _ = store(intent, STYLES[place % 3])
        turns = [
            said.replace("Shall I proceed? (yes/no)", question) if isinstance(said, str) else said
            for said in env.solve(task)
        ]

        assert play(env, task, turns).reward == 1.0, intent


def test_one_call_for_each_item_does_what_one_call_for_all_of_them_does():
    env, task, scenario = next(
        each for each in map(partial(store, "return_part", "patient"), range(9)) if len(item_ids_of(each[2])) > 1
    )
    turns = list(env.solve(task))
    (at,) = places(turns, "return_items")
    calls = [call("return_items", **turns[at].arguments | {"item_ids": [each]}) for each in item_ids_of(scenario)]

    assert play(env, task, replaced(turns, at, *reversed(calls))).reward == 1.0


def item_ids_of(scenario):
    return scenario.calls[0].arguments["item_ids"]


def test_an_order_under_way_cannot_be_cancelled_for_one_reason_only():
    for index in range(9):
        _, _, scenario = store("cancel_shipped", index=index)
        order = scenario.database["orders"][scenario.calls[0].arguments["order_id"]]

        assert (scenario.today - date.fromisoformat(order["ordered_on"])).days <= CANCEL_DAYS


def test_no_task_is_done_before_it_began():
    for intent in INTENTS:
        for index in range(3):
            _, _, scenario = store(intent, index=index)
            assert not same_state(reference_state(scenario), scenario.database) or scenario.facts, intent


def test_no_tool_shows_what_a_customer_only_asks_for():
    for intent in ("total_of_two_orders", "span_of_prices"):
        for index in range(5):
            env, task, scenario = store(intent, index=index)
            desk = Desk(env, task)
            shown = desk.read_everything(desk.identify())
            assert not any(says(text, fact) for text in shown for fact in scenario.facts)


def test_the_customer_knows_nothing_of_what_the_agent_should_do():
    for intent in INTENTS:
        _, task, scenario = store(intent)
        for hidden in [each.name for each in scenario.calls] + ["database", *map(str, scenario.facts)]:
            assert hidden not in task.prompt


# -- near misses -----------------------------------------------------------------------------------------------


def parts(score):
    return score.reward, score.parts["database"], score.parts["facts"], score.parts["policy"]


def test_the_right_action_without_the_amount_earns_nothing():
    env, task, scenario = store("cancel")
    (fact,) = scenario.facts
    turns = [each.replace(fact, "some money") if isinstance(each, str) else each for each in env.solve(task)]

    desk = Desk(env, task)
    for said in [*turns, "You get 0.01.", "Done."]:
        desk.take(said)

    assert parts(desk.score) == (0.0, 1.0, 0.0, 1.0)


def test_the_right_amount_without_the_action_earns_nothing():
    env, task, _ = store("cancel")
    turns = list(env.solve(task))
    del turns[places(turns, "cancel_order")[0]]

    assert parts(play(env, task, turns)) == (0.0, 0.0, 1.0, 1.0)


def test_an_action_without_a_yes_earns_nothing():
    env, task, _ = store("change_address")
    turns = [each for each in env.solve(task) if "Shall I proceed?" not in str(each)]

    score = play(env, task, [*turns, *[turns[-1]] * 4])

    assert parts(score) == (0.0, 1.0, 1.0, 0.0)
    assert "did not say yes" in score.reason


def test_a_yes_that_was_taken_back_is_none():
    env, task, scenario = store("change_address", "patient")
    turns = list(env.solve(task))
    (at,) = places(turns, "change_address")
    order_id = scenario.calls[0].arguments["order_id"]
    other = f"Then I send order {order_id} to the moon. Shall I proceed?"

    score = play(env, task, [*replaced(turns, at, other, turns[at]), *["It is done."] * 4])

    assert parts(score) == (0.0, 1.0, 1.0, 0.0)


def test_an_action_for_an_order_that_was_not_looked_up_earns_nothing():
    env, task, _ = store("change_address")
    turns = [each for each in env.solve(task) if getattr(each, "name", "") != "get_order"]

    score = play(env, task, turns)

    assert parts(score) == (0.0, 1.0, 1.0, 0.0)
    assert "was not looked up" in score.reason


def test_an_action_for_a_customer_whom_nobody_found_earns_nothing():
    env, task, _ = store("lost_package")
    turns = [each for each in env.solve(task) if not getattr(each, "name", "").startswith("find_")]

    assert parts(play(env, task, turns)) == (0.0, 1.0, 1.0, 0.0)


def test_a_change_to_another_customers_order_earns_nothing():
    env, task, scenario = store("order_of_another")
    order_id = scenario.calls[0].arguments["order_id"]
    desk = Desk(env, task)
    desk.identify()
    desk.take(call("get_order", order_id=order_id))
    desk.take(call("cancel_order", order_id=order_id, reason="no_longer_needed"))
    desk.take(f"Unfortunately I cannot tell you that {order_id} is cancelled.")

    assert parts(desk.score)[1::2] == (0.0, 0.0)
    assert "is not the customer who was found" in desk.score.reason


def test_looking_for_a_second_customer_earns_nothing():
    env, task, scenario = store("cancel")
    others = [each["email"] for each in scenario.database["customers"].values()]
    turns = list(env.solve(task))

    score = play(
        env, task, [*turns[:-1], *(call("find_customer_by_email", email=email) for email in others), turns[-1]]
    )

    assert parts(score) == (0.0, 1.0, 1.0, 0.0)


@pytest.mark.parametrize("reason", ["already_shipped", "return_period_over", "order_of_another_customer"])
def test_a_refusal_for_another_reason_earns_nothing(reason):
    env, task, scenario = store("cancel_too_late")
    turns = list(env.solve(task))
    (at,) = places(turns, "decline_request")
    wrong = call("decline_request", order_id=scenario.calls[0].arguments["order_id"], reason=reason)

    assert play(env, task, replaced(turns, at, wrong)).reward == 0.0


def test_a_refusal_in_words_alone_earns_nothing():
    env, task, _ = store("cancel_shipped")
    turns = [each for each in env.solve(task) if getattr(each, "name", "") != "decline_request"]

    assert parts(play(env, task, turns)) == (0.0, 0.0, 1.0, 1.0)


def test_a_stranger_is_not_declined_before_anybody_looked_for_them():
    env, task, _ = store("unknown_customer")
    turns = [each for each in env.solve(task) if not getattr(each, "name", "").startswith("find_")]

    assert parts(play(env, task, turns)) == (0.0, 1.0, 1.0, 0.0)


def test_handing_over_for_another_reason_ends_the_task_without_reward():
    env, task, _ = store("got_hurt")
    turns = list(env.solve(task))

    score = play(env, task, replaced(turns, -1, call("hand_over_to_human", reason="other")))

    assert (score.reward, score.reason.split(";")[0]) == (0.0, "handed over")


def test_an_action_and_one_more_earn_nothing():
    env, task, scenario = store("change_payment")
    turns = list(env.solve(task))
    extra = call("file_complaint", order_id=scenario.calls[0].arguments["order_id"], category="late_delivery")

    assert parts(play(env, task, [*turns[:-1], extra, turns[-1]])) == (0.0, 0.0, 1.0, 1.0)


def test_the_turn_budget_truncates_and_earns_nothing():
    env = llmgym.TokenEnv(StoreEnv(intents="cancel"), view="text", limits={"turns": 2})
    env.reset(seed=0)
    env.step("What is your e-mail address?")

    _, reward, terminated, truncated, info = env.step("What can I do for you?")

    assert (reward, terminated, truncated, info["stop_reason"]) == (0.0, False, True, "turn_budget")


# -- an environment like the others ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"intents": "steal"},
        {"intents": ()},
        {"style": "angry"},
        {"user": "scrpt"},
        {"user": "http://localhost:1/v1"},
        {"user": 5},
        {"user": StoreEnv},
        {"user_model": "tiny"},
    ],
)
def test_settings_that_make_no_store_are_refused(settings):
    with pytest.raises(ConfigError):
        StoreEnv(**settings)


def test_a_fork_goes_its_own_way():
    env, task, _ = store("change_address")
    turns = list(env.solve(task))
    (at,) = places(turns, "change_address")
    env.reset(task, np.random.default_rng(0))
    for said in turns[:at]:
        env.step(turn(said))

    fork = pickle.loads(pickle.dumps(env.fork()))
    responses = [each.step(turn(said)) for each, rest in ((fork, turns[at:]), (env, turns[-1:])) for said in rest]

    assert [response.score.reward for response in responses if response.terminated] == [1.0, 0.0]


def test_the_rules_are_the_users_to_change():
    env, task, scenario = store("cancel", system_prompt="Be kind on {today}.")

    messages = env.reset(task, np.random.default_rng(0)).messages

    assert messages[0].content == f"Be kind on {scenario.today.isoformat()}."
    assert [message.role for message in messages] == ["system", "user"]


def test_a_prompt_may_show_the_tools_where_the_chat_template_does_not():
    env, task, _ = store("cancel", system_prompt="These are your tools:\n{tools}")

    _, *shown = env.reset(task, np.random.default_rng(0)).messages[0].content.split("\n")

    assert [json.loads(each)["name"] for each in shown] == [tool.name for tool in env.tools]


def test_tools_refuse_what_cannot_be():
    env, task, scenario = store("exchange")
    arguments = dict(scenario.calls[0].arguments)
    wrong = [
        {"order_id": "S1"},
        {"item_ids": []},
        {"item_ids": arguments["item_ids"] * 2},
        {"item_ids": ["I1"]},
        {"new_item_ids": arguments["item_ids"]},
        {"new_item_ids": []},
        {"payment_method_id": "card_1"},
    ]
    env.reset(task, np.random.default_rng(0))

    responses = [env.step(turn(ToolCall("exchange_items", arguments | change))) for change in wrong]

    assert all(response.num_tool_errors == 1 for response in responses)
    assert same_state(env._desk.database, scenario.database)


def test_the_answer_of_a_task_names_the_reference_actions():
    _, task, scenario = store("lost_package")

    assert [name for name, _ in json.loads(task.answer)["calls"]] == ["file_complaint", "give_credit"]
    assert json.loads(task.answer)["facts"] == list(scenario.facts)


@pytest.mark.slow  # in bytes, its conversations are long
def test_the_store_keeps_the_promises_of_an_environment():
    report = llmgym.check_env("llmgym/Store-v0", num_tasks=2)

    assert "reference" in report.passed
