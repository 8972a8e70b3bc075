"""Conversations become ids as the template writes them, and grow without a second look at what was sampled."""

from dataclasses import dataclass

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llmgym import EnvResponse, FiniteTasks, InitialMessages, MessageEnv, Score, Task, TokenEnv
from llmgym.episode import StopReason
from llmgym.errors import TokenizerError
from llmgym.messages import AssistantMessage, ByteTokenizer, Chat, Message, chat_for, load_tokenizer
from llmgym.training.tiny_model import build_character_tokenizer

CONTROLS = ("<|im_start|>", "<|bos|>", "<|head|>", "<|body|>")
GENERATION = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
TEMPLATES = {
    # A system message of its own where there is none.
    "default system": (
        "{% if messages[0].role != 'system' %}<|im_start|>system\nBe brief.{{ eos_token }}\n{% endif %}"
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{{ eos_token }}\n{% endfor %}" + GENERATION
    ),
    "headers": (
        "<|bos|>{% for m in messages %}<|head|>{{ m.role }}<|body|>\n\n{{ m.content }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}<|head|>assistant<|body|>\n\n{% endif %}"
    ),
    "trims": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}{{ eos_token }}\n{% endfor %}"
        + GENERATION
    ),
    # What an earlier turn thought is dropped once the user speaks again.
    "forgets": (
        "{% set ns = namespace(last=-1) %}{% for m in messages if m.role == 'user' %}{% set ns.last = m %}{% endfor %}"
        "{% set ns.open = false %}{% for m in messages %}<|im_start|>{{ m.role }}\n"
        "{% if m.role == 'assistant' and not ns.open %}{{ m.content.split('</think>')[-1] }}"
        "{% else %}{{ m.content }}{% endif %}{% if m is sameas ns.last %}{% set ns.open = true %}{% endif %}"
        "{{ eos_token }}\n{% endfor %}" + GENERATION
    ),
    # Tools and their results are told by the user; results that follow each other in one message.
    "tools by the user": (
        "{% if tools %}<|im_start|>user\nTools:{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}"
        "{{ eos_token }}\n{% endif %}{% for m in messages %}{% if m.role != 'tool' %}<|im_start|>{{ m.role }}\n"
        "{{ m.content }}{{ eos_token }}\n{% else %}{% if loop.previtem.role != 'tool' %}<|im_start|>user\n{% endif %}"
        "<result>{{ m.content }}</result>{% if loop.last or loop.nextitem.role != 'tool' %}{{ eos_token }}\n{% endif %}"
        "{% endif %}{% endfor %}" + GENERATION
    ),
}
KINDS = ("characters", "none", "words", "spaces")
TOOLS = [{"type": "function", "function": {"name": "search", "description": "Finds it.", "parameters": {}}}]


@pytest.fixture(scope="session")
def tokenizers(trained_bpe):
    """By kind, of borders between words, and template: every kind with every template."""

    def load(kind, template):
        if kind != "characters":
            return load_tokenizer(trained_bpe(template, kind, CONTROLS))
        backend = build_character_tokenizer()
        backend.add_special_tokens({"extra_special_tokens": [*CONTROLS, "<user>"]})
        backend.chat_template = template
        return load_tokenizer(backend)

    return {(kind, name): load(kind, template) for kind in KINDS for name, template in TEMPLATES.items()}


PLAIN = ["", " ", "\n", "a", "12*7", "user\n", " b ", "</think>", "<", "|>", "é日🐈", "\U0010f000", "\U0010f001", "▁"]
SPECIAL = ["<|im_end|>", "<|im_start|>", "<|bos|>", "<|head|>user<|body|>", "<end>", "<user>", "<|im_"]
SAID = ["12*7", "=84", " so", "\n", "b", "</think>", "x "]
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
# Hypothesis also draws texts that it finds in the code, such as a control token's.
plain_text = (
    st.lists(st.sampled_from(PLAIN) | ANY, max_size=4)
    .map("".join)
    .filter(lambda text: not any(control in text for control in SPECIAL))
)
any_text = st.lists(st.sampled_from([*PLAIN, *SPECIAL]) | ANY, max_size=5).map("".join)
said_text = st.lists(st.sampled_from(SAID), min_size=1, max_size=4).map("".join)


