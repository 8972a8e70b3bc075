"""The learner's weights on their way into vLLM: what is checked, in which order, and what is left after a failure."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ...errors import ConfigError, SamplerError
from ..sampler import WeightSource
from .adapter_transfer import AdapterTransfer
from .engines import Adapter, Engine, EngineDied
from .native_transfer import NativeTransfer
from .shared_memory import MemoryTransfer

Shapes = Mapping[str, tuple[str, tuple[int, ...]]]
"""Data type and shape by name, as `WeightSource.shapes` gives them."""


class Transfer(Protocol):
    """A way into the engine."""

    num_bytes: int
    """Of what was prepared last."""

    async def prepare(self, source: WeightSource) -> None:
        """Do what can be done while the engine still samples."""

    async def deliver(self, engine: Engine, *, version: int) -> None:
        """Put what was prepared last into the engine, which is paused."""

    def close(self) -> None:
        """Free everything. Calling it twice is harmless."""


@dataclass(frozen=True)
class UpdateCost:
    """What the last update cost."""

    seconds: float
    """All of it."""
    pause_seconds: float
    """The part in which the engine sampled nothing."""
    num_bytes: int
    """Of weights."""


class EngineWeights:
    """The weights of a sampler's engine, and of those that replace it.

    Args:
        transfer: "memory", "ipc" or "nccl", see `choose_transfer`.
        shapes: of the model that the engine runs, tied weights under each of their names.
        dtype: of the engine's weights, such as "bfloat16".
        device: that the learner's weights are on.
        num_workers: of the engine, each with a GPU.
    """

    def __init__(
        self, transfer: str, *, shapes: Shapes, dtype: str, device: torch.device, num_workers: int = 1
    ) -> None:
        self._shapes = shapes
        self._full: Transfer
        if transfer == "memory":
            self._full = MemoryTransfer(dtype=dtype)
            self._advice = ""
        else:
            self._advice = f'\nIf GPUs do not do that here ({transfer}), set weight_transfer to "memory".'
            self._full = NativeTransfer(transfer, dtype=dtype, device=device, num_workers=num_workers)
        self._adapters = AdapterTransfer()
        self._sent: list[_Sent] = []
        self._has_adapter = False
        self.cost: UpdateCost | None = None
        """Of the last update."""

    @property
    def adapter(self) -> Adapter | None:
        """What each request must name; None: no adapter was sent yet."""
        return self._adapters.adapter if self._has_adapter else None

    async def update(self, engine: Engine, source: WeightSource, *, version: int, resume: bool = True) -> None:
        """Give `engine` the weights of `source`; later tokens carry `version`.

        Requests that run go on with the new weights: what their keys and values were computed with is forgotten.

        Args:
            engine: it; it is closed where the update fails midway, as it would be neither the old policy nor the new.
            source: the weights.
            version: of them.
            resume: let the engine go on afterwards.

        Raises:
            SamplerError: the weights do not fit the engine's model, and nothing was changed; or the update failed.
            EngineDied: the engine ended; give another one the weights with `restore`.
        """
        if not source.is_adapter:
            require_same_model(source.shapes(), self._shapes)
        new = _Sent(self._adapters if source.is_adapter else self._full, source, version)
        self._sent = [*(sent for sent in self._sent if new.is_adapter and not sent.is_adapter), new]
        await self._deliver([new], engine, resume=resume)

    async def restore(self, engine: Engine, *, resume: bool = True) -> None:
        """Give a new engine all that the last one was to have; nothing where there was no update.

        Raises as `update` does.
        """
        if self._sent:
            await self._deliver(self._sent, engine, resume=resume)

    async def _deliver(self, parts: "list[_Sent]", engine: Engine, *, resume: bool) -> None:
        start = time.perf_counter()
        for part in parts:
            await part.prepare()
        pause = time.perf_counter()
        try:
            await engine.pause()
            for part in parts:
                await part.transfer.deliver(engine, version=part.version)
                self._has_adapter = part.is_adapter
            await engine.reset_prefix_cache()
            if resume:
                await engine.resume()
        except EngineDied:
            raise
        except BaseException as error:  # also where the caller was cancelled: nobody may sample from half an update
            engine.close()
            if not isinstance(error, Exception):
                raise
            raise SamplerError(
                f"The weights of version {parts[-1].version} did not get into vLLM, and its engine, which may hold a "
                f"mixture of old and new ones, was closed. {error}{self._advice}"
            ) from error
        end = time.perf_counter()
        self.cost = UpdateCost(end - start, end - pause, sum(part.transfer.num_bytes for part in parts))

    def close(self) -> None:
        """Free everything. Calling it twice is harmless."""
        self._full.close()
        self._adapters.close()
        self._sent = []


class _Sent:
    """Weights that an engine was to have."""

    def __init__(self, transfer: Transfer, source: WeightSource, version: int) -> None:
        self.transfer, self.version, self.is_adapter = transfer, version, source.is_adapter
        self._source: WeightSource | None = source

    async def prepare(self) -> None:
        """Copy the weights, once: an engine that is started anew is to have the same."""
        if self._source is not None:
            await self.transfer.prepare(self._source)
            self._source = None


def choose_transfer(
    transfer: str,
    *,
    learner_device: torch.device,
    engine_is_cpu: bool,
    shares_gpu: bool,
    num_workers: int = 1,
    num_learners: int = 1,
) -> str:
    """The way into the engine where "auto" leaves it open; what is named is taken.

    "nccl" must be named: it is for engines that have a GPU to themselves, which cannot be seen from here.

    Args:
        transfer: "auto"; through "memory" that processes share; by "ipc" within a GPU; by "nccl" from GPU to GPU.
        learner_device: that the learner's weights are on.
        engine_is_cpu: vLLM is its CPU build.
        shares_gpu: learner and engine are on the same GPU.
        num_workers: of the engine.
        num_learners: processes of the learner.

    Raises:
        ConfigError: there is no such way, or not from here.
    """
    if transfer not in ("auto", "memory", "ipc", "nccl"):
        raise ConfigError(f'weight_transfer is {transfer!r}, but it must be "auto", "memory", "ipc" or "nccl".')
    has_gpus = learner_device.type == "cuda" and not engine_is_cpu
    # A handle opens memory of one GPU, and vLLM's side of the trainer asks all processes of the learner for theirs.
    is_one_gpu = num_workers == num_learners == 1
    if transfer == "auto":
        return "ipc" if has_gpus and shares_gpu and is_one_gpu else "memory"
    if transfer != "memory" and not has_gpus:
        raise ConfigError(
            f"weight_transfer is {transfer!r}, which goes from GPU to GPU, but the learner is on "
            f"{str(learner_device)!r} and the engine {'on the CPU' if engine_is_cpu else 'on a GPU'}. "
            'Use "memory" or "auto".'
        )
    if transfer == "ipc" and not is_one_gpu:
        raise ConfigError(
            f'weight_transfer is "ipc", which hands weights on within one GPU, but vLLM has {num_workers} of them and '
            f'the learner {num_learners} processes. Use "memory" or "auto".'
        )
    if transfer == "nccl" and shares_gpu:
        raise ConfigError(
            'weight_transfer is "nccl", which goes from one GPU to another, but the sampler is colocated: learner and '
            'vLLM have the same. Use "ipc" or "auto".'
        )
    return transfer


def vllm_backend(transfer: str) -> str:
    """What vLLM calls it, for its `weight_transfer_config`."""
    return MemoryTransfer.vllm_backend if transfer == "memory" else transfer


def environment_of(transfer: str) -> dict[str, str]:
    """Environment variables that the engine's process needs. Handles of GPU memory reach it pickled, from us."""
    return {"VLLM_ALLOW_INSECURE_SERIALIZATION": "1"} if transfer == "ipc" else {}


