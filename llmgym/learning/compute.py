"""How the learner computes: options that change memory and time, and gradients by no more than rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import nn
from torch.autograd.graph import save_on_cpu
from torch.utils.checkpoint import checkpoint, noop_context_fn

from ..errors import ConfigError
from .kernels import Choice


@dataclass(frozen=True, kw_only=True)
class ComputeConfig:
    """How the learner computes; none of it changes what it computes."""

    master_weights: bool = True
    """Weights in half precision have float32 copies, which the optimizer updates and gradients are summed in, at 8 more
    bytes a trained weight. False: AdamW's updates below 1/256 of a weight in bfloat16 are rounded away, most of them at
    usual learning rates. Of weights in float32 nothing is copied."""
    fused: bool = False
    """The optimizer's step in one kernel instead of several."""
    offload_optimizer: bool = False
    """Masters and moments of the optimizer, 12 bytes a trained weight, are in the CPU's memory, and so is its step."""
    gradient_checkpointing: bool = False
    """Of each layer only the input is kept for the backward pass, which computes the rest again: about a third more
    time."""
    offload_activations: bool = False
    """What is kept for the backward pass is in the CPU's memory until then."""
    compile: bool = False
    """The model below the head runs through torch.compile; needs a C++ compiler, and minutes at the beginning for a
    large model. The sampler runs it as it is, so that their log-probabilities differ by rounding."""
    attention: Literal["auto", "padded", "tables", "flex"] = "auto"
    """padded: rows of different lengths are padded. Else they are packed where the model allows it and it saves
    something: no padding, and each prompt that several begin with once; attention then goes in tables, or by PyTorch's
    flex_attention, which needs a GPU. auto: packed if possible, by flex_attention on a GPU if that works there."""

    kernels: Choice = "auto"
    """Of norms and MLPs. auto: Liger's on a GPU where they are installed, for parts of which a trial shows that they
    compute the same, and a short measurement that they are faster, and torch's else, or where `rollout.deterministic`
    is set; liger: Liger's, or an error; torch: torch's. A run says at its beginning which it uses."""

    def __post_init__(self) -> None:
        if self.compile and self.kernels == "liger":
            raise ConfigError(
                'learner.compute.kernels is "liger", but learner.compute.compile is set, and torch.compile makes '
                "kernels of its own for the same parts. Leave one of them out."
            )
        if self.compile and (self.gradient_checkpointing or self.offload_activations):
            raise ConfigError(
                "learner.compute.compile goes with neither gradient_checkpointing nor offload_activations, which "
                "change how layers are called from outside of what is compiled. Choose one of them."
            )
        if self.compile and self.attention in ("tables", "flex"):
            raise ConfigError(
                f"learner.compute.attention is {self.attention!r}, but a compiled model runs padded. Leave one of "
                "learner.compute.attention and learner.compute.compile out."
            )

    @property
    def kernels_in_use(self) -> Choice:
        """Those of `torch.compile` are torch's."""
        return "torch" if self.compile else self.kernels


@contextmanager
def keeping_less(
    module: nn.Module,
    config: ComputeConfig,
    again: Callable[[], tuple[AbstractContextManager[None], AbstractContextManager[None]]] = noop_context_fn,
) -> Iterator[None]:
    """While the block runs, forward passes of `module` keep for the backward pass what `config` lets them.

    Layers are as they were afterwards: others may run them too, such as a sampler.

    Args:
        module: with the layers.
        config: what it may keep.
        again: makes the contexts in which each layer runs, first and again; see `torch.utils.checkpoint`.

    Raises:
        ConfigError: the model does not tell its layers.
    """
    if not torch.is_grad_enabled():
        yield
        return
    with ExitStack() as stack:
        if config.offload_activations:
            stack.enter_context(save_on_cpu(pin_memory=next(module.parameters()).is_cuda))
        for layer in _layers(module) if config.gradient_checkpointing else ():
            # transformers' own switch does nothing in evaluation mode, in which the policy stays.
            layer.forward = partial(
                checkpoint, layer.forward, use_reentrant=False, preserve_rng_state=False, context_fn=again
            )
            stack.callback(delattr, layer, "forward")
        yield


def _layers(module: nn.Module) -> list[nn.Module]:
    """Those that transformers means to be computed again."""
    layers = [
        part for part in module.modules() if any(c.__name__ == "GradientCheckpointingLayer" for c in type(part).__mro__)
    ]
    if not layers:
        raise ConfigError(
            f"learner.compute.gradient_checkpointing is set, but {type(module).__name__} has no layers of "
            "transformers' class GradientCheckpointingLayer. Leave it out."
        )
    return layers


class Masters:
    """Parameters that the optimizer updates in the place of others, which follow them.

    Gradients of each backward pass are added to theirs in float32, and taken from the parameters themselves.

    Args:
        module: whose trained parameters may need one.
        config: which do.
    """

    def __init__(self, module: nn.Module, config: ComputeConfig) -> None:
        self.of: dict[nn.Parameter, nn.Parameter] = {}
        """By the parameter that they stand for."""
        for parameter in module.parameters():
            is_half = parameter.dtype.itemsize < 4 and config.master_weights
            if parameter.requires_grad and (is_half or config.offload_optimizer):
                dtype = torch.float32 if is_half else parameter.dtype
                device = torch.device("cpu") if config.offload_optimizer else parameter.device
                self.of[parameter] = nn.Parameter(parameter.detach().to(device=device, dtype=dtype, copy=True))
                parameter.register_post_accumulate_grad_hook(self._take)  # type: ignore[no-untyped-call]

    def _take(self, parameter: torch.Tensor) -> None:
        master = self.of[parameter]  # type: ignore[index]
        if parameter.grad is None:
            return
        gradient = parameter.grad.to(device=master.device, dtype=master.dtype)
        master.grad = gradient if master.grad is None else master.grad.add_(gradient)
        parameter.grad = None

    def collect(self) -> None:
        """Take gradients that came to the parameters in another way than by a backward pass."""
        for parameter in self.of:
            self._take(parameter)

    @torch.no_grad()
    def hand_on(self) -> None:
        """Have the parameters follow their masters."""
        for parameter, master in self.of.items():
            parameter.copy_(master, non_blocking=True)

    def state(self) -> list[torch.Tensor]:
        """The masters, in the order of the parameters; not copied."""
        return [master.detach() for master in self.of.values()]

    @torch.no_grad()
    def load_state(self, state: list[torch.Tensor]) -> None:
        """Take over a `state`. Raises ValueError where it is of other parameters."""
        for master, tensor in zip(self.of.values(), state, strict=True):
            master.copy_(tensor)
