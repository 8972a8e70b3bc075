"""A pretended GPU: the CPU's memory and arithmetic, with a GPU's rules about which tensors may meet.

Each storage is said to be on the CPU or on "cuda:0". `device` and `is_cuda` say so, what torch makes with
`device="cuda"` and what `.to("cuda")` gives is there, and results are where their inputs are. An operation on tensors
of both raises, unless a real GPU allows it; so does `numpy()`. C++ that makes a tensor on its own, as a backward pass
does, leaves open where it is: such a tensor may meet any other.

    with PretendedGPU() as gpu:
        model.to("cuda")
        ...
    gpu.waits  # how often the program waited for the GPU, by kind and by line of llmgym
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._device import _device_constructors
from torch.utils._python_dispatch import TorchDispatchMode

_GPU, _CPU = torch.device("cuda:0"), torch.device("cpu")
_PLAIN_TO = torch._C.TensorBase.to
_aten = torch.ops.aten

_ACROSS = {_aten.copy_, _aten._to_copy, _aten._foreach_copy_}
"""Take tensors from anywhere to anywhere."""
_INDEXING = {_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_, _aten._unsafe_index}
"""Take indices on the CPU for a tensor that is not, and wait until they are there."""
_WITH_NUMBER = {_aten.masked_fill, _aten.masked_fill_, _aten.fill, _aten.fill_} | _INDEXING
"""As all pointwise ones: take a tensor without dimensions from the CPU, as a number."""
_WAITING = {
    _aten._local_scalar_dense: "item",
    _aten.item: "item",  # where no gradient is wanted, operations come here before they are taken apart
    _aten.is_nonzero: "item",
    _aten.equal: "equal",
    _aten.nonzero: "nonzero",
    _aten.masked_select: "mask",
    _aten._unique2: "unique",
    _aten.unique_dim: "unique",
    _aten.bincount: "bincount",
}
"""The program goes on only when their result is known."""


def _device_of(tensor: Tensor) -> torch.device | None:
    """Where it is said to be; None: open."""
    return getattr(_storage(tensor), "pretended_device", _CPU)


def _say(tensor: Tensor, device: torch.device | None) -> None:
    _storage(tensor).pretended_device = device


def _storage(tensor: Tensor) -> Any:
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):  # within vmap
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor.untyped_storage()


def _tensors(values: Any) -> Iterator[Tensor]:
    """Those among arguments or results."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)


def _known(device: Any) -> torch.device | None:
    """The device of that name, if it is one of the two."""
    device = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    return {"cuda": _GPU, "cpu": _CPU}.get(device.type)


