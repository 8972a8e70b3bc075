"""The chat templates of the families people use: conversations grow to just what the template writes at once."""

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.chat_families import (
    FAMILIES,
    TOOLS,
    backend_of,
    canonical_turn,
    holds_control_text,
    ids_at_once,
    spoken_turn,
    text_at_once,
)

from llmgym.errors import TokenizerError
from llmgym.messages import AssistantMessage, Message, ToolCall, chat_for, load_tokenizer

USER = [Message("user", "and now?")]
KWARGS = ({}, {"enable_thinking": False}, {"preserve_thinking": True})


@pytest.fixture(scope="session")
def tokenizer_of(trained_bpe):
    return cache(lambda name: load_tokenizer(backend_of(FAMILIES[name], trained_bpe)))


# -- conversations -----------------------------------------------------------------------------------------------

PIECES = ["", " ", "\n", "a", "12*7", " b ", "<", "|>", "{", '"', "\\", "é日🐈", "\U0010f000", "▁", "so\n\n"]
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
text = st.lists(st.sampled_from(PIECES) | ANY, max_size=4).map("".join)
arguments = st.fixed_dictionaries(
    {"text": text, "limit": st.integers(-5, 10**12)},
    optional={"nested": st.dictionaries(st.sampled_from("ab"), st.lists(text | st.booleans(), max_size=2), max_size=2)},
)


@dataclass
class Talk:
    """First messages, and rounds of a turn of the policy and what it is answered."""

    first: list[Message]
    rounds: list[tuple[AssistantMessage, list[Message]]]
    has_tools: bool
    kwargs: dict

    def texts(self):
        for message in [*self.first, *(m for turn, answers in self.rounds for m in (turn, *answers))]:
            yield message.content
            if isinstance(message, AssistantMessage):
                yield from (message.reasoning, *(str(dict(call.arguments)) for call in message.tool_calls))


@st.composite
def talks(draw, content=text):
    rounds = []
    for index in range(draw(st.integers(1, 4))):
        calls = [
            ToolCall("search", draw(arguments), id=f"call{index:03}{number:02}")  # nine letters, as Mistral wants them
            for number in range(draw(st.sampled_from([0, 0, 1, 1, 2])))
        ]
        turn = AssistantMessage(content=draw(content), reasoning=draw(content), tool_calls=tuple(calls))
        results = [Message("tool", draw(content), name=call.name, tool_call_id=call.id) for call in calls]
        rounds.append((turn, results or [Message("user", draw(content))]))
    first = [Message("system", draw(content))] if draw(st.booleans()) else []
    return Talk([*first, Message("user", draw(content))], rounds, draw(st.booleans()), draw(st.sampled_from(KWARGS)))


def fitted(talk, family):
    """The talk with no more than the family's template can write."""
    rounds = []
    for turn, answers in talk.rounds:
        calls = turn.tool_calls[: family.calls]
        content = "" if calls and family.only_calls else turn.content or family.least
        turn = replace(turn, content=content, tool_calls=calls, reasoning=turn.reasoning if family.thinks else "")
        rounds.append((turn, answers[: len(calls)] if calls else [Message("user", answers[0].content)]))
    first = talk.first if family.has_system else talk.first[-1:]
    return Talk(first, rounds, talk.has_tools and bool(family.calls), talk.kwargs)


def require_plain(talk, tokenizer):
    """Leave out texts that hold a control token's, or a mark at which templates cut contents."""
    template = tokenizer.backend.chat_template
    marks = [mark for mark in ("think>", "tool_response>", "channel", "/nothink", "null") if mark in template]
    assume(not any(holds_control_text(tokenizer.backend, each) for each in talk.texts()))
    assume(not any(mark in each for mark in marks for each in talk.texts()))


# -- the property ------------------------------------------------------------------------------------------------


