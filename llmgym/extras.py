"""Optional dependencies, imported on first use and asked for by name when they are missing."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from .errors import MissingExtraError

EXTRA_OF: Mapping[str, str] = {
    "torch": "train",
    "transformers": "train",
    "tokenizers": "train",
    "peft": "train",
    "safetensors": "train",
    "tensorboardX": "train",
    "tomli_w": "train",
    "matplotlib": "train",
    "math_verify": "math",
    "datasets": "hub",
    "pyarrow": "hub",
    "docker": "docker",
    "bm25s": "search",
    "mcp": "mcp",
    "langdetect": "ifeval",
    "nltk": "ifeval",
    "reasoning_gym": "reasoning",
    "renderers": "renderers",
    "httpx": "endpoint",
    "ray": "ray",
    "vllm": "vllm",
    "bitsandbytes": "qlora",
    "liger_kernel": "liger",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "trackio": "trackio",
}
"""The extra that installs each optional package."""


def require(module: str, *, extra: str, purpose: str, instead: str = "") -> ModuleType:
    """Import `module`, which the extra `extra` installs.

    Args:
        module: dotted name of the module.
        extra: the extra of llmgym that installs it.
        purpose: what needs it, as the subject of a sentence, e.g. "Training".
        instead: a sentence about how to do without it.

    Raises:
        MissingExtraError: it is not installed; the message holds the pip line.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, but something that it needs itself is not
        raise _missing(error.name, extra, purpose, instead) from error


@contextmanager
def required_by(purpose: str) -> Iterator[None]:
    """Around an import of our own modules: an optional package that they lack is reported with its extra.

    Args:
        purpose: what needs them, as the subject of a sentence, e.g. "Training".

    Raises:
        MissingExtraError: a package of an extra is not installed; the message holds the pip line.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name not in EXTRA_OF:
            raise
        raise _missing(error.name, EXTRA_OF[error.name], purpose) from error


def _missing(module: str, extra: str, purpose: str, instead: str = "") -> MissingExtraError:
    return MissingExtraError(
        f"{purpose} needs the package {module.split('.')[0]!r}, which is not installed. "
        f'Install it with: pip install "llmgym[{extra}]"{instead and f". {instead}"}',
        name=module,
    )