class PretendedGPU(TorchDispatchMode):
    """While the block runs, this thread has a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[tuple[str, str]] = Counter()
        """By kind, such as "item", and place, such as "llmgym.learning.learner:310"."""

    def __enter__(self) -> PretendedGPU:
        self._patch = pytest.MonkeyPatch()
        for one in _device_constructors():
            name = getattr(one, "__name__", "")
            if getattr(torch, name, None) is one:
                self._patch.setattr(torch, name, self._making(one))
        for name in ("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like"):
            self._patch.setattr(torch, name, self._making(getattr(torch, name), takes_tensor=True))
        for name in ("new_zeros", "new_ones", "new_full", "new_empty", "new_tensor"):
            self._patch.setattr(Tensor, name, self._making(getattr(Tensor, name), takes_tensor=True))
        self._patch.setattr(Tensor, "device", property(lambda tensor: _device_of(tensor) or _CPU))
        self._patch.setattr(Tensor, "is_cuda", property(lambda tensor: _device_of(tensor) == _GPU))
        self._patch.setattr(Tensor, "is_cpu", property(lambda tensor: _device_of(tensor) != _GPU))
        self._patch.setattr(Tensor, "to", lambda tensor, *args, **options: self._to(tensor, *args, **options))
        self._patch.setattr(Tensor, "cpu", lambda tensor: self._to(tensor, "cpu"))
        self._patch.setattr(Tensor, "cuda", lambda tensor, *_, **options: self._to(tensor, "cuda", **options))
        self._patch.setattr(Tensor, "numpy", self._numpy(Tensor.numpy))
        self._patch.setattr(Tensor, "tolist", self._tolist(Tensor.tolist))
        self._patch.setattr(Tensor, "__deepcopy__", _keeping_device(Tensor.__deepcopy__))
        name = "_group_tensors_by_device_and_dtype"  # whose keys the C++ makes
        self._patch.setattr(torch._C, name, _grouping(getattr(torch._C, name)))
        for name, value in (
            ("is_available", True),
            ("device_count", 1),
            ("current_device", 0),
            ("get_device_name", "a pretended GPU"),
            ("synchronize", None),
            ("reset_peak_memory_stats", None),
            ("max_memory_allocated", 0),
            ("get_rng_state", torch.zeros(16, dtype=torch.uint8)),
            ("get_rng_state_all", [torch.zeros(16, dtype=torch.uint8)]),
            ("manual_seed_all", None),
            ("set_rng_state", None),
            ("set_rng_state_all", None),
        ):
            self._patch.setattr(torch.cuda, name, lambda *_, value=value, **__: value)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._patch.undo()

    @property
    def num_waits(self) -> int:
        """How often the program waited for the GPU."""
        return sum(self.waits.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, packet = kwargs or {}, func.overloadpacket
        inputs = [*_tensors(args), *_tensors(tuple(kwargs.values()))]
        device = self._common_device(func, packet, args, inputs)
        if any(isinstance(value, torch.Generator) for value in kwargs.values()) and device == _GPU:
            raise RuntimeError(f"{func}: expected a 'cuda' device type for generator but found 'cpu'")
        outputs = func(*args, **kwargs)
        ours = {_storage(tensor)._cdata for tensor in inputs}
        for output in _tensors(outputs):
            if _storage(output)._cdata not in ours:
                _say(output, device)
        return outputs

    def _common_device(self, func: Any, packet: Any, args: Any, inputs: list[Tensor]) -> torch.device | None:
        devices = [_device_of(tensor) for tensor in inputs]
        if packet in _ACROSS:
            if {_CPU, _GPU} <= {*devices} and not (len(args) > 2 and args[2] is True):
                self._wait("copy")
            return devices[0]
        takes_number = torch.Tag.pointwise in func.tags or packet in _WITH_NUMBER
        indices = [index for index in args[1] if index is not None] if packet in _INDEXING else []
        may_differ = [
            (takes_number and tensor.dim() == 0) or (any(tensor is index for index in indices) and devices[0] == _GPU)
            for tensor in inputs
        ]
        strict = {where for where, free in zip(devices, may_differ, strict=True) if not free or where == _GPU}
        if {_CPU, _GPU} <= strict:
            shapes = ", ".join(f"{tuple(t.shape)} on {where}" for t, where in zip(inputs, devices, strict=True))
            raise RuntimeError(f"Expected all tensors to be on the same device, but {func} was given {shapes}.")
        device = _GPU if _GPU in devices else None if None in devices or not inputs else _CPU
        if device == _GPU:
            if packet in _WAITING:
                self._wait(_WAITING[packet])
            if func in (_aten.repeat_interleave.Tensor, _aten.repeat_interleave.self_Tensor):
                self._wait("repeat")
            for index in indices:
                if index.dtype in (torch.bool, torch.uint8):
                    self._wait("mask")
                elif _device_of(index) != _GPU:
                    self._wait("index")
        return device

    def _wait(self, kind: str) -> None:
        frame: Any = sys._getframe(1)
        while frame is not None and not frame.f_globals["__name__"].startswith("llmgym."):
            frame = frame.f_back
        self.waits[kind, "elsewhere" if frame is None else f"{frame.f_globals['__name__']}:{frame.f_lineno}"] += 1

    def _making(self, plain: Callable[..., Tensor], *, takes_tensor: bool = False) -> Callable[..., Tensor]:
        """A function that makes tensors, on the device that it is asked for."""

        @wraps(plain)
        def make(*args: Any, device: Any = None, **options: Any) -> Tensor:
            options.pop("pin_memory", None)
            place = _CPU if device is None else _known(device)
            if takes_tensor:
                place = _device_of(args[0]) if device is None else place
            if place is None and device is not None:  # such as "meta"
                return plain(*args, device=device, **options)
            if plain.__name__ in ("as_tensor", "asarray") and isinstance(args[0], Tensor):
                return self._to(args[0], device=device, dtype=options.get("dtype"))
            if place == _GPU and options.get("generator") is not None:
                raise RuntimeError(f"{plain.__name__}: expected a 'cuda' device type for generator but found 'cpu'")
            made = plain(*args, **options)
            _say(made, place)
            if place == _GPU and plain.__name__ in ("tensor", "as_tensor", "asarray", "new_tensor"):
                self._wait("copy")
            return made

        return make

    def _to(self, tensor: Tensor, *args: Any, **options: Any) -> Tensor:
        """`Tensor.to`, in all its forms."""
        given = list(args)
        if given and isinstance(given[0], Tensor):
            options |= {"device": given[0].device, "dtype": given.pop(0).dtype}
        elif given and not isinstance(given[0], torch.dtype):
            options["device"] = given.pop(0)
        names = ["non_blocking", "copy"] if "dtype" in options else ["dtype", "non_blocking", "copy"]
        options |= dict(zip(names, given, strict=False))
        device = options.pop("device", None)
        target = _device_of(tensor) if device is None else _known(device)
        if device is not None and target is None:  # such as "meta"
            return _PLAIN_TO(tensor, device=device, **options)
        if target == _device_of(tensor) or _device_of(tensor) is None:
            return _PLAIN_TO(tensor, **options)
        if not options.pop("non_blocking", False):
            self._wait("copy")
        elif target == _CPU:
            raise RuntimeError("to('cpu', non_blocking=True) gives numbers that may not be there yet.")
        options.pop("copy", None)
        return _Move.apply(tensor, target, options)  # type: ignore[no-any-return, no-untyped-call]

    def _numpy(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(plain)
        def numpy(tensor: Tensor, **options: Any) -> Any:
            if _device_of(tensor) == _GPU:
                raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")
            return plain(tensor, **options)

        return numpy

    def _tolist(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(plain)
        def tolist(tensor: Tensor) -> Any:
            if _device_of(tensor) == _GPU:
                self._wait("tolist")
            return plain(tensor)

        return tolist


class _Move(torch.autograd.Function):
    """To the other device; gradients go the way back."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, device: torch.device, options: dict[str, Any]) -> Tensor:
        ctx.source, ctx.dtype = _device_of(tensor), tensor.dtype
        moved = _PLAIN_TO(tensor, copy=True, **options)
        _say(moved, device)
        return moved

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        back = _PLAIN_TO(grad, dtype=ctx.dtype, copy=True)
        _say(back, ctx.source)
        return back, None, None


def _keeping_device(plain: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @wraps(plain)
    def copied(tensor: Tensor, *args: Any) -> Tensor:
        copy = plain(tensor, *args)
        _say(copy, _device_of(tensor))
        return copy

    return copied


def _grouping(plain: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(plain)
    def grouped(lists: Any, with_indices: bool = False) -> Any:
        groups = {}
        for (_, dtype), (columns, indices) in plain(lists, True).items():
            for device in {tensor.device for tensor in columns[0]}:
                rows = [row for row, tensor in enumerate(columns[0]) if tensor.device == device]
                kept = [[column[row] for row in rows] if column else [] for column in columns]
                groups[device, dtype] = (kept, [indices[row] for row in rows])
        return groups

    return grouped


def strays(tensors: Iterable[Tensor], device: str) -> list[tuple[int, ...]]:
    """The shapes of those that are not on `device`."""
    return [tuple(tensor.shape) for tensor in tensors if tensor.device != _known(device)]
