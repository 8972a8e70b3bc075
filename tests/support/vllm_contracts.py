"""Code for GPUs against vLLM's own classes, on a CPU: names, signatures, orders and bytes that it would refuse there.

Runs in a process of its own, as vLLM changes the one that imports it. CUDA itself, and the pipe between two processes,
are played. Prints a JSON object: what is wrong, by check; "" where nothing is.
"""

import asyncio
import dataclasses
import json
import os
import sys
import threading
import traceback
from contextlib import nullcontext
from queue import Queue
from types import SimpleNamespace
from unittest.mock import MagicMock, call, create_autospec, patch

import torch
from vllm.config import WeightTransferConfig
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.engine.arg_utils import AsyncEngineArgs, EngineArgs
from vllm.v1.core.sched.interface import PauseState
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.core import EngineCore
from vllm.v1.engine.llm_engine import LLMEngine
from vllm.v1.executor.abstract import Executor
from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder
from vllm.v1.worker.gpu_worker import Worker

from llmgym.sampling import SamplingParams
from llmgym.sampling.vllm import VLLMSettings, host_engines, native_transfer
from llmgym.sampling.vllm.engines import Adapter, EngineDied
from llmgym.sampling.vllm.host_engines import AsyncServer, InProcessServer, Words, complete_args
from llmgym.sampling.vllm.process import EngineProcess
from llmgym.sampling.vllm.settings import _OURS
from llmgym.sampling.vllm.weights import EngineWeights, environment_of

ALL_CALLS = [
    *(("ping",), ("pause",), ("resume",), ("num_unfinished",), ("reset_prefix_cache",), ("sleep",)),
    *(("wake", ["weights"]), ("wake", None), ("set_weight_version", "3"), ("collective_rpc", "name", {"by": 1})),
    ("add_adapter", Adapter("policy", 1, "/folder")),
]


def arguments_exist_and_suit_a_gpu():
    settings = VLLMSettings(colocated=True, lora_rank=8, tensor_parallel_size=2)
    given = settings.vllm_args("model", max_batch=4)
    for cls in (EngineArgs, AsyncEngineArgs):
        names = {field.name for field in dataclasses.fields(cls)}
        assert {*given, *_OURS} <= names, {*given, *_OURS} - names

    with patch.object(host_engines, "current_platform", SimpleNamespace(is_cpu=lambda: False)):
        args = complete_args({**given, "weight_transfer_config": {"backend": "ipc"}}, "async")
        alone = complete_args(VLLMSettings().vllm_args("model", max_batch=4), "in_process")
        chosen = complete_args({**given, "gpu_memory_utilization": 0.7}, "async")

    assert (args["dtype"], args["gpu_memory_utilization"], args["enable_sleep_mode"]) == ("bfloat16", 0.4, True)
    assert args["weight_transfer_config"] == WeightTransferConfig(backend="ipc")
    assert "gpu_memory_utilization" not in alone
    assert (alone["async_scheduling"], chosen["gpu_memory_utilization"]) == (False, 0.7)


def engines_have_what_is_asked_of_them():
    for cls in (LLMEngine, AsyncLLM):
        server = (InProcessServer if cls is LLMEngine else AsyncServer).__new__(
            InProcessServer if cls is LLMEngine else AsyncServer
        )
        server._is_paused = False
        for name, *args in ALL_CALLS:
            server.engine = create_autospec(cls, instance=True)
            if cls is LLMEngine:
                server.call(name, *args)
            else:
                asyncio.run(server._call(name, *args))
            if name == "sleep":
                assert server.engine.mock_calls == [
                    call.reset_prefix_cache(reset_running_requests=True),
                    call.sleep(1, "keep"),
                ]


def kept_tokens_are_asked_for_with_those_equal_to_the_last():
    words = Words(record_kept_tokens=True, vocab_size=100)
    asked = [words.params(SamplingParams(max_new_tokens=1, **kept), 0).logprobs for kept in KEPT]
    assert asked == [0, 58, 100, -1, 100], asked


KEPT = [{}, {"top_k": 50}, {"top_k": 1000}, {"top_p": 0.9}, {"top_k": 99, "top_p": 0.9}]


