"""What tests share: optional things are asked for through `require`, which skips, or fails where they must be there."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# No test asserts a time, and a busy machine is slow.
settings.register_profile("llmgym", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("llmgym")

OPTIONAL = {
    "data": "the public data sets in the folder LLMGYM_TEST_DATA",
    "math": "math-verify",
    "search": "bm25s",
    "mcp": "the package mcp",
    "renderers": "the package renderers",
    "ifeval": "langdetect and NLTK",
    "reasoning": "reasoning-gym",
    "mistral": "the tokenizer of mistral-common",
    "docker": "a Docker daemon",
    "bwrap": "bubblewrap",
    "landlock": "a kernel with Landlock",
    "vllm": "vLLM",
    "bitsandbytes": "bitsandbytes",
    "liger": "Liger's kernels and Triton",
    "compiler": "a C++ compiler",
    "ray": "Ray",
    "wandb": "Weights & Biases",
    "mlflow": "MLflow",
    "trackio": "trackio",
    "browser": "the browser Chromium",
}
"""What a test may do without, by the name that LLMGYM_REQUIRE knows it by."""

Require = Callable[[str, object, str], None]


def _required() -> frozenset[str]:
    names = frozenset(name.strip() for name in os.environ.get("LLMGYM_REQUIRE", "").split(",") if name.strip())
    if unknown := sorted(names - OPTIONAL.keys()):
        raise pytest.UsageError(f"LLMGYM_REQUIRE names {', '.join(unknown)}; it may name {', '.join(OPTIONAL)}.")
    return names


def pytest_configure() -> None:
    _required()  # a misspelt name must not turn a required test into a skipped one


@pytest.fixture(scope="session")
def require() -> Require:
    """`require("docker", docker_is_there, "no daemon answers")` skips the test where the condition is false.

    It fails the test instead where LLMGYM_REQUIRE names the thing: `LLMGYM_REQUIRE=data,docker make test`.
    """

    def require(name: str, condition: object, reason: str) -> None:
        if name not in OPTIONAL:
            raise pytest.UsageError(f"{name!r} is not among the optional things: {', '.join(OPTIONAL)}.")
        if condition:
            return
        if name in _required():
            pytest.fail(f"LLMGYM_REQUIRE asks for {OPTIONAL[name]}, but {reason}", pytrace=False)
        pytest.skip(f"needs {OPTIONAL[name]}: {reason}")

    return require


@pytest.fixture(scope="session")
def data_folder(require: Require) -> Path:
    """The folder of public data sets, which is no part of this repository."""
    folder = os.environ.get("LLMGYM_TEST_DATA", "")
    require("data", folder, "LLMGYM_TEST_DATA is not set")
    if not Path(folder).is_dir():
        pytest.fail(f"LLMGYM_TEST_DATA is {folder!r}, which is not a folder", pytrace=False)
    return Path(folder)


@pytest.fixture(scope="session")
def trained_bpe() -> Callable[..., Any]:
    """`trained_bpe(template, borders="none")` gives a transformers tokenizer, trained on a few lines.

    Its training text makes it merge letters of role names with what follows them. Borders are where no merge crosses:
    "none", "words", or "spaces", with one put in front of the text, as SentencePiece has them.
    """
    return _trained_bpe


def _trained_bpe(template: str, borders: str = "none", controls: Sequence[Any] = ("<|im_start|>",)) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    if borders == "spaces":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        pieces = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        tokenizer.decoder = decoders.Sequence(pieces)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=borders == "words")
        tokenizer.decoder = decoders.ByteLevel()
    text = [f"assistant\n{n}*{n + 1}={n * (n + 1)}\nuser\ntool\n<call>{n}*7</call> higher lower" for n in range(10, 99)]
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<|im_start|>", "<|im_end|>", "<|pad|>"],
        initial_alphabet=["▁"] if borders == "spaces" else pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=_with_byte_fallback(tokenizer) if borders == "spaces" else tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        extra_special_tokens=list(controls),
        chat_template=template,
    )


def _with_byte_fallback(tokenizer: Any) -> Any:
    """With a token for each byte, of which characters are made that have no token of their own."""
    data = json.loads(tokenizer.to_str())
    vocabulary = data["model"]["vocab"]
    vocabulary |= {f"<0x{byte:02X}>": len(vocabulary) + byte for byte in range(256)}
    data["model"]["byte_fallback"] = True
    return type(tokenizer).from_str(json.dumps(data))
