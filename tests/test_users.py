"""Users who talk with the policy: a script answers what is asked, and a model plays from the other side."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmgym.envs.users import END, Conversation, Fact, ModelUser, Script, ScriptedUser, Wish
from llmgym.envs.users.phrases import DONE

from llmgym import AssistantMessage, ByteTokenizer, EnvResponse, Message, Task
from llmgym.errors import SamplerError
from llmgym.sampling import SamplingParams, ScriptedSampler, ask_sampler

TASK = Task(key="0", prompt="Return a pan.")
RNG = np.random.default_rng(0)
RETURN = Wish(
    request="I want to return a pan.",
    proposal=(r"\bS1\b", "pan", "paypal"),
    correction="Send the pan of S1 back, and the money to PayPal.",
    facts=(Fact(asked_by="order", answer="It is S1."), Fact(asked_by="item", answer="The pan.")),
)
SCRIPT = Script(opening="Hello.", wishes=(RETURN,), facts=(Fact(asked_by="e-?mail", answer="a@b.example"),))
PROPOSAL = "I would take the pan of S1 back, with the money to PayPal. Shall I proceed?"


def answers(script, *said):
    """What a scripted user says to each message, and END where they leave."""
    user, messages = ScriptedUser(lambda task, rng: script), []
    user.first(TASK, RNG)
    for text in said:
        messages += [Message("assistant", text)]
        messages += [Message("user", user.reply(messages))]
    return [message.content for message in messages if message.role == "user"]


def test_a_fact_is_told_to_whoever_asks_for_it_and_to_nobody_else():
    assert answers(SCRIPT, "What is your e-mail address?") == ["a@b.example"]
    assert answers(SCRIPT, "I shall send an e-mail.") == [RETURN.request]


def test_all_facts_that_are_asked_for_are_told_at_once_or_one_after_the_other():
    question = "Which order and which item, and what is your e-mail address?"
    terse = Script(opening="hi", wishes=SCRIPT.wishes, facts=SCRIPT.facts, one_at_a_time=True)

    assert answers(SCRIPT, question) == ["It is S1. The pan. a@b.example"]
    assert answers(terse, *[question] * 4) == ["It is S1.", "The pan.", "a@b.example", "It is S1."]


def test_a_proposal_gets_a_yes_only_if_it_is_what_the_user_wants():
    wrong = PROPOSAL.replace("PayPal", "your credit card")

    assert answers(SCRIPT, PROPOSAL, wrong) == [SCRIPT.yes, f"No. {RETURN.correction}"]


def test_a_question_about_the_order_alone_is_told_the_wish_without_a_no():
    assert answers(SCRIPT, "To confirm: it is about S1?") == [RETURN.correction]


def test_a_changed_mind_comes_at_the_first_question_for_a_yes_whatever_it_proposes():
    wish = Wish(request="Return it.", proposal=("S1", "return"), changes_to=RETURN)
    script = Script(opening="Hello.", wishes=(wish,))

    assert answers(script, "Return S1, is that right?", PROPOSAL) == [RETURN.request, SCRIPT.yes]


@given(st.lists(st.text(), max_size=8))
def test_whatever_the_policy_says_is_answered(said):
    assert all(answers(SCRIPT, *said)[:4])


def test_a_long_message_is_read_in_linear_time():
    assert answers(SCRIPT, "Which order? " + "or else " * 50_000) == ["It is S1."]


def test_the_user_leaves_when_it_is_done_after_a_yes_and_not_before():
    done = "The return has been recorded. Is there anything else I can do for you?"

    assert END not in answers(SCRIPT, done)[0]
    assert END in answers(SCRIPT, PROPOSAL, done)[1]


@pytest.mark.parametrize(
    "said",
    [
        "It has been cancelled. Which order is it?",
        "It is done. Could you confirm the item?",
        "Great, I'll have that done now. One moment, please.",
        "Thank you, I have noted it and will now update S1.",
        "I've found S1. Let me see whether this can be done.",
    ],
)
def test_a_message_that_asks_or_announces_something_ends_no_wish(said):
    assert END not in answers(SCRIPT, PROPOSAL, said)[1]


def test_what_the_user_also_wants_to_know_is_asked_for_until_it_is_said():
    wish = Wish(request="Cancel S1.", ends=((DONE, ""), (r"\d\.\d\d", "How much do I get?")))
    script = Script(opening="Hello.", wishes=(wish,))

    first, second = answers(script, "It has been cancelled.", "You get 3.50.")

    assert first == "How much do I get?"
    assert END in second


def test_a_user_with_nothing_to_agree_to_leaves_the_decision_to_the_policy():
    script = Script(opening="Hello.", wishes=(Wish(request="Where is my order?"),))

    assert answers(script, "Shall I proceed?", "Hm.") == [script.unsure, "Where is my order?"]


def test_wishes_come_one_after_the_other():
    wishes = (Wish(request="First."), Wish(request="Second."))

    first, second = answers(Script(opening="Hello.", wishes=wishes), "That has been done.", "I cannot do that.")

    assert first == "Second."
    assert END in second


@pytest.mark.parametrize("said", ["I can't find you; I need your ZIP code.", "Unfortunately I need your name first."])
def test_who_needs_more_from_the_user_has_refused_nothing(said):
    assert END not in answers(Script(opening="Hello.", wishes=(Wish(request="Cancel it."),)), said)[0]


def test_a_user_to_whom_nothing_sensible_is_said_leaves():
    said = answers(Script(opening="Hello.", wishes=(RETURN,), patience=3), "", "Hm.", "")

    assert said[:2] == [RETURN.request] * 2
    assert END in said[2]


# -- in an environment -----------------------------------------------------------------------------------------


def respond(answer, is_last):
    return EnvResponse(messages=(answer,), terminated=is_last)


def test_the_mark_of_the_end_is_not_shown_to_the_policy():
    user = SimpleNamespace(first=lambda task, rng: "Hello.", reply=lambda messages: f"Bye.\n{END}")
    conversation = Conversation(user)

    first = conversation.begin(TASK, RNG)
    response = conversation.say(AssistantMessage("Hi."), respond)

    assert (first.content, response.messages[0].content, response.terminated) == ("Hello.", "Bye.", True)


def test_episodes_that_share_a_user_do_not_hear_each_other():
    user = ScriptedUser(lambda task, rng: SCRIPT)
    one, two = Conversation(user), Conversation(user)
    one.begin(TASK, RNG)
    two.begin(TASK, RNG)

    one.say(AssistantMessage(PROPOSAL), respond)
    assert not one.say(AssistantMessage("Wait a moment."), respond).terminated
    response = two.say(AssistantMessage("It has been done."), respond)

    assert response.messages[0].content == RETURN.request  # nobody has asked this one for a yes


def test_a_model_sees_the_conversation_from_the_other_side():
    seen = []
    user = ModelUser(
        lambda messages: seen.extend(messages) or "I am Ada.", lambda task: task.prompt, styles=("Be brief.",)
    )

    opening = user.first(TASK, RNG)
    user.reply((Message("user", opening), Message("assistant", "\ud800" + "x" * 9000)))

    assert [message.role for message in seen] == ["system", "user", "assistant", "user"]
    assert "Return a pan. Be brief." in seen[0].content
    assert END in seen[0].content
    assert seen[2].content == opening
    assert seen[3].content == "?" + "x" * (user.max_chars - 1)


@pytest.mark.parametrize("answer", ["", "  \n", None])
def test_a_model_that_says_nothing_has_failed(answer):
    user = ModelUser(lambda messages: answer, lambda task: task.prompt)
    user.first(TASK, RNG)

    with pytest.raises(SamplerError, match="says something"):
        user.reply((Message("assistant", "Hi."),))


def test_a_sampler_plays_the_user_and_the_same_words_get_the_same_answer():
    tokenizer = ByteTokenizer()

    def policy(prompt, params, rng):
        return [*tokenizer.encode(f"I am {rng.integers(10**9)}."), tokenizer.eos_id]

    params = SamplingParams(stop_token_ids=(tokenizer.eos_id,))
    ask = ask_sampler(ScriptedSampler(policy), tokenizer, params=params)

    def said(seed, text):
        user = ModelUser(ask, lambda task: task.prompt, styles=("Be brief.", "Be long.", "Be kind.", "Be rude."))
        user.first(TASK, np.random.default_rng(seed))
        return asyncio.run(user.reply((Message("assistant", text),)))

    assert said(0, "Hi.") == said(0, "Hi.") != said(0, "Hello.")
    assert len({said(seed, "Hi.") for seed in range(20)}) == 4
