"""vLLM's own back ends of the weight transfer, from GPU to GPU: `nccl` between two, `ipc` within one."""

import asyncio
import os
import pickle
import socket
from base64 import b64encode
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..sampler import WeightSource
from .engines import Engine
from .shared_memory import Place, num_bytes_of, plan_places


class NativeTransfer:
    """Hands weights from the learner's GPU to the engine's. The learner's process imports vLLM for it.

    An engine that is started anew gets the learner's weights as they are then.

    Args:
        backend: "nccl", where learner and engine have GPUs of their own, or "ipc", where they share them.
        dtype: of the engine's weights, such as "bfloat16".
        num_workers: of the engine, each with a GPU.
        address: of this machine, as the workers reach it; for "nccl".
    """

    def __init__(self, backend: str, *, dtype: str, num_workers: int = 1, address: str = "127.0.0.1") -> None:
        self.vllm_backend, self._dtype = backend, dtype
        self._num_workers, self._address = num_workers, address
        self._weights: _Weights | None = None
        self._trainer: Any = None
        self._client: _Client | None = None
        self.num_bytes = 0

    async def prepare(self, source: WeightSource) -> None:
        """Nothing is copied here."""
        self._weights = _Weights(source, self._dtype)
        self.num_bytes = sum(num_bytes_of(dtype, shape) for _, dtype, shape, _ in self._weights.places)

    async def deliver(self, engine: Engine, *, version: int) -> None:
        """The three calls of an update, which vLLM's side of the trainer makes."""
        assert self._weights is not None
        if self._client is None or self._client.engine is not engine:
            self.close()
            self._client = _Client(engine)
        self._client.loop, self._client.version = asyncio.get_running_loop(), version
        await asyncio.to_thread(self._send, self._weights, self._client)

    def _send(self, weights: "_Weights", client: "_Client") -> None:
        with torch.cuda.device(weights.device):
            if self._trainer is None:
                self._trainer = self._make_trainer(weights, client)
            self._trainer.source = weights
            self._trainer.send_weights()

    def _make_trainer(self, weights: "_Weights", client: "_Client") -> Any:
        os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")  # vLLM's own choice is stdout
        from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory
        from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerInitInfo
        from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

        info: Any
        if self.vllm_backend == "ipc":
            # Weights that are handed on as they are need no copy; converted ones need a buffer of bounded size.
            info = IPCTrainerInitInfo(rank=0, packed=weights.converts)
        else:
            info = NCCLTrainerInitInfo(
                rank=0, master_address=self._address, master_port=_free_port(), world_size=self._num_workers + 1
            )
        return WeightTransferTrainerFactory.trainer_init(info, client=client, source=weights)

    def close(self) -> None:
        """Leave the group of processes."""
        if self._trainer is not None:
            self._trainer.shutdown()
        self._trainer = self._client = None


class _Client:
    """What vLLM's trainer side calls, from a thread of its own: the engine, on its event loop."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.loop = asyncio.get_running_loop()
        self.version = 0

    def init_weight_transfer_engine(self, init_info: Mapping[str, Any]) -> None:
        self._wait(self.engine.init_weight_transfer(init_info))

    def start_weight_update(self) -> None:
        self._wait(self.engine.start_weight_update())

    def update_weights(self, update_info: Mapping[str, Any]) -> None:
        info = dict(update_info)
        if (handles := info.pop("ipc_handles", None)) is not None:
            info["ipc_handles_pickled"] = b64encode(pickle.dumps(handles)).decode()
        self._wait(self.engine.update_weights(info))

    def finish_weight_update(self, weight_version: str | None = None) -> None:
        del weight_version  # the trainer side names none
        self._wait(self.engine.finish_weight_update(self.version))

    def _wait(self, call: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(call, self.loop).result()


class _Weight(NamedTuple):
    """As vLLM's trainer side describes a weight."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]


class _Weights:
    """A weight source in vLLM's words, which a class need not inherit from, in the engine's data type."""

    def __init__(self, source: WeightSource, dtype: str) -> None:
        self._source = source
        self.places: list[Place] = plan_places(source.shapes(), dtype)
        self.converts = any(sent != source.shapes()[name][0] for name, sent, _, _ in self.places)
        self.device = next(iter(source))[1].device

    def metadata(self) -> list[_Weight]:
        return [_Weight(name, getattr(torch, dtype), tuple(shape)) for name, dtype, shape, _ in self.places]

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for weight, (name, tensor) in zip(self.metadata(), self._source, strict=True):
            yield name, tensor.to(weight.dtype)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("", 0))
        port: int = listener.getsockname()[1]
        return port