@dataclass
class Talk:
    """First messages, and rounds of what the policy said and what was answered."""

    first: list[Message]
    rounds: list[tuple[str, list[Message]]]

    @property
    def messages(self):
        turns = [[AssistantMessage(content=said), *answers] for said, answers in self.rounds]
        return [*self.first, *(message for turn in turns for message in turn)]


@st.composite
def talks(draw, text, said=None, min_rounds=0):
    first = [Message("system", draw(text))] if draw(st.booleans()) else []
    answers = st.one_of(
        st.lists(st.builds(Message, st.just("tool"), text), min_size=1, max_size=2),
        st.builds(Message, st.just("user"), text).map(lambda message: [message]),
    )
    rounds = st.lists(st.tuples(text if said is None else said, answers), min_size=min_rounds, max_size=3)
    return Talk([*first, Message("user", draw(text))], draw(rounds))


keys = st.sampled_from([(kind, name) for kind in KINDS for name in TEMPLATES])
tools_or_none = st.sampled_from([[], TOOLS])


# -- rendering ---------------------------------------------------------------------------------------------------


@given(key=keys, talk=talks(plain_text), tools=tools_or_none)
def test_a_conversation_without_control_text_is_what_transformers_makes_of_it(tokenizers, key, talk, tools):
    tokenizer = tokenizers[key]

    ids = chat_for(tokenizer).render(talk.messages, tools=tools)

    assert ids == at_once(tokenizer, talk.messages, tools)


def at_once(tokenizer, messages, tools=()):
    mappings = [{"role": message.role, "content": message.content} for message in messages]
    return tokenizer.backend.apply_chat_template(
        mappings, tools=tools or None, add_generation_prompt=True, tokenize=True, return_dict=False
    )


@given(key=keys, talk=talks(any_text), prefill=any_text)
def test_control_text_in_contents_stays_text(tokenizers, key, talk, prefill):
    tokenizer = tokenizers[key]
    bland = [Message(message.role, "x") for message in talk.messages]

    ids = chat_for(tokenizer).render(talk.messages, prefill=prefill)

    assert controls_in(tokenizer, ids) == controls_in(tokenizer, at_once(tokenizer, bland))
    if key[0] in ("none", "words") and key[1] in ("default system", "headers", "tools by the user"):
        assert all(message.content in tokenizer.decode(ids) for message in talk.messages)
        assert tokenizer.decode(ids).endswith(prefill)


def controls_in(tokenizer, ids):
    unknown = tokenizer.backend.unk_token_id
    controls = {i for i, token in tokenizer.backend.added_tokens_decoder.items() if token.special and i != unknown}
    return [token for token in ids if token in controls]


@given(talk=talks(any_text), prefill=any_text)
def test_a_role_tokenizer_writes_header_content_and_end_of_each_message(talk, prefill):
    tokenizer = ByteTokenizer()
    header = {"system": 258, "user": 259, "assistant": 260, "tool": 261}

    ids = chat_for(tokenizer).render(talk.messages, prefill=prefill)

    written = [[header[message.role], *message.content.encode(), 257] for message in talk.messages]
    assert ids == [token for message in [*written, [260, *prefill.encode()]] for token in message]


def test_keywords_reach_the_template(trained_bpe):
    tokenizer = load_tokenizer(trained_bpe("{{ mood }}{% for m in messages %}{{ m.content }}{% endfor %}"))

    ids = chat_for(tokenizer, {"mood": "calm "}).render([Message("user", "hi")])

    assert tokenizer.decode(ids) == "calm hi"


def test_what_can_write_no_messages_is_refused():
    class Mute:
        vocab_size, num_tokens, eos_id, pad_id = 2, 2, 0, 1

        def encode(self, text): ...

        def decode(self, ids): ...

    with pytest.raises(TokenizerError, match=r"header\(role\)"):
        chat_for(Mute())


# -- growing -----------------------------------------------------------------------------------------------------


def grown(chat: Chat, talk, turn_ids):
    """The ids after all rounds, each turn as `turn_ids(ids, said)` gives it; None where a turn was rewritten."""
    ids, history = chat.render(talk.first), list(talk.first)
    for said, answers in talk.rounds:
        ids += turn_ids(ids, said)
        history.append(AssistantMessage(content=said))
        suffix = chat.extend(ids, answers, history=history)
        if suffix is None:
            return None
        ids, history = ids + suffix, [*history, *answers]
    return ids