def same_gpu(device: torch.device, environment: Mapping[str, str]) -> dict[str, str]:
    """Environment variables with which an engine of one GPU takes the learner's, and not the first that it sees.

    Args:
        device: that the learner's weights are on.
        environment: of the learner's process, in which the device's number counts the visible GPUs only.
    """
    if device.type != "cuda" or not device.index:
        return {}
    visible = [name.strip() for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return {"CUDA_VISIBLE_DEVICES": visible[device.index] if visible else str(device.index)}


def shapes_of(module: Any) -> Shapes:
    """Of a model in this process; tied weights under each of their names."""
    named = module.named_parameters(remove_duplicate=False)
    return {name: (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)) for name, tensor in named}


def require_same_model(given: Shapes, expected: Shapes) -> None:
    """Refuse weights of another model.

    vLLM itself would find out in the middle, with half of the model replaced; a weight that is left out, such as a tied
    head, it would not miss at all, and keep the old one.

    Raises:
        SamplerError: a weight is missing or unknown, or its shape or kind of number differs.
    """
    wrong = [f"{name!r} is missing" for name in expected.keys() - given.keys()]
    wrong += [f"{name!r} is not of this model" for name in given.keys() - expected.keys()]
    for name in given.keys() & expected.keys():
        (dtype, shape), (own_dtype, own_shape) = given[name], expected[name]
        if tuple(shape) != tuple(own_shape):
            wrong.append(f"{name!r} is of shape {tuple(shape)} where the engine's is {tuple(own_shape)}")
        elif getattr(torch, dtype).is_floating_point != getattr(torch, own_dtype).is_floating_point:
            wrong.append(f"{name!r} is of {dtype} where the engine's is of {own_dtype}")
    if wrong:
        shown, more = ", ".join(sorted(wrong)[:5]), f", and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise SamplerError(
            f"The weights do not fit the model that vLLM runs: {shown}{more}. Nothing was changed. "
            "Update a sampler with the weights of the model that it was made of; tied weights under both names."
        )
