"""A trained reward model as a verifier."""

import copy
import pickle

import pytest
import torch
from transformers import LlamaConfig, LlamaForSequenceClassification

from llmgym import AssistantMessage, ByteTokenizer, Task
from llmgym.errors import ConfigError
from llmgym.learning.reward_model import RewardModel
from llmgym.training.tiny_model import build_character_tokenizer

TASK = Task(key="0", prompt="Say 4.")


def classifier(**changes):
    torch.manual_seed(0)
    settings = {
        "vocab_size": 264,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_labels": 1,
        "pad_token_id": 256,
        "initializer_range": 0.3,
    }
    return LlamaForSequenceClassification(LlamaConfig(**{**settings, **changes}))


def test_the_reward_is_the_squashed_output_for_the_whole_conversation():
    model, tokenizer = classifier(), ByteTokenizer()
    ids = [259, *b"Say 4.", 257, 260, *b"4", 257]

    score = RewardModel(model, tokenizer=tokenizer)(AssistantMessage("4"), TASK)

    assert score.reward == pytest.approx(model(torch.tensor([ids])).logits.sigmoid().item(), abs=1e-6)


def test_the_squashing_is_the_callers():
    model, tokenizer = classifier(), ByteTokenizer()

    plain = RewardModel(model, tokenizer=tokenizer, squash=lambda output: output)(AssistantMessage("4"), TASK)
    squashed = RewardModel(model, tokenizer=tokenizer)(AssistantMessage("4"), TASK)

    assert squashed.reward == pytest.approx(float(torch.tensor(plain.reward).sigmoid()))


def test_a_folder_brings_its_tokenizer(tmp_path):
    tokenizer = build_character_tokenizer()
    model = classifier(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)

    from_disk = RewardModel(tmp_path)(AssistantMessage("4"), TASK)

    assert from_disk.reward == RewardModel(model, tokenizer=tokenizer)(AssistantMessage("4"), TASK).reward


def test_an_output_that_is_no_number_is_invalid_and_no_reward():
    model = classifier()
    torch.nn.init.constant_(model.score.weight, torch.nan)

    score = RewardModel(model, tokenizer=ByteTokenizer())(AssistantMessage("4"), TASK)

    assert (score.reward, score.is_valid) == (0.0, False)
    assert "nan" in score.reason


def test_it_travels_to_other_processes_and_is_shared_by_copies():
    model = RewardModel(classifier(), tokenizer=ByteTokenizer())

    sent = pickle.loads(pickle.dumps(model))

    assert copy.deepcopy(model) is model
    assert sent(AssistantMessage("4"), TASK).reward == model(AssistantMessage("4"), TASK).reward


def test_a_conversation_longer_than_the_models_positions_is_invalid():
    score = RewardModel(classifier(max_position_embeddings=16), tokenizer=ByteTokenizer())(
        AssistantMessage("4" * 9), TASK
    )

    assert (score.reward, score.is_valid, score.reason) == (0.0, False, "19 tokens, but the reward model reads 16")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RewardModel(classifier()), "without its tokenizer"),
        (lambda: RewardModel(classifier(num_labels=3), tokenizer=ByteTokenizer()), "has 3"),
        (lambda: RewardModel("./nowhere"), "no model folder './nowhere'"),
    ],
)
def test_what_is_no_reward_model_is_refused(make, words):
    with pytest.raises(ConfigError, match=words):
        make()
