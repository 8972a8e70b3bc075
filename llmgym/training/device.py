"""Where a model is, and in which numbers it computes."""

from typing import Literal

import torch
from torch import nn

from ..errors import ConfigError

Precision = Literal["float32", "bfloat16"]


def take_device(name: str) -> torch.device:
    """The device of a name such as "cpu", "cuda" or "cuda:1"; "auto" is the first GPU, or else the CPU.

    A GPU with a number becomes torch's current one, on which Triton starts its kernels wherever their tensors are.

    Raises:
        ConfigError: torch knows no such device, or this machine has none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # as torch's backends say it, each in its way
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"model.device is {name!r}, which torch {torch.__version__} cannot use here: {reason} "
            f'Set it to {", ".join(_available())}, or "auto".'
        ) from error
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    return device


def _available() -> list[str]:
    return ["'cpu'", *(f"'cuda:{index}'" for index in range(torch.cuda.device_count()))]


def move(module: nn.Module, device: str, dtype: Precision) -> None:
    """Bring a model to a device and its parameters into a precision, in place.

    Buffers stay as precise as they are, as where transformers loads a model in that precision: rotations by frequencies
    in bfloat16 would be off by radians a few hundred tokens on.
    """
    for parameter in module.parameters():
        parameter.data = parameter.data.to(getattr(torch, dtype))
    module.to(take_device(device))
