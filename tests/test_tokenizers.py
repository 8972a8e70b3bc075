"""Tokenizers of transformers: control text is hidden exactly, and what could not be exact is refused when loaded."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from llmgym.errors import TokenizerError
from llmgym.messages import Message, chat_for, load_tokenizer
from llmgym.messages.protection import Protection
from llmgym.training.tiny_model import CHAT_TEMPLATE, build_character_tokenizer

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"
PRIVATE = "".join(map(chr, range(0x10F000, 0x10F020)))


@given(
    st.sets(st.text("ab<|>", max_size=3) | st.text(PRIVATE, max_size=2) | st.text(max_size=3), max_size=4),
    st.text("ab<|>" + PRIVATE) | st.text(),
)
def test_any_text_is_protected_exactly(controls, text):
    protection = Protection(controls)

    hidden = protection.protect(text)

    assert protection.restore(hidden) == text
    assert not any(control in hidden for control in controls if control and not set(control) & set(PRIVATE))
    assert protection.is_in(hidden) == (hidden != text)


@given(st.text("ab", max_size=9))
def test_protected_text_is_as_long_as_it_was_so_that_templates_can_cut_it(text):
    protection = Protection(["ab"])

    assert len(protection.protect(text)) == len(text)
    assert "".join(map(protection.restore, protection.protect(text))) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
@pytest.mark.parametrize("borders", ["none", "words"])
def test_any_text_in_a_message_is_encoded_as_plain_text(trained_bpe, borders, text):
    tokenizer = load_tokenizer(trained_bpe(TEMPLATE, borders))
    start, end = tokenizer.backend.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])

    assert chat_for(tokenizer).render([Message("user", text)]) == [start, *tokenizer.encode(text), end]
    assert tokenizer.decode(tokenizer.encode(text)) == text


def rendered(backend, content):
    tokenizer = load_tokenizer(backend)
    return tokenizer, chat_for(tokenizer).render([Message("user", content)])


def test_control_tokens_without_a_name_are_kept_out_of_contents_too(trained_bpe):
    backend = trained_bpe(TEMPLATE)
    backend._tokenizer.add_special_tokens([AddedToken("<|nameless|>", special=True)])
    nameless = backend.convert_tokens_to_ids("<|nameless|>")

    tokenizer, ids = rendered(backend, "a<|nameless|>b")

    assert "<|nameless|>" not in backend.all_special_tokens
    assert nameless not in ids
    assert tokenizer.decode(ids) == "a<|nameless|>b"


def test_text_that_only_a_normalizer_turns_into_control_text_stays_text(trained_bpe):
    backend = trained_bpe(TEMPLATE)
    backend._tokenizer.normalizer = normalizers.Replace("[", "<|")
    backend._tokenizer.add_special_tokens([AddedToken("<|nameless|>", special=True, normalized=True)])
    nameless = backend.convert_tokens_to_ids("<|nameless|>")

    tokenizer, ids = rendered(backend, "a[nameless|>b")

    assert nameless in backend("a[nameless|>b")["input_ids"]
    assert nameless not in ids
    assert tokenizer.decode(ids) == "a<|nameless|>b"


@pytest.mark.parametrize("content", ["a", " a ", "a <|im_start|> a", "a\n<|im_end|>", ""])
@pytest.mark.parametrize("side", ["lstrip", "rstrip"])
def test_control_tokens_that_take_the_spaces_beside_them_are_read_as_transformers_does(trained_bpe, side, content):
    template = "{% for m in messages %} <|im_start|> {{ m.content }}<|im_end|> \n {% endfor %} <|im_start|> "
    backend = trained_bpe(template)
    backend._tokenizer.add_special_tokens([AddedToken("<|im_start|>", special=True, normalized=False, **{side: True})])
    messages = [Message("user", content), Message("assistant", "b"), Message("user", "c")]
    at_once = backend.apply_chat_template([{"role": "user", "content": content}], return_dict=False)

    tokenizer, ids = rendered(backend, content)
    chat = chat_for(tokenizer)
    prompt = chat.render(messages[:1])
    turn = [*tokenizer.encode("b"), tokenizer.eos_id]
    suffix = chat.extend([*prompt, *turn], messages[2:], history=messages[:2])

    assert ids == at_once or "<|" in content
    assert prompt + turn + suffix == chat.render(messages)


def test_broken_surrogates_become_question_marks(trained_bpe):
    tokenizer, ids = rendered(trained_bpe(TEMPLATE), "a\ud800")

    assert tokenizer.decode(ids) == "a?"
    assert tokenizer.decode(tokenizer.encode("a\ud800")) == "a?"


def test_ids_of_padding_of_the_vocabulary_decode_to_nothing():
    tokenizer = load_tokenizer(build_character_tokenizer(), vocab_size=1000)

    assert tokenizer.decode([*tokenizer.encode("hi"), 999, tokenizer.eos_id]) == "hi"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda backend: setattr(backend, "eos_token", None), "has no end token"),
        (lambda backend: setattr(backend, "chat_template", None), "has no chat template"),
        (
            lambda backend: setattr(backend._tokenizer, "normalizer", normalizers.Lowercase()),
            "decodes the ids of 'Ab 12'",
        ),
        (lambda backend: setattr(backend._tokenizer, "decoder", decoders.WordPiece()), "decodes the ids of"),
    ],
)
def test_a_tokenizer_that_no_episode_could_be_exact_with_is_refused(change, words):
    backend = build_character_tokenizer()
    change(backend)

    with pytest.raises(TokenizerError, match=re.escape(words)):
        load_tokenizer(backend)


def test_a_tokenizer_that_puts_a_space_in_front_of_every_text_is_refused(trained_bpe):
    backend = trained_bpe(TEMPLATE)
    backend._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)

    with pytest.raises(TokenizerError, match="decodes the ids of 'a' as ' a'"):
        load_tokenizer(backend)


def test_a_tokenizer_whose_plain_text_can_become_a_control_token_is_refused():
    tokenizer = Tokenizer(models.WordLevel({"<end>": 0, "<unk>": 1, "a": 2}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(" "), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    backend = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", unk_token="<unk>", chat_template=CHAT_TEMPLATE
    )

    with pytest.raises(TokenizerError, match="plain text '<end>' as a control token"):
        load_tokenizer(backend)


def test_a_width_below_the_number_of_tokens_is_refused():
    with pytest.raises(TokenizerError, match="vocab_size is 5"):
        load_tokenizer(build_character_tokenizer(), vocab_size=5)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(TokenizerError, match="No tokenizer could be loaded"):
        load_tokenizer(str(tmp_path))


def test_the_ends_of_the_template_the_tokenizer_and_the_generation_config_all_end_a_turn(trained_bpe, tmp_path):
    backend = trained_bpe(TEMPLATE, controls=("<|im_start|>", "<|eot|>", "<|eom|>"))
    backend.eos_token = "<|eot|>"
    eom = backend.convert_tokens_to_ids("<|eom|>")
    backend.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text(f'{{"eos_token_id": [{eom}, 10000000]}}')

    tokenizer = load_tokenizer(str(tmp_path))

    assert tokenizer.eos_id == backend.convert_tokens_to_ids("<|im_end|>")
    assert tokenizer.end_ids == {tokenizer.eos_id, backend.eos_token_id, eom}


def test_a_sampled_turn_shows_its_control_tokens_and_protects_their_text(trained_bpe):
    tokenizer = load_tokenizer(trained_bpe(TEMPLATE))
    start = tokenizer.backend.convert_tokens_to_ids("<|im_start|>")
    ids = [*tokenizer.encode("a<|im_start|>"), start, *tokenizer.encode("b")]

    assert tokenizer.decode_turn(ids) == "a<|im_start|><|im_start|>b"
    assert tokenizer.encode_protected(tokenizer.protect_turn(ids)) == ids