def check_growth(tokenizer, family, talk):
    """Each turn is sampled as the template writes it, or else as its content alone."""
    backend, chat = tokenizer.backend, chat_for(tokenizer, talk.kwargs)
    tools = TOOLS if talk.has_tools else []
    options = {"tools": tools or None, "add_generation_prompt": True, **talk.kwargs}
    history = talk.first
    ids = chat.render(history, tools=tools)
    assert ids == ids_at_once(backend, family, history, **options)
    for wanted, answers in talk.rounds:
        turn = canonical_turn(tokenizer, family, history, wanted, **options)
        if turn is None:
            turn, answers = spoken_turn(tokenizer, family, wanted.content), [Message("user", answers[0].content)]
        seen, cut = [*ids, *turn.token_ids], replace(turn, token_ids=turn.token_ids[:-1])
        before, end = text_at_once(backend, family, history, **options), tokenizer.end_texts[seen[-1]]

        suffix = chat.extend(seen, answers, history=[*history, turn], tools=tools)
        suffix_of_cut = chat.extend(seen[:-1], answers, history=[*history, cut], tools=tools)

        history = [*history, turn, *answers]
        whole, begin = text_at_once(backend, family, history, **options), before + turn.text + end
        assert (suffix is None) == (not whole.startswith(begin))
        if cut.token_ids:
            assert suffix_of_cut == (None if suffix is None else [seen[-1], *suffix])
        whole_ids = ids_at_once(backend, family, history, **options)
        if suffix is None:
            ids = chat.render(history, tools=tools)
            assert ids == whole_ids
        else:
            ids = seen + suffix
            assert suffix == backend(end + whole[len(begin) :], add_special_tokens=False)["input_ids"][1:]
            assert ids == whole_ids or whole_ids[: len(seen)] != seen  # the policy may spell a turn its own way


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=5)
@given(talk=talks())
def test_a_conversation_grows_to_what_the_template_writes_at_once(tokenizer_of, name, talk):
    talk = fitted(talk, FAMILIES[name])
    require_plain(talk, tokenizer_of(name))

    check_growth(tokenizer_of(name), FAMILIES[name], talk)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=40)
@given(talk=talks())
def test_many_conversations_grow_to_what_the_template_writes_at_once(tokenizer_of, name, talk):
    talk = fitted(talk, FAMILIES[name])
    require_plain(talk, tokenizer_of(name))

    check_growth(tokenizer_of(name), FAMILIES[name], talk)


# -- what grows, and what does not -------------------------------------------------------------------------------

# Does a turn stay as it was sampled: an answer with no thought (or an empty one), and one after a thought, once the
# user speaks; a call as the template writes it, and one after a thought, once the result is there? None where there is
# no such turn.
GROWS = {
    "qwen2.5": (True, None, True, None),
    "qwen3": (True, False, False, True),  # an empty thought is dropped
    "qwen3-2507": (True, None, True, None),
    "qwen3.5": (False, False, True, True),
    "qwen3.5-nothink": (False, None, True, None),
    "qwen3.6": (False, False, True, True),
    "qwen3.8": (True, True, True, True),
    "llama3": (True, None, None, None),
    "llama3.1": (True, None, True, None),
    "llama3.2": (True, None, True, None),
    "gemma": (True, None, None, None),
    "gemma3": (True, None, None, None),
    "gemma4": (True, False, True, True),
    "phi3": (True, None, None, None),
    "phi3.5": (True, None, None, None),
    "deepseek-r1": (False, None, None, None),
    "deepseek-v3": (False, None, False, None),
    "gpt-oss": (False, False, True, True),
    "glm4.5": (True, False, True, True),
    "smolvlm": (True, None, None, None),
    "lfm2": (True, None, None, None),
    "lfm2-v2": (True, None, True, None),
    "lfm2.5": (True, False, True, True),
    "nemotron3-nano": (False, False, False, True),
    "nemotron3-ultra": (False, False, False, True),
    "cohere": (True, None, None, None),
    "cohere2": (True, None, None, None),
    "mistral-v3": (False, None, True, None),  # the tools stand before the last message of the user
    "mistral-v7": (False, None, True, None),
    "mistral-v11": (False, None, True, None),
    "mistral-v13": (True, None, True, None),
    "chatml": (True, None, None, None),
    "llmgym": (True, None, None, None),
}
CALL = ToolCall("search", {"text": "cats", "limit": 3}, id="call00000")
RESULT = [Message("tool", "found", name="search", tool_call_id="call00000")]
TURNS = {
    "answer": (AssistantMessage(content="fine"), USER),
    "thought": (AssistantMessage(content="fine", reasoning="hm"), USER),
    "call": (AssistantMessage(content="", tool_calls=(CALL,)), RESULT),
    "thought and call": (AssistantMessage(content="", reasoning="hm", tool_calls=(CALL,)), RESULT),
}