def it_sleeps_until_all_of_its_memory_is_back():
    asked = []

    class Workers(Executor):
        def collective_rpc(self, method, timeout=None, args=(), kwargs=None):
            asked.append((method, (kwargs or {}).get("tags", (kwargs or {}).get("level"))))

    Workers.__abstractmethods__ = frozenset()
    core, states = EngineCore.__new__(EngineCore), []
    core.model_executor, core.scheduler, core.mm_receiver_cache = Workers.__new__(Workers), MagicMock(), None
    core.model_executor.sleeping_tags = set()
    core.scheduler.set_pause_state.side_effect = states.append
    server = InProcessServer.__new__(InProcessServer)
    server.engine = core

    server.call("sleep")
    server.call("wake", ["weights"])
    assert states == [PauseState.PAUSED_ALL]
    server.call("wake", ["kv_cache"])

    assert states[1:] == [PauseState.UNPAUSED]
    of_memory = [each for each in asked if each[0] in ("sleep", "wake_up")]
    assert of_memory == [("sleep", 1), ("wake_up", ["weights"]), ("wake_up", ["kv_cache"])]
    core.scheduler.reset_prefix_cache.assert_any_call(True, False)


# -- transfers from GPU to GPU


class Remote(EngineProcess):
    """An engine without a process: calls of the worker travel as vLLM sends them, to vLLM's worker class."""

    def __init__(self, backend):
        self.model, self.calls, self.is_closed = Model(), [], False
        self.worker = Worker.__new__(Worker)
        self.worker.vllm_config, self.worker.model_runner = MagicMock(), MagicMock()
        self.worker.vllm_config.parallel_config = SimpleNamespace(data_parallel_index=0, world_size=1, rank=0)
        self.worker._weight_update_active = self.worker._weight_update_is_draft = False
        self.worker.weight_transfer_engine = WeightTransferEngineFactory.create_engine(
            WeightTransferConfig(backend=backend), self.worker.vllm_config, torch.device("cuda", 0), self.model
        )
        self.fails_at = ""

    async def _call(self, name, *args):
        self.calls.append(args[0] if name == "collective_rpc" else name)
        if self.calls[-1] == self.fails_at:
            raise EngineDied("killed")
        if name != "collective_rpc":
            return True
        kwargs = MsgpackDecoder().decode(MsgpackEncoder().encode(args[1]))
        return [await asyncio.to_thread(getattr(self.worker, args[0]), **kwargs)]

    def close(self):
        self.is_closed = True


class Model(torch.nn.Module):
    """Keeps what is loaded into it."""

    def __init__(self):
        super().__init__()
        self.loaded, self.num_loads, self.reloads = {}, 0, []

    def load_weights(self, weights):
        self.num_loads += 1
        self.loaded.update({name: tensor.clone() for name, tensor in weights})


class Source:
    """A learner's weights: a tied head under both names, and a vector that stays in float32."""

    is_adapter = False

    def __init__(self, seed):
        generator = torch.Generator().manual_seed(seed)
        head = torch.randn(64, 8, generator=generator)
        norm, layer = torch.randn(8, generator=generator), torch.randn(8, 24, generator=generator)
        self.tensors = {"embed": head, "layer": layer.T, "norm": norm, "lm_head": head}

    def shapes(self):
        return {name: (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)) for name, tensor in self}

    def __iter__(self):
        return iter(self.tensors.items())

    def as_sent(self):
        return {name: tensor if name == "norm" else tensor.bfloat16() for name, tensor in self}


class Group:
    """One side of a group of processes: what one broadcasts, the other receives."""

    meeting, pipe, gone = threading.Barrier(2, timeout=20), Queue(), threading.Event()

    def __init__(self, address, port, rank, world_size, device):
        assert (address, world_size, device, port > 0) == ("127.0.0.1", 2, 0, True)
        self.rank = rank
        self.meeting.wait()

    def broadcast(self, tensor, src, stream=None):
        if self.rank == src:
            self.pipe.put(tensor.clone())
            if Group.hangs:
                assert self.gone.wait(20)
                raise RuntimeError("aborted")
        else:
            tensor.copy_(self.pipe.get(timeout=20))

    def destroy(self):
        self.gone.set()

    hangs = False


MEMORY = []


def exported(tensor):
    """In place of a handle: vLLM overwrites the seventh part with the number of the worker's GPU."""
    MEMORY.append(tensor)
    return None, (len(MEMORY) - 1, *[None] * 5, "the learner's", None)


def imported(index, *rest):
    assert rest[5] == 0, rest
    return MEMORY[index]


def on_cpu(make):
    """A function that makes tensors, on the CPU whatever it is asked."""
    return lambda *args, device=None, **kwargs: make(*args, **kwargs)


