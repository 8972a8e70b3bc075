"""Four kinds of tokenizer: bytes, characters, a trained BPE with merges across message borders, a published one."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from llmgym.messages import ByteTokenizer, Role, load_tokenizer

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# Drops what earlier turns of the policy said before "=", as templates of reasoning models drop earlier thoughts.
FORGETFUL = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' %}{{ message['content'].split('=')[-1] }}"
    "{% else %}{{ message['content'] }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def trained_bpe(template: str) -> Any:
    """A byte-level BPE whose training text makes it merge letters of role names with what follows them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([])  # no borders at all: merges may cross anything
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    text = [f"assistant\n{n}*{n + 1}={n * (n + 1)}\nuser\ntool\n<call>{n}*7</call> higher lower" for n in range(10, 99)]
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<|im_start|>", "<|im_end|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        extra_special_tokens=["<|im_start|>"],
        chat_template=template,
    )


class Tekken:
    """Mistral's published tokenizer, its control tokens used as message borders."""

    def __init__(self, path: Path) -> None:
        from mistral_common.tokens.tokenizers.base import SpecialTokenPolicy
        from mistral_common.tokens.tokenizers.tekken import Tekkenizer

        self._backend = Tekkenizer.from_file(path)
        self._ignore = SpecialTokenPolicy.IGNORE
        self.vocab_size = self.num_tokens = self._backend.n_words
        self.eos_id, self.pad_id = self._backend.eos_id, self._backend.pad_id
        names = {"system": "[SYSTEM_PROMPT]", "user": "[INST]", "assistant": "[/INST]", "tool": "[TOOL_RESULTS]"}
        self._headers = {role: (self._backend.get_special_token(name),) for role, name in names.items()}

    def encode(self, text: str) -> list[int]:
        return self._backend.encode(text, bos=False, eos=False)

    def decode(self, ids: Iterable[int]) -> str:
        return self._backend.decode(list(ids), special_token_policy=self._ignore)

    def header(self, role: Role) -> Sequence[int]:
        return self._headers[role]


@pytest.fixture(scope="session")
def tokenizers(require: Any) -> dict[str, Any]:
    """All of them, by name, loaded."""
    from llmgym.training.tiny_model import build_character_tokenizer

    try:
        import mistral_common

        path = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
    except ImportError:
        path = Path("missing")
    require("mistral", path.is_file(), "mistral-common brings no tekken_240911.json")
    return {
        "bytes": ByteTokenizer(),
        "characters": load_tokenizer(build_character_tokenizer()),
        "bpe": load_tokenizer(trained_bpe(CHATML)),
        "forgetful bpe": load_tokenizer(trained_bpe(FORGETFUL)),
        "tekken": Tekken(path),
    }
