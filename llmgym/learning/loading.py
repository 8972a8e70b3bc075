"""Models and their tokenizers from disk or from a hub, and back to disk."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ..errors import ConfigError, MissingExtraError, TokenizerError
from ..extras import require
from ..messages import Tokenizer, load_tokenizer
from ..messages.tokenizer import is_missing_folder
from ..sampling.quiet import without_progress_bars
from .lora import is_adapter_folder, load_merged, save_adapter
from .model import Policy


def load_policy(path_or_model: str | Path | nn.Module | Policy, *, num_tokens: int | None = None) -> Policy:
    """The policy in a model folder, of a model id, or around a model; weights from disk are float32.

    A folder may hold an adapter: it is merged into the model that it belongs on.

    Args:
        path_or_model: which; a `Policy` is returned as it is.
        num_tokens: see `Policy`.

    Raises:
        ConfigError: there is no such model.
        MissingExtraError: transformers is not installed.
    """
    if isinstance(path_or_model, Policy):
        return path_or_model
    if isinstance(path_or_model, nn.Module):
        return Policy(path_or_model, num_tokens=num_tokens)
    return Policy(_load_module(path_or_model), num_tokens=num_tokens)


def with_tokenizer(module: nn.Module, tokenizer: object) -> tuple[Policy, Tokenizer]:
    """A model and the tokenizer for it, the one made as wide as the other's logits.

    Raises:
        TokenizerError: the tokenizer has tokens that the model does not have.
    """
    width = int(module.get_output_embeddings().weight.shape[0])  # type: ignore[operator]
    loaded = load_tokenizer(tokenizer, vocab_size=width)
    if loaded.vocab_size != width:
        raise TokenizerError(
            f"{loaded!r} has ids up to {loaded.vocab_size - 1}, but the model has logits for {width} tokens. "
            "Use the model's own tokenizer, or one whose vocab_size is the width of the logits."
        )
    return Policy(module, num_tokens=loaded.num_tokens), loaded


def load_with_tokenizer(path: str | Path) -> tuple[Policy, Tokenizer]:
    """The policy in a model folder or of a model id, with the tokenizer beside it."""
    return with_tokenizer(_load_module(path), str(path))


def load_quantised(path: str | Path, *, device: torch.device, dtype: torch.dtype) -> tuple[Policy, Tokenizer]:
    """As `load_with_tokenizer`, with the weights of linear maps in 4 bits (NF4), for adapters to be put on (QLoRA).

    Args:
        path: folder or id of a whole model.
        device: where the weights go, and stay.
        dtype: of all other weights, and of what is computed.

    Raises:
        ConfigError: there is no such model, or it is an adapter.
        MissingExtraError: bitsandbytes is not installed.
    """
    if find_spec("bitsandbytes") is None:
        raise MissingExtraError(
            "model.quantization = \"nf4\" needs the package 'bitsandbytes', which is not installed. Install it with: "
            'pip install "llmgym[qlora]". Without it, leave the setting out.',
            name="bitsandbytes",
        )
    if is_adapter_folder(path):
        raise ConfigError(f"{str(path)!r} holds an adapter. Merge it into its model first, and quantise that one.")
    transformers = require("transformers", extra="train", purpose="Loading a model")
    quantization = transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype
    )
    options = {"quantization_config": quantization, "device_map": {"": device}, "dtype": dtype}
    module: Any = _loaded(path, "AutoModelForCausalLM", "causal language model", **options)
    for part in module.modules():
        if hasattr(part, "support_avx512bf16_for_cpu"):
            # On some processors bitsandbytes would pack weights, at the first pass without gradient, into a form that
            # hands no gradient on, for good: adapters below would learn from nothing, with no error.
            part.support_avx512bf16_for_cpu = False
    return with_tokenizer(module, str(path))


def num_parameters(module: nn.Module) -> int:
    """Of a model; a weight in 4 bits, two of whose entries share a byte, counts as it was before."""
    shapes = [(getattr(each, "quant_state", None) or each).shape for each in module.parameters()]
    return sum(shape.numel() for shape in shapes)


def load_classifier(path: str | Path) -> nn.Module:
    """The sequence classifier in a folder or of a model id, such as a reward model.

    Raises:
        ConfigError: there is no such model.
        MissingExtraError: transformers is not installed.
    """
    return _loaded(path, "AutoModelForSequenceClassification", "sequence classifier")


def save_policy(module: nn.Module, folder: str | Path, *, base: str = "") -> None:
    """Write a model in the form that `AutoModelForCausalLM.from_pretrained` loads.

    Args:
        module: the model; where it has an adapter, that alone is written, as `PeftModel.from_pretrained` loads it.
        folder: where to.
        base: folder or hub id of the model that an adapter belongs on.
    """
    with without_progress_bars():
        if hasattr(module, "peft_config"):
            save_adapter(module, folder, base=base)
        else:
            module.save_pretrained(str(folder))  # type: ignore[operator]


def _load_module(path: str | Path) -> nn.Module:
    if is_adapter_folder(path):
        return load_merged(path, _load_module)
    return _loaded(path, "AutoModelForCausalLM", "causal language model")


def _loaded(path: str | Path, loader: str, kind: str, **options: Any) -> nn.Module:
    if is_missing_folder(path):
        raise ConfigError(
            f"There is no model folder {str(path)!r}. Check the path: runs write theirs to RUN/model, "
            'and the id of a model that can be downloaded is "organization/name".'
        )
    transformers = require("transformers", extra="train", purpose="Loading a model")
    try:
        with without_progress_bars():
            module = getattr(transformers, loader).from_pretrained(str(path), **{"dtype": torch.float32, **options})
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(
            f"No {kind} could be loaded from {str(path)!r}. Give a folder written by "
            f"`save_pretrained`, or the id of a model that can be downloaded. The reason: {reason}"
        ) from error
    return cast(nn.Module, module)
