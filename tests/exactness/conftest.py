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
def tokenizers(require: Any, trained_bpe: Any) -> dict[str, Any]:
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