@given(key=keys, talk=talks(any_text, said_text, min_rounds=1))
def test_growing_turn_by_turn_gives_the_whole_conversation(tokenizers, key, talk):
    tokenizer = tokenizers[key]
    chat = chat_for(tokenizer)
    whole = chat.render(talk.messages)

    def canonical(ids, _):
        assume(whole[: len(ids)] == ids)  # else the whole has tokens that no policy could have sampled
        return whole[len(ids) : whole.index(tokenizer.eos_id, len(ids)) + 1]

    ids = grown(chat, talk, canonical)

    assume(ids is not None)
    assert ids == whole


@given(talk=talks(any_text, min_rounds=1))
def test_a_role_tokenizer_grows_to_the_whole_conversation_whatever_is_said(talk):
    chat = chat_for(ByteTokenizer())

    assert grown(chat, talk, lambda _, said: [*said.encode(), 257]) == chat.render(talk.messages)


@given(key=keys, talk=talks(any_text, said_text, min_rounds=1), split_at=st.integers(1, 5))
def test_how_a_turn_was_spelt_and_whether_it_ended_changes_nothing_behind_it(tokenizers, key, talk, split_at):
    tokenizer = tokenizers[key]
    chat = chat_for(tokenizer)
    (said, answers), history = talk.rounds[0], [*talk.first, AssistantMessage(content=talk.rounds[0][0])]
    prompt = chat.render(talk.first)
    spelt = [[*tokenizer.encode(said), tokenizer.eos_id]]
    spelt += [[*tokenizer.encode(said[:split_at]), *tokenizer.encode(said[split_at:]), tokenizer.eos_id]]

    suffixes = [chat.extend([*prompt, *ids], answers, history=history) for ids in spelt]
    after_cut = chat.extend([*prompt, *spelt[0][:-1]], answers, history=history)

    assert suffixes[0] == suffixes[1]
    assert after_cut == (None if suffixes[0] is None else [tokenizer.eos_id, *suffixes[0]])


@given(key=keys, talk=talks(any_text, any_text | said_text, min_rounds=1))
def test_a_suffix_is_refused_just_where_the_template_rewrites_what_was_seen(tokenizers, key, talk):
    tokenizer = tokenizers[key]
    *earlier, (said, answers) = talk.rounds
    before = Talk(talk.first, earlier).messages

    suffix = chat_for(tokenizer).extend([tokenizer.eos_id], answers, history=[*before, AssistantMessage(content=said)])

    last_user = max(index for index, message in enumerate(before) if message.role == "user")
    turns_since = [message.content for message in before[last_user:] if message.role == "assistant"]
    is_forgotten = answers[0].role == "user" and any("</think>" in turn for turn in [*turns_since, said])
    is_rewritten = {"trims": said != said.strip(), "forgets": is_forgotten}.get(key[1], False)
    assert (suffix is None) == is_rewritten


class Repeats(MessageEnv):
    """Answers three turns, then ends."""

    def tasks(self, _):
        return FiniteTasks([Task(key="task", prompt="go")])

    def reset(self, task, _):
        self.num_turns = 0
        return InitialMessages((Message("user", task.prompt),))

    def step(self, _):
        self.num_turns += 1
        return EnvResponse(messages=(Message("user", " on "),), score=Score(reward=1), terminated=self.num_turns == 3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "said", "num_segments"),
    [("trims", "12 ", 3), ("trims", "12", 1), ("forgets", "a</think>12", 3), ("headers", " a</think>12 ", 1)],
)
def test_where_history_is_rewritten_the_episode_goes_on_in_a_new_segment(tokenizers, kind, name, said, num_segments):
    env = TokenEnv(Repeats(), tokenizer=tokenizers[kind, name], view="text")
    env.reset(seed=0)

    for _ in range(3):
        env.step(said)

    trajectory = env.trajectory()
    assert (trajectory.stop_reason, trajectory.reward) == (StopReason.ANSWERED, 3.0)
    assert len(trajectory.segments) == num_segments
    sampled = [s.token_ids[s.action_mask].tolist() for s in trajectory.segments]
    assert [token for ids in sampled for token in ids] == env.encode_turn(said) * 3
    begun = trajectory.segments[-1].token_ids[: trajectory.turns[-1].start].tolist()
    if num_segments > 1:
        assert begun == env.episode.chat.render(env.episode.messages[:-2])
