"""vLLM's own back ends of the weight transfer, from GPU to GPU: `nccl` between two, `ipc` within one."""

import asyncio
import os
import pickle
import socket
from base64 import b64encode
from collections.abc import Coroutine, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...threads import in_thread
from ..sampler import WeightSource
from .engines import Engine
from .shared_memory import Place, num_bytes_of, plan_places

_BUFFER_BYTES = 256 << 20
_SECONDS_TO_END = 10.0


class NativeTransfer:
    """Hands weights from the learner's GPU to the engine's. The learner's process imports vLLM for it.

    An engine that is started anew gets the learner's weights as they are then.

    Args:
        backend: "nccl", where learner and engine have GPUs of their own, or "ipc", where they share one.
        dtype: of the engine's weights, such as "bfloat16".
        device: the learner's GPU.
        num_workers: of the engine, each with a GPU.
        address: of this machine, as the workers reach it; for "nccl".
    """

    def __init__(
        self,
        backend: str,
        *,
        dtype: str,
        device: torch.device,
        num_workers: int = 1,
        address: str = "127.0.0.1",
    ) -> None:
        self.vllm_backend, self._dtype, self._device = backend, dtype, device
        self._num_workers, self._address = num_workers, address
        self._weights: _Weights | None = None
        self._trainer: Any = None
        self._client: _Client | None = None
        self.num_bytes = 0

    async def prepare(self, source: WeightSource) -> None:
        """Nothing is copied here."""
        self._weights = _Weights(source, self._dtype, self._device)
        self.num_bytes = sum(self._weights.sizes)

    async def deliver(self, engine: Engine, *, version: int) -> None:
        """The three calls of an update, which vLLM's side of the trainer makes.

        Raises:
            EngineDied: the engine ended.
            SamplerError: it refused.
        """
        assert self._weights is not None
        if self._client is None or self._client.engine is not engine:
            self.close()
            self._client = _Client(engine)
        client = self._client
        client.begin(version)
        sending = asyncio.ensure_future(in_thread(partial(self._send, self._weights, client)))
        sending.add_done_callback(_forget)
        failing = asyncio.ensure_future(client.failed.wait())
        try:
            await asyncio.wait({sending, failing}, return_when=asyncio.FIRST_COMPLETED)
            if not sending.done():  # who broadcasts to an engine that takes no part would wait for ever
                self.close()
                await asyncio.wait({sending}, timeout=_SECONDS_TO_END)
            if client.failure is not None:
                raise client.failure
            sending.result()
        except BaseException:
            self.close()  # in the middle of an update there is nothing to go on with
            raise
        finally:
            failing.cancel()

    def _send(self, weights: "_Weights", client: "_Client") -> None:
        with torch.cuda.device(self._device):
            torch.cuda.synchronize()  # the learner's step; weights are sent in streams that do not wait for it
            trainer = self._trainer
            if trainer is None:
                trainer = self._make_trainer(weights, client)
                if self._client is not client:  # nobody waits for it any longer
                    trainer.shutdown()
                    return
                self._trainer = trainer
            trainer.source = weights
            trainer.send_weights()

    def _make_trainer(self, weights: "_Weights", client: "_Client") -> Any:
        os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")  # vLLM's own choice is stdout
        from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory
        from vllm.distributed.weight_transfer.ipc_engine import IPCTrainerInitInfo
        from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

        # Weights go in buffers of this size: a whole one must fit, and vLLM's own choice is more than some models are.
        packing = {"packed": True, "packed_buffer_size_bytes": max(*weights.sizes, min(self.num_bytes, _BUFFER_BYTES))}
        info: Any
        if self.vllm_backend == "ipc":
            info = IPCTrainerInitInfo(rank=0, **packing)
        else:
            place = {"master_address": self._address, "master_port": _free_port()}
            info = NCCLTrainerInitInfo(rank=0, world_size=self._num_workers + 1, **place, **packing)
        return WeightTransferTrainerFactory.trainer_init(info, client=client, source=weights)

    def close(self) -> None:
        """Leave the group of processes."""
        trainer, self._trainer, self._client = self._trainer, None, None
        if trainer is not None:
            trainer.shutdown()


def _forget(sending: "asyncio.Future[None]") -> None:
    """Of a thread that ends late, the error is the consequence of one that was told already."""
    if not sending.cancelled():
        sending.exception()


class _Client:
    """What vLLM's trainer side calls, from a thread of its own: the engine, on its event loop."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.failed = asyncio.Event()
        self.failure: BaseException | None = None

    def begin(self, version: int) -> None:
        """An update, in the event loop that is running."""
        self._loop, self._version = asyncio.get_running_loop(), version
        self.failed, self.failure = asyncio.Event(), None

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
        self._wait(self.engine.finish_weight_update(self._version))

    def _wait(self, call: Coroutine[Any, Any, None]) -> None:
        try:
            asyncio.run_coroutine_threadsafe(call, self._loop).result()
        except BaseException as error:
            self.failure = error
            self._loop.call_soon_threadsafe(self.failed.set)
            raise


class _Weight(NamedTuple):
    """As vLLM's trainer side describes a weight."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]


class _Weights:
    """A weight source in vLLM's words, which a class need not inherit from, in the engine's data type."""

    def __init__(self, source: WeightSource, dtype: str, device: torch.device) -> None:
        self._source, self._device = source, device
        self._places: list[Place] = plan_places(source.shapes(), dtype)
        self.sizes = [num_bytes_of(sent, shape) for _, sent, shape, _ in self._places]
        """Bytes of each."""

    def metadata(self) -> list[_Weight]:
        return [_Weight(name, getattr(torch, dtype), tuple(shape)) for name, dtype, shape, _ in self._places]

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for weight, (name, tensor) in zip(self.metadata(), self._source, strict=True):
            yield name, tensor.to(self._device, weight.dtype)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("", 0))
        port: int = listener.getsockname()[1]
        return port
