"""What counts as a yes, as a no, and as a question for a yes, in the words that people use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmgym.envs.users.phrases import agrees, asks_to_confirm, takes_back, without_announcements, without_offers

YES = [
    "yes",
    "Yes, please go ahead.",
    "  OK.",
    "**Yes**!",
    "Sure, do it.",
    "That\u2019s right.",
    "Yes. No more questions.",
    "Yes, I don't need it anymore.",
    "Yes, please cancel it. I no longer need it.",
    "Yes, that's not a problem.",
    "Yes, it was not what I expected.",
    "Absolutely, please proceed.",
    "Sounds good to me.",
    "I agree.",
    "Of course. No, that's all.",
]
NO = [
    "",
    "no",
    "Yesterday.",
    "Wait, yes?",
    "I said yes.",
    "Yes? What do you mean?",
    "ok, not now",
    "Yes, but to my card.",
    "Yes, but only the lamp.",
    "Yes, except the lamp.",
    "Yes, if it is free.",
    "Sure, but not to PayPal.",
    "Yes, do not cancel it.",
    "Yes... no, wait.",
    "Ok, hold on.",
    "ok, I'd rather have store credit",
    "Okay, let me think.",
    "Yes, never mind.",
    "Yes, I don't want that.",
    "Sure, no.",
]


@pytest.mark.parametrize("text", YES)
def test_a_yes_is_one(text):
    assert agrees(text)
    assert not takes_back(text)


@pytest.mark.parametrize("text", NO)
def test_anything_else_is_no_yes(text):
    assert not agrees(text)


@pytest.mark.parametrize(
    "text",
    [
        "No. The red one.",
        "No, don't.",
        "Nope.",
        "Wait.",
        "stop",
        "Not yet.",
        "Never mind.",
        "I have changed my mind.",
        "The red one instead.",
        "Please don't cancel it.",
        "Yes, but only the lamp.",
    ],
)
def test_a_correction_takes_a_yes_back(text):
    assert takes_back(text)


@pytest.mark.parametrize(
    "text",
    [
        "I ordered it by mistake.",
        "My ZIP code is 12345.",
        "I do not need it any more.",
        "No, that's all.",
        "No, nothing else, thanks.",
        "No problem.",
        "It stopped working.",
    ],
)
def test_a_fact_takes_no_yes_back(text):
    assert not takes_back(text)


@given(st.text())
def test_no_text_is_a_yes_and_takes_it_back(text):
    assert not (agrees(text) and takes_back(text))


@pytest.mark.parametrize(
    "text",
    [
        "Shall I proceed? (yes/no)",
        "Please confirm that.",
        "Let me know if I should proceed, ok with you or not.",
        "I cancel S1. OK?",
        "Is that alright?",
        "Does that work for you?",
        "Can I cancel it now?",
        "Do you approve?",
        "Want me to do it?",
        "Are you sure you want to cancel S1?",
        "Just reply YES.",
        "Awaiting your confirmation.",
    ],
)
def test_a_question_for_a_yes_is_one(text):
    assert asks_to_confirm(text)


@pytest.mark.parametrize(
    "text",
    [
        "I confirm that it is cancelled.",
        "What is your name?",
        "It is done. Is there anything else I can help you with?",
        "Thank you for confirming.",
        "Where should it be shipped?",
        "It was confirmed on Monday. Which order is it?",
    ],
)
def test_a_report_or_another_question_asks_for_no_yes(text):
    assert not asks_to_confirm(text)


def test_announcements_are_left_out_up_to_the_end_of_their_sentence():
    said = "S1 is cancelled, and I'll send 3.50 soon. I can confirm it. I can see to S2! I will not wait."

    assert without_announcements(said) == "S1 is cancelled, and . I can confirm it. ! I will not wait."


def test_sentences_that_offer_more_help_are_left_out():
    assert without_offers("You get 3.50. Anything else? Bye.") == "You get 3.50. Bye."