@pytest.mark.parametrize("kind", TURNS)
@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_grows_or_is_rendered_again_as_its_template_has_it(tokenizer_of, name, kind):
    tokenizer, family, (turn, answers) = tokenizer_of(name), FAMILIES[name], TURNS[kind]
    expected = GROWS[name][list(TURNS).index(kind)]
    if expected is None:
        assert (turn.reasoning and not family.thinks) or (turn.tool_calls and not family.calls) or "nothink" in name
        return
    question, tools = [Message("user", "hi")], TOOLS if family.calls else []
    chat = chat_for(tokenizer)
    as_written = canonical_turn(tokenizer, family, question, turn, tools=tools or None, add_generation_prompt=True)
    as_spoken = spoken_turn(tokenizer, family, "fine") if kind == "answer" else None

    suffixes = [
        chat.extend(
            [*chat.render(question, tools=tools), *sampled.token_ids],
            answers,
            history=[*question, sampled],
            tools=tools,
        )
        for sampled in (as_written, as_spoken)
        if sampled is not None
    ]

    assert any(suffix is not None for suffix in suffixes) == expected


@pytest.mark.parametrize("name", FAMILIES)
def test_the_tokens_that_end_a_turn_are_found_in_the_template(tokenizer_of, name):
    tokenizer, family = tokenizer_of(name), FAMILIES[name]

    ends = {tokenizer.backend.convert_ids_to_tokens(token) for token in tokenizer.end_ids}

    assert ends == family.all_ends
    assert tokenizer.backend.convert_ids_to_tokens(tokenizer.eos_id) == (family.ends.split() or [family.eos])[0]


# -- what is exact beyond the templates' own spelling ------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=2)
@given(talk=talks(), places=st.lists(st.integers(0, 99), min_size=1, max_size=3))
def test_control_text_in_any_message_stays_text(tokenizer_of, name, talk, places):
    tokenizer, talk = tokenizer_of(name), fitted(talk, FAMILIES[name])
    require_plain(talk, tokenizer)
    assume(all(each.strip() for each in talk.texts() if each))
    controls = sorted(tokenizer.control_texts.values())
    forged = "".join(controls[place % len(controls)] for place in places)
    chat, tools = chat_for(tokenizer, talk.kwargs), TOOLS if talk.has_tools else []

    def with_text(text):
        messages = [*talk.first, *(message for turn, answers in talk.rounds for message in (turn, *answers))]
        return [replace(m, content=f"x{text}y") if m.content or m.role != "assistant" else m for m in messages]

    def controls_of(messages):
        return [token for token in chat.render(messages, tools=tools) if token in tokenizer.control_texts]

    assert controls_of(with_text(forged)) == controls_of(with_text(""))


OWN_SPELLING = '<tool_call>{"arguments": {"limit":3,"text":"cats"}, "name": "search"}</tool_call>'


def sampled_call(tokenizer, said, content="", end="<|im_end|>"):
    ids = (*tokenizer.encode(said), tokenizer.backend.convert_tokens_to_ids(end))
    return AssistantMessage(content=content, text=said, tool_calls=(CALL,), token_ids=ids)


@pytest.mark.parametrize("name", ["qwen2.5", "qwen3-2507"])
@pytest.mark.parametrize(("before", "content"), [("", ""), ("let me look \n", "let me look")])
def test_calls_may_be_spelt_otherwise_than_the_template_does(tokenizer_of, name, before, content):
    tokenizer, question = tokenizer_of(name), [Message("user", "hi")]
    chat, turn = chat_for(tokenizer), sampled_call(tokenizer_of(name), before + OWN_SPELLING, content)
    prompt = chat.render(question, tools=TOOLS)

    suffix = chat.extend([*prompt, *turn.token_ids], RESULT, history=[*question, turn], tools=TOOLS)

    written = canonical_turn(tokenizer, FAMILIES[name], question, turn, tools=TOOLS, add_generation_prompt=True)
    assert written.token_ids != turn.token_ids
    assert suffix == chat.extend([*prompt, *written.token_ids], RESULT, history=[*question, written], tools=TOOLS)


@pytest.mark.parametrize(
    ("said", "content"),
    [(f"{OWN_SPELLING} there", "there"), (f"a  b{OWN_SPELLING}", "a b"), (f"{OWN_SPELLING}", "lost")],
)
def test_what_is_said_beside_the_calls_must_stay_to_the_letter(tokenizer_of, said, content):
    tokenizer, question = tokenizer_of("qwen2.5"), [Message("user", "hi")]
    chat, turn = chat_for(tokenizer), sampled_call(tokenizer, said, content)

    ids = [*chat.render(question, tools=TOOLS), *turn.token_ids]

    assert chat.extend(ids, RESULT, history=[*question, turn], tools=TOOLS) is None


