"""Liger's kernels in the place of a model's norms and gated MLPs, where they are exact, and faster. Its only importer.

Only the parts of the one model are replaced. Liger's own way of patching a model exchanges the classes of transformers'
modules too, for every model of the process, and takes over the output head, which is ours.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from ..errors import ConfigError, MissingExtraError
from ..extras import require

Choice = Literal["auto", "torch", "liger"]

PLAIN_DECODERS = ("llama", "mistral", "qwen2", "qwen3", "smollm3")
"""Model types that are made of embeddings, RMS norms, attention, gated MLPs with SiLU, a head, and nothing else."""
_TOLERANCES = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 2e-2}
"""Largest gap between both ways, as a share of the largest number: a few roundings, which happen at other places."""
_TRIAL_TOKENS, _TIMED_TOKENS = 7, 4096
_WARM_UPS, _REPEATS = 3, 5


@dataclass(frozen=True)
class Liger:
    """Liger's functions; differentiable."""

    rms_norm: Callable[[Tensor, Tensor, float], Tensor]
    """Of states, weights and epsilon."""
    silu_mul: Callable[[Tensor, Tensor], Tensor]
    """silu(a) * b. Its backward pass destroys a and b, so that it can be made once."""


class Place:
    """Where kernels run: on a CUDA GPU."""

    def has_liger(self, module: nn.Module) -> bool:
        """Whether there is anything to choose for this model."""
        return next(module.parameters()).is_cuda and find_spec("liger_kernel") is not None

    def find_liger(self, module: nn.Module) -> Liger:
        """Liger's functions.

        Raises:
            MissingExtraError: Liger is not installed.
            _Unusable: the model is not on a GPU.
        """
        require("liger_kernel", extra="liger", purpose='learner.compute.kernels = "liger"')
        device = next(module.parameters()).device
        if device.type != "cuda":
            raise _Unusable(f"the model is on {str(device)!r}, and they need a CUDA GPU")
        return liger_functions()

    def seconds(self, run: Callable[[], object]) -> float:
        """Median time of a run; the first ones, in which kernels are compiled, are left out."""
        times = []
        for _ in range(_WARM_UPS + _REPEATS):
            torch.cuda.synchronize()
            started = time.perf_counter()
            run()
            torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
        return sorted(times[_WARM_UPS:])[_REPEATS // 2]


@functools.cache
def liger_functions() -> Liger:
    """Liger's functions, imported now."""
    # The submodules hold the Triton kernels themselves, which the package may exchange for other back ends.
    from liger_kernel.ops.rms_norm import LigerRMSNormFunction
    from liger_kernel.ops.swiglu import LigerSiLUMulFunction

    def rms_norm(states: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        # Not in place in the backward pass: the gradient that it is given may be that of a residual, too.
        return cast("Tensor", LigerRMSNormFunction.apply(states, weight, epsilon, 0.0, "llama", False, None))

    return Liger(rms_norm, lambda a, b: cast("Tensor", LigerSiLUMulFunction.apply(a, b)))


def use_kernels(module: nn.Module, choice: Choice, *, place: Place | None = None) -> str:
    """Have a model's norms and MLPs run by Liger's kernels, in place, or as usual again.

    Weights and their names, the output head, and all other models stay as they are; copies made of the model from here
    on run as it does. Call it before adapters or processes share the model out.

    Args:
        module: a transformers causal language model.
        choice: "auto": on a GPU where Liger is installed, the parts that are exact, and faster in a short measurement;
            "liger": all of them, without measuring; "torch": none.
        place: where they run.

    Returns:
        What was chosen and why, for people; "" where nothing was to choose.

    Raises:
        MissingExtraError: the choice is "liger", and it is not installed.
        ConfigError: the choice is "liger", and this model or device cannot have it, or it computes something else.
    """
    place = place or Place()
    if choice == "auto" and not place.has_liger(module):
        return ""
    for part in module.modules():  # those that an earlier call replaced
        if isinstance(part, _Replaced):
            cast("Any", part).__class__ = part.usual
    if choice == "torch":
        return ""
    try:
        liger, (dtype, parts) = place.find_liger(module), _parts(module)
        trials = {name: _Trial(each, liger, dtype) for name, each in parts.items()}
        for trial in trials.values():
            trial.require_exact()
        gains = {} if choice == "liger" else {name: trial.gain(place) for name, trial in trials.items()}
    except MissingExtraError:
        raise
    except Exception as error:  # a kernel that cannot be compiled here may raise anything, and torch can do without
        reason = str(error) if isinstance(error, _Unusable) else f"they fail with {type(error).__name__}: {error}"
        reason = " ".join(reason.split())
        if choice == "auto":
            return f"torch's kernels, and not Liger's: {reason}"
        raise ConfigError(
            f'learner.compute.kernels is "liger", but {reason}. Set it to "auto", which uses Liger\'s kernels where '
            'they are exact and faster, or to "torch".'
        ) from error
    told = []
    for name, trial in trials.items():
        gain = gains.get(name)
        if gain is None or gain > 1:
            trial.replace(parts[name])
        told.append(
            name if gain is None else f"{'' if gain > 1 else 'not '}{name} ({gain:.2f} times as fast as torch's)"
        )
    return f"Liger's kernels: {', '.join(told)}"


class _Unusable(Exception):
    """Liger's kernels are not for this model, for a reason that is the text."""


# -- the parts -------------------------------------------------------------------------------------------------------


class _Replaced(nn.Module):
    """In front of a class of transformers' among the bases of the one that a part is made an instance of."""

    usual: type[nn.Module]
    liger: Liger


class _Norm(_Replaced):
    weight: Tensor
    variance_epsilon: float

    def forward(self, hidden_states: Tensor) -> Tensor:
        """As usual where types are mixed, of which Liger makes something else."""
        if hidden_states.dtype != self.weight.dtype or hidden_states.numel() == 0:
            return cast("Tensor", super().forward(hidden_states))
        return self.liger.rms_norm(hidden_states, self.weight, self.variance_epsilon)


class _MLP(_Replaced):
    gate_proj: nn.Module
    up_proj: nn.Module
    down_proj: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """Maps are called as the modules that they are, so that adapters and quantised weights work as ever."""
        if x.numel() == 0:
            return cast("Tensor", super().forward(x))
        return cast("Tensor", self.down_proj(self.liger.silu_mul(self.gate_proj(x), self.up_proj(x))))


def _replaced(usual: type[nn.Module], liger: Liger) -> type[_Replaced]:
    """The class of the same name and attributes that runs by Liger's kernels.

    A class, and not a `forward` of the instance: copies of the model get it, and a sampler that shares the model sees
    that nothing was put around its modules.
    """
    kind = _Norm if usual.__name__.endswith("RMSNorm") else _MLP
    return type(usual.__name__, (kind, usual), {"usual": usual, "liger": liger, "__module__": __name__})


def _parts(module: nn.Module) -> tuple[torch.dtype, dict[str, list[nn.Module]]]:
    """The type of numbers of a model's states, and by what they are called, the parts that Liger has a kernel for.

    Raises:
        _Unusable: nobody has looked at models of this type, or they compute in another type of numbers.
    """
    kind = getattr(getattr(module, "config", None), "model_type", None)
    if kind not in PLAIN_DECODERS:
        known = ", ".join(map(repr, PLAIN_DECODERS))
        raise _Unusable(f"{type(module).__name__} is of the type {kind!r}, not among {known}")
    norms: list[Any] = [part for part in module.modules() if type(part).__name__.endswith("RMSNorm")]
    mlps: list[Any] = [part for part in module.modules() if type(part).__name__.endswith("MLP")]
    dtype = norms[0].weight.dtype
    if dtype not in _TOLERANCES:
        raise _Unusable(f"the model computes in {dtype}, which they do not")
    activations = {type(part.act_fn).__name__ for part in mlps}
    if not activations <= {"SiLU", "SiLUActivation"}:
        raise _Unusable(f"the model's MLPs have the activation {min(activations)}, and theirs have SiLU")
    return dtype, {"norms": norms, "MLPs": mlps}


def _width(part: Any) -> int:
    """Of the states that a part is given."""
    return int(part.weight.shape[0] if hasattr(part, "variance_epsilon") else part.hidden_size)


# -- trials ----------------------------------------------------------------------------------------------------------


class _Trial:
    """Runs parts of one kind both ways.

    Args:
        parts: all of them.
        liger: how else they might run.
        dtype: of their input.
    """

    def __init__(self, parts: list[nn.Module], liger: Liger, dtype: torch.dtype) -> None:
        self._distinct = list({(type(part), _width(part)): part for part in parts}.values())
        self._replaced = {type(part): _replaced(type(part), liger) for part in parts}
        self._dtype = dtype

    def replace(self, parts: list[nn.Module]) -> None:
        """Have parts run by Liger's kernels from here on."""
        for part in parts:
            part.__class__ = self._replaced[type(part)]

    def require_exact(self) -> None:
        """Compare output and gradients on a few tokens.

        Raises:
            _Unusable: they differ by more than rounding.
        """
        for part in self._distinct:
            inputs = self._inputs(part, _TRIAL_TOKENS)
            expected, found = (
                _outputs_and_gradients(part, kind, *inputs) for kind in (type(part), self._replaced[type(part)])
            )
            for usual, other in zip(expected, found, strict=True):
                gap = float((usual - other).abs().max())
                if not gap <= _TOLERANCES[self._dtype] * float(usual.abs().max()):
                    name = type(part).__name__
                    raise _Unusable(f"they differ by {gap:.1e} from what {name} computes")

    def gain(self, place: Place) -> float:
        """How many times as fast the widest of the parts is by Liger's kernels, forward and backward."""
        part = max(self._distinct, key=_width)
        inputs = self._inputs(part, _TIMED_TOKENS)
        usual, other = (
            place.seconds(functools.partial(_outputs_and_gradients, part, kind, *inputs))
            for kind in (type(part), self._replaced[type(part)])
        )
        return usual / other

    def _inputs(self, part: nn.Module, num_tokens: int) -> tuple[Tensor, Tensor]:
        """States, and the gradient by what is made of them; the same numbers each time."""
        generator, device = torch.Generator().manual_seed(0), next(part.parameters()).device
        states, gradient = (torch.randn(num_tokens, _width(part), generator=generator) for _ in range(2))
        return states.to(device, self._dtype), gradient.to(device, self._dtype)


def _outputs_and_gradients(part: nn.Module, kind: type[nn.Module], states: Tensor, gradient: Tensor) -> list[Tensor]:
    """What `part` gives as an instance of `kind`, and gradients by its input and those of its weights that learn."""
    usual, part.__class__ = type(part), kind
    states = states.detach().requires_grad_()
    try:
        with torch.enable_grad():
            output: Tensor = part(states)
            by = [states, *(parameter for parameter in part.parameters() if parameter.requires_grad)]
            return [output.detach(), *torch.autograd.grad(output, by, gradient)]
    finally:
        part.__class__ = usual