WEIGHT_TRANSFER = "vllm.distributed.weight_transfer"
PLAYED = {
    "torch.cuda.device": lambda device: nullcontext(),
    "torch.cuda.stream": lambda stream: nullcontext(),
    "torch.cuda.synchronize": lambda: None,
    "torch.cuda.ipc_collect": lambda: None,
    "torch.cuda.current_stream": MagicMock(),
    "torch.cuda.get_device_properties": lambda index: SimpleNamespace(uuid="GPU-7"),
    "torch.accelerator.current_device_index": lambda: 0,
    "torch.accelerator.synchronize": lambda: None,
    "torch.empty": on_cpu(torch.empty),
    "torch.multiprocessing.reductions.rebuild_cuda_tensor": imported,
    f"{WEIGHT_TRANSFER}.packed_tensor.reduce_tensor": exported,
    f"{WEIGHT_TRANSFER}.packed_tensor._get_streams": lambda device, count: [MagicMock()] * count,
    f"{WEIGHT_TRANSFER}.nccl_common.stateless_init_process_group": Group,
    "vllm.v1.worker.gpu_worker.set_current_vllm_config": lambda config: nullcontext(),
    "vllm.model_executor.model_loader.reload.initialize_layerwise_reload": lambda model: model.reloads.append("begun"),
    "vllm.model_executor.model_loader.reload.finalize_layerwise_reload": lambda model, _: model.reloads.append("ended"),
}


def weights_over(backend):
    os.environ.update(environment_of(backend))
    device = torch.device("cpu")  # where the weights are
    return EngineWeights(backend, shapes=Source(0).shapes(), dtype="bfloat16", device=device)


def updates_arrive(backend):
    engine, weights = Remote(backend), weights_over(backend)
    for version in (1, 2):
        source = Source(version)
        asyncio.run(weights.update(engine, source, version=version))
        assert engine.model.loaded.keys() == source.tensors.keys()
        for name, tensor in source.as_sent().items():
            assert engine.model.loaded[name].dtype == tensor.dtype, name
            assert torch.equal(engine.model.loaded[name], tensor), name
    assert engine.model.reloads == ["begun", "ended"] * 2
    assert engine.model.num_loads >= 4  # a buffer held no more than the largest weight
    first = [name for name in engine.calls if name != "update_weights"][:8]
    assert first == [
        *("pause", "init_weight_transfer_engine", "start_weight_update", "finish_weight_update"),
        *("set_weight_version", "reset_prefix_cache", "resume", "pause"),
    ], engine.calls
    assert engine.calls.count("init_weight_transfer_engine") == 1
    weights.close()


def ipc_updates_arrive():
    updates_arrive("ipc")


def nccl_updates_arrive():
    updates_arrive("nccl")


def an_engine_that_dies_in_a_broadcast_is_not_waited_for():
    Group.gone.clear()
    engine, new, weights = Remote("nccl"), Remote("nccl"), weights_over("nccl")
    asyncio.run(weights.update(engine, Source(1), version=1))
    engine.fails_at, Group.hangs = "update_weights", True
    try:
        asyncio.run(weights.update(engine, Source(2), version=2))
    except EngineDied:
        pass
    else:
        raise AssertionError("nobody heard of it")
    assert Group.gone.is_set()
    Group.hangs = False
    while not Group.pipe.empty():
        Group.pipe.get()
    asyncio.run(weights.restore(new))
    assert torch.equal(new.model.loaded["norm"], Source(2).tensors["norm"])


CHECKS = [
    arguments_exist_and_suit_a_gpu,
    engines_have_what_is_asked_of_them,
    kept_tokens_are_asked_for_with_those_equal_to_the_last,
    it_sleeps_until_all_of_its_memory_is_back,
    ipc_updates_arrive,
    nccl_updates_arrive,
    an_engine_that_dies_in_a_broadcast_is_not_waited_for,
]


def main():
    said = os.dup(1)
    os.dup2(2, 1)  # vLLM logs there
    wrong = {}
    native_transfer._BUFFER_BYTES = 256
    patches = [patch(name, played) for name, played in PLAYED.items()]
    for check in CHECKS:
        try:
            is_transfer = check in CHECKS[4:]
            for each in patches if is_transfer else []:
                each.start()
            check()
            wrong[check.__name__] = ""
        except BaseException:
            wrong[check.__name__] = traceback.format_exc()
        finally:
            for each in patches if is_transfer else []:
                each.stop()
    os.write(said, json.dumps(wrong).encode())
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