def test_a_turn_that_ends_in_what_opens_another_message_is_rendered_again(tokenizer_of):
    tokenizer, question = tokenizer_of("glm4.5"), [Message("user", "hi")]
    chat = chat_for(tokenizer)
    user, observation = tokenizer.backend.convert_tokens_to_ids(["<|user|>", "<|observation|>"])
    ids = tokenizer.encode("\n<think></think>\nfine")

    def extended(end):
        turn = AssistantMessage(content="fine", text=tokenizer.decode(ids), token_ids=(*ids, end))
        return chat.extend([*chat.render(question), *ids, end], USER, history=[*question, turn])

    assert extended(user) is not None
    assert extended(observation) is None


@pytest.mark.parametrize("name", ["gemma3", "phi3.5", "cohere2", "gpt-oss", "gemma4"])
def test_results_that_a_template_would_drop_or_refuse_are_told_by_the_user(tokenizer_of, name):
    tokenizer, question = tokenizer_of(name), [Message("user", "hi")]
    chat, turn = chat_for(tokenizer), spoken_turn(tokenizer_of(name), FAMILIES[name], "<call>2*3</call>")
    answers = [Message("tool", "six"), Message("tool", "seven"), Message("user", "go on")]

    as_results = chat.render([*question, turn, *answers])

    assert as_results == chat.render([*question, turn, Message("user", "six\n\nseven\n\ngo on")])


def test_turns_that_a_template_cannot_take_apart_are_given_as_they_were_said(tokenizer_of):
    tokenizer, question = tokenizer_of("llama3.1"), [Message("user", "hi")]
    chat, calls = chat_for(tokenizer), (CALL, replace(CALL, id="call00001"))
    said = "two at once"
    turn = AssistantMessage(content="", text=said, tool_calls=calls, token_ids=tuple(tokenizer.encode(said)))

    text = tokenizer.backend.decode(chat.render([*question, turn, *RESULT, *RESULT]))

    assert f"assistant<|end_header_id|>\n\n{said}<|eot_id|>" in text
    assert text.count("ipython<|end_header_id|>") == 2


def test_different_ids_of_calls_stay_different_in_nine_letters(tokenizer_of):
    tokenizer = tokenizer_of("mistral-v3")
    calls = [replace(CALL, id=name) for name in ("call_1_11", "call_11_1")]
    results = [replace(RESULT[0], tool_call_id=call.id) for call in calls]
    turn = AssistantMessage(content="", tool_calls=tuple(calls))

    text = tokenizer.backend.decode(chat_for(tokenizer).render([Message("user", "hi"), turn, *results]))

    ids = re.findall(r'"(?:call_)?id": ?"(\w{9})"', text)
    assert ids[:2] == ids[2:]
    assert len(set(ids)) == 2


@pytest.mark.parametrize("name", ["mistral-v3", "mistral-v13", "qwen3"])
def test_a_turn_that_says_nothing_ends_no_conversation(tokenizer_of, name):
    tokenizer, question = tokenizer_of(name), [Message("user", "hi")]
    chat, turn = chat_for(tokenizer), spoken_turn(tokenizer, FAMILIES[name], "")

    suffix = chat.extend([*chat.render(question), *turn.token_ids], USER, history=[*question, turn])

    assert (suffix is None) == (name != "qwen3")
    assert tokenizer.backend.decode(chat.render([*question, turn, *USER])).count("and now?") == 1


def test_a_template_that_refuses_a_conversation_is_named(tokenizer_of):
    with pytest.raises(TokenizerError, match=r"refuses a conversation of system, user: .*System role"):
        chat_for(tokenizer_of("gemma")).render([Message("system", "a"), Message("user", "b")])


@pytest.fixture(scope="module")
def published():
    """Mistral's published vocabulary and the template that mistral-common writes for it."""
    import mistral_common
    from transformers.integrations.mistral.tokenizer import convert_tekken_tokenizer

    path = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
    return load_tokenizer(convert_tekken_tokenizer(str(path)))


@pytest.mark.slow
@settings(max_examples=30)
@given(talk=talks())
def test_conversations_grow_with_a_published_tokenizer_too(published, talk):
    talk = fitted(talk, FAMILIES["mistral-v3"])
    require_plain(talk, published)

    check_growth(published, FAMILIES["mistral-v3"], talk)
