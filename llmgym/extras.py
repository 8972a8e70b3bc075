"""Optional dependencies, imported on first use and asked for by name when they are missing."""

from importlib import import_module
from types import ModuleType

from .errors import MissingExtraError


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import `module`, which the extra `extra` installs.

    Args:
        module: dotted name of the module.
        extra: the extra of llmgym that installs it.
        purpose: what needs it, as the subject of a sentence, e.g. "Training".

    Raises:
        MissingExtraError: it is not installed; the message holds the pip line.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise  # the module is there, but something that it needs itself is not
        raise MissingExtraError(
            f"{purpose} needs the package {module.split('.')[0]!r}, which is not installed. "
            f'Install it with: pip install "llmgym[{extra}]"',
            name=error.name,
        ) from error
